"""A place to write apps, for the tests of the host."""

from collections.abc import Callable
from pathlib import Path

import pytest
from host_support import HOST_JSON, write_app


@pytest.fixture
def app(tmp_path: Path) -> Callable[..., Path]:
    return lambda source, host_json=HOST_JSON: write_app(tmp_path / "app", source, host_json)
