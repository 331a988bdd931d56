"""Which files of a published day count; as light as who only looks at a listing needs it."""

from __future__ import annotations

from collections.abc import Iterable

from shared.state.blobs import BlobItem

DAY_PART = "part-0.parquet"


def current(items: Iterable[BlobItem]) -> list[BlobItem]:
    """Those of one day's files that count: where its own is there, those of its hours do not."""
    listed = list(items)
    return [item for item in listed if is_whole(item)] or listed


def is_whole(item: BlobItem) -> bool:
    return file_name(item) == DAY_PART


def file_name(item: BlobItem) -> str:
    return item.name.rpartition("/")[2]
