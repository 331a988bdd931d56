"""How each function last fared with each of its sources: what fails since when, and what is left to do."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from shared.errors import Conflict
from shared.state.checkpoints import Checkpoint, Checkpoints

KIND = "source"
LONGEST_TEXT = 2000
MOST_SKEW_S = 300
"""Entra, too, takes tokens for five minutes before and after their time."""


@dataclass(frozen=True)
class Trouble:
    """What keeps a function from a source: a code word, a sentence about it, and one about what to do."""

    code: str
    problem: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Faring:
    """How one function fares with one source.

    `waiting` counts what it has still to do there (content blobs, action logs), the oldest since `waiting_utc`;
    `clock_ahead_s` is how far this app's clock is ahead of the service's, too far since `clock_off_utc`.
    `first_utc` is when the app first met the source: what is read of it can't be later than since then.
    """

    function: str
    source: str
    first_utc: datetime | None = None
    succeeded_utc: datetime | None = None
    failing_utc: datetime | None = None
    code: str | None = None
    problem: str | None = None
    remedy: str | None = None
    waiting: int | None = None
    waiting_utc: datetime | None = None
    clock_ahead_s: int | None = None
    clock_off_utc: datetime | None = None

    @property
    def clock_is_off(self) -> bool:
        return abs(self.clock_ahead_s or 0) > MOST_SKEW_S


class Sources:
    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints

    def fared(self, faring: Faring, trouble: Trouble | None, now: datetime) -> None:
        """Note a run over a source; what fails keeps the time since when it does.

        A note that is lost to a quicker one is no loss.
        """
        place = self._checkpoints.load(KIND, _row(faring))
        known = _faring(place)
        if faring.clock_ahead_s is None:  # the service gave no answer with its time
            faring = replace(faring, clock_ahead_s=known.clock_ahead_s)
        if faring.waiting is None:  # it did not get as far as counting
            faring = replace(faring, waiting=known.waiting, waiting_utc=known.waiting_utc)
        off_utc = (known.clock_off_utc or now) if faring.clock_is_off else None
        values = {**asdict(faring), "first_utc": known.first_utc or now, "clock_off_utc": off_utc}
        if trouble is None:
            values |= {"succeeded_utc": now}
        else:
            values |= {
                "succeeded_utc": known.succeeded_utc,
                "failing_utc": known.failing_utc or now,
                "code": trouble.code,
                "problem": trouble.problem[:LONGEST_TEXT],
                "remedy": trouble.remedy[:LONGEST_TEXT],
            }
        with suppress(Conflict):
            self._checkpoints.save(place, values)

    def first_seen(self, function: str, source: str, now: datetime) -> datetime:
        """When a source was first among those of a function; now, if this is the first time."""
        place = self._checkpoints.load(KIND, _row(Faring(function=function, source=source)))
        first: datetime | None = place.values.get("first_utc")
        if first is None:
            with suppress(Conflict):
                named = {"function": function, "source": source, "first_utc": now}
                self._checkpoints.save(place, {**place.values, **named})
        return first or now

    def all(self) -> list[Faring]:
        return [_faring(place) for place in self._checkpoints.all(KIND).values()]


def _row(faring: Faring) -> str:
    return f"{faring.function}_{hashlib.sha256(faring.source.encode()).hexdigest()[:24]}"


def _faring(place: Checkpoint) -> Faring:
    values: dict[str, Any] = {field.name: place.values.get(field.name) for field in fields(Faring)}
    values["function"], values["source"] = values["function"] or "", values["source"] or ""
    return Faring(**values)
