"""What the tests of the whole app share."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.audit import submissions


@pytest.fixture
def many_queries_in_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes ticks in production need not take them in each test."""
    monkeypatch.setattr(submissions, "SPACING", timedelta(minutes=1))
