"""The counts that a published file carries in its metadata."""

from __future__ import annotations

from collections.abc import Mapping

ROWS = "rows"
BY_ENVIRONMENT = "rows_by_environment"


def rows_in(notes: Mapping[str, str]) -> int | None:
    """All rows of a file; `None` where nobody has counted them."""
    return int(notes[ROWS]) if ROWS in notes else None


def rows_by_environment(notes: Mapping[str, str]) -> dict[str, int]:
    pairs = (pair.partition("=") for pair in notes.get(BY_ENVIRONMENT, "").split(",") if pair)
    return {environment_id: int(rows) for environment_id, _, rows in pairs}
