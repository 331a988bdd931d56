"""What a search of the audit log still has to ask for: pieces of time, each of them one query at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from itertools import count, takewhile
from typing import Any

import msgspec

from shared.intervals import Interval, pieces
from shared.times import is_to_come

DAY = timedelta(days=1)
SHORTEST = timedelta(minutes=1)
LONGEST_QUERY = timedelta(hours=24)
PAUSE = timedelta(hours=1)
MOST_TRIES = 5
SIDE_BY_SIDE = 8
MOST_PIECES = 128
LONGEST_PART = 30_000
"""A text in a table entity holds 32 Ki characters."""
ROUND = 1000
MOST_ABSENT = 2
MOST_ABSENT_PART = 0.05
"""How much of what the service counted may be absent, for it calls the count approximate; of a few, one or two."""
MOST_UNMATCHED_PART = 0.5
"""The same of what the feed brought: some of that may have a record type that a query doesn't ask for."""
SETTLED = timedelta(days=8)
"""A month is compared when the feed has brought what it will: a late event is seven days late at most."""


@dataclass(frozen=True)
class Piece:
    """A time to search, and how far that is: not asked, asked (`query_id`), or being read (`next` page).

    `cut` and `about` are what the service says of the query, `matched` how many records the feed had brought, too;
    `after_utc` is when it may be asked again.
    """

    start: datetime
    end: datetime
    query_id: str = ""
    asked_utc: datetime | None = None
    next: str = ""
    read: int = 0
    matched: int = 0
    about: int = 0
    cut: bool = False
    tries: int = 0
    after_utc: datetime | None = None

    @property
    def window(self) -> Interval:
        return Interval(self.start, self.end)

    def may_be_asked(self, now: datetime) -> bool:
        return not self.query_id and not is_to_come(self.after_utc, now, PAUSE)

    def is_overdue(self, now: datetime) -> bool:
        """One that was asked by a clock that was far ahead would otherwise never be."""
        return self.asked_utc is not None and abs(now - self.asked_utc) > LONGEST_QUERY

    def again(self, now: datetime) -> Piece | None:
        """The same to be asked anew after a pause; `None` when it was tried often enough."""
        if self.tries + 1 >= MOST_TRIES:
            return None
        return Piece(self.start, self.end, tries=self.tries + 1, after_utc=now + PAUSE)

    def halves(self) -> tuple[Piece, ...]:
        """Two pieces to be asked instead; none where it is too short."""
        middle = self.start + timedelta(seconds=self.window.length // timedelta(seconds=2))
        if min(middle - self.start, self.end - middle) < SHORTEST:
            return ()
        return Piece(self.start, middle), Piece(middle, self.end)

    def shortfall(self, of_feed: int = 0) -> str:
        """Why a query that was read to its end may lack records; empty where nothing speaks for it.

        `of_feed` are the events that the feed brought of its time. A round number is what a limit looks like that
        the service does not tell of.
        """
        if self.cut:
            return "it found more records than the service gives of one query"
        if self.read and self.read % ROUND == 0:
            return f"it brought exactly {self.read} records, which looks like a limit"
        if _is_short(self.read, self.about, MOST_ABSENT_PART):
            return f"it brought {self.read} of about {self.about} records"
        if _is_short(self.matched, of_feed, MOST_UNMATCHED_PART):
            return f"it brought {self.matched} of {of_feed} events that the feed has brought"
        return ""

    @property
    def may_have_met_a_limit(self) -> bool:
        """Whether halves could bring more; what is small and lacks something can only be asked for anew."""
        return self.cut or self.read >= ROUND


@dataclass(frozen=True)
class Plan:
    """A search from `start` to `end`, whole UTC days: everything before `position` is searched or in `pieces`.

    `order` names what it was made for; `since` is from when on searches of its kind leave nothing out, and `told`
    whether what it has filled was said. `brought` is the number of records that came.
    """

    order: str
    since: datetime
    start: datetime
    end: datetime
    position: datetime
    pieces: tuple[Piece, ...] = field(default_factory=tuple)
    told: bool = False
    brought: int = 0

    @property
    def is_done(self) -> bool:
        return self.position >= self.end and not self.pieces

    @property
    def may_ask(self) -> bool:
        return sum(bool(piece.query_id) for piece in self.pieces) < SIDE_BY_SIDE

    @property
    def may_grow(self) -> bool:
        return len(self.pieces) < MOST_PIECES

    @property
    def in_turn(self) -> list[Piece]:
        """What has been asked comes first, what was asked for in vain last: it keeps no other waiting."""
        return sorted(self.pieces, key=lambda piece: (not piece.query_id, piece.after_utc or self.start))

    @property
    def searched(self) -> Interval | None:
        """The time that was searched to its end; a search that brought nothing at all tells nothing."""
        until = self.end if self.is_done and self.brought else self.start
        return Interval(self.since, until) if until > self.since else None

    def extended(self) -> Plan:
        """The same with the next days among its pieces, as many as may be under way."""
        if self.position >= self.end:
            return self
        room = max(0, SIDE_BY_SIDE - len(self.pieces))
        days = list(pieces(Interval(self.position, self.end), DAY))[:room]
        new = tuple(Piece(day.start, day.end) for day in days)
        return replace(self, pieces=(*self.pieces, *new), position=days[-1].end if days else self.position)

    def swapped(self, piece: Piece, *instead: Piece) -> Plan:
        at = self.pieces.index(piece)
        return replace(self, pieces=(*self.pieces[:at], *instead, *self.pieces[at + 1 :]))

    def values(self) -> dict[str, Any]:
        text = msgspec.json.encode(self).decode()
        parts = (text[at : at + LONGEST_PART] for at in range(0, len(text), LONGEST_PART))
        return {"order": self.order, **{_part(number): part for number, part in enumerate(parts)}}


def read_plan(values: Mapping[str, Any]) -> Plan | None:
    parts = (values.get(_part(number)) for number in count())
    text = "".join(map(str, takewhile(bool, parts)))
    return msgspec.json.decode(text, type=Plan) if text else None


def _is_short(found: int, of: int, most_absent_part: float) -> bool:
    """Whether considerably less was found than there is; nothing is never enough."""
    return of - found > (max(MOST_ABSENT, most_absent_part * of) if found else 0)


def _part(number: int) -> str:
    return f"plan{number or ''}"


def new_plan(order: str, start: datetime, end: datetime, since: datetime | None = None) -> Plan:
    return Plan(order, since or start, start, end, start)


def next_month(plan: Plan | None, first_seen: datetime, now: datetime) -> Plan | None:
    """The plan for the month to search now; `None` while the next one is not over for long enough.

    The first begins on the day on which the app first ran: since then the feed should have brought everything.
    """
    if plan and not (plan.is_done and plan.told):
        return plan
    start = plan.end if plan else midnight(first_seen)
    end = midnight(start.replace(day=1) + timedelta(days=32)).replace(day=1)
    if now < end + SETTLED:
        return None
    return new_plan(f"{start:%Y-%m}", start, end, plan.since if plan and plan.brought else None)


def midnight(instant: datetime) -> datetime:
    return datetime.combine(instant.astimezone(UTC).date(), time(), UTC)
