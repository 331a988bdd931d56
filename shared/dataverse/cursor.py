"""How far the runs of an environment have been read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from shared.dataverse.profile import FRESH

CURSOR = "flowsessions"
OVERLAP = timedelta(minutes=10)
SETTLE = timedelta(seconds=30)
DIGEST_BYTES = 8
MOST_RECENT = 8_000  # as many digests as one property of a table entity holds


@dataclass(frozen=True)
class Cursor:
    """Everything that changed before `watermark` has been read.

    Nothing that changed last before `history` is read. What changed after `partial` may have been read in part
    only, for the role did not show all runs for certain.
    A window that was begun and not ended goes on from `position` up to `until`. `recent` are the row states
    met in the overlap, so that reading them again costs nothing; without them they would only be taken twice.
    """

    watermark: datetime
    history: datetime
    position: datetime | None = None
    until: datetime | None = None
    recent: frozenset[bytes] = field(default_factory=frozenset[bytes])
    partial: datetime | None = None

    @property
    def read_until(self) -> datetime:
        """All rows that can have been seen, and changed before, have been taken."""
        return self.start if self.position is None else self.position - OVERLAP

    @property
    def start(self) -> datetime:
        """Where to read from: rows can be stamped a while before they can be seen."""
        return self.position or self.watermark - OVERLAP

    def as_shown(self, whole: bool) -> Cursor:
        """The cursor, knowing whether all runs are shown: as soon as they are, it starts from where they were not.

        That they are no longer is noticed as late as a profile is asked for again.
        """
        if not whole:
            return self if self.partial else replace(self, partial=max(self.history, self.start - FRESH))
        return Cursor(self.partial + OVERLAP, self.history) if self.partial else self

    def values(self) -> dict[str, Any]:
        recent = b"".join(sorted(self.recent)[:MOST_RECENT])
        return {
            "watermark_utc": self.watermark,
            "history_utc": self.history,
            "position_utc": self.position,
            "until_utc": self.until,
            "recent": recent or None,
            "partial_utc": self.partial,
        }


def read_cursor(values: Mapping[str, Any], history_start: datetime) -> Cursor:
    recent: bytes = values.get("recent") or b""
    digests = (recent[at : at + DIGEST_BYTES] for at in range(0, len(recent), DIGEST_BYTES))
    history: datetime = values.get("history_utc") or history_start
    return Cursor(
        values.get("watermark_utc") or history + OVERLAP,
        history,
        values.get("position_utc"),
        values.get("until_utc"),
        frozenset(digests),
        values.get("partial_utc"),
    )


def digest(session_id: object, version_number: object, modified: object) -> bytes:
    """A row state; the change time belongs to it, because versions repeat after an environment is restored."""
    state = f"{str(session_id).lower()}:{version_number}:{modified}"
    return hashlib.blake2b(state.encode("utf-8", "replace"), digest_size=DIGEST_BYTES).digest()


class Seen:
    """The row states met in a window, of which those that the next window meets again are remembered."""

    def __init__(self, before: Iterable[bytes]) -> None:
        self._states: dict[bytes, datetime | None] = dict.fromkeys(before)

    def __contains__(self, state: bytes) -> bool:
        return state in self._states

    def add(self, state: bytes, modified: datetime) -> None:
        self._states[state] = modified

    def since(self, start: datetime) -> frozenset[bytes]:
        """The states that changed at `start` or later, and those of which that is not known."""
        return frozenset(
            state for state, modified in self._states.items() if modified is None or modified >= start
        )

    def met_since(self, start: datetime) -> frozenset[bytes]:
        """The states met in this window that changed at `start` or later."""
        return frozenset(state for state, modified in self._states.items() if modified and modified >= start)
