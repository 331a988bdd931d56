"""A blob that goes in parts is replaced whole, under its conditions, and comes back as it was."""

from __future__ import annotations

import io
from random import Random

import pytest

from local.bench.cases.publishing import SETTINGS
from shared.app import App
from shared.errors import Conflict
from shared.settings import load_settings
from shared.state.names import Container
from shared.state.storage import PART_BYTES

NAME = "fact_flow_action/date=2026-05-19/part-0.parquet"


def test_a_large_blob_is_guarded_as_a_small_one(account: str) -> None:
    blobs = App(load_settings({**SETTINGS, "DataStorage": account})).storage.blobs
    first, second = (Random(seed).randbytes(2 * PART_BYTES + 100) for seed in (1, 2))
    etag = blobs.put(Container.POWERBI, NAME, io.BytesIO(first), if_absent=True)
    with pytest.raises(Conflict):
        blobs.put(Container.POWERBI, NAME, io.BytesIO(second), if_absent=True)
    with pytest.raises(Conflict):
        blobs.put(Container.POWERBI, NAME, io.BytesIO(second), if_match='"0x0"')
    assert blobs.get(Container.POWERBI, NAME) == first
    newer = blobs.put(Container.POWERBI, NAME, io.BytesIO(second), if_match=etag, notes={"rows": "1"})
    copy = io.BytesIO()
    assert blobs.copy_into(Container.POWERBI, NAME, copy) == newer != etag
    assert copy.getvalue() == second
