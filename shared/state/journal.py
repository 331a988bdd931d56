"""What the app did and what was lost: the ingest log, the gaps and the heartbeats."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic
from typing import Any

from shared.errors import Conflict
from shared.state.checkpoints import Checkpoint, Checkpoints
from shared.state.entities import Entities, Entity, Operation, Write
from shared.times import epoch_ms

log = logging.getLogger("flowtrail")

HEARTBEAT = "heartbeat"
THE_APP = "app"
NOTICED = "gap-"
BEHIND_A_DAY = "~"
MOST_NOTICED = 1000
"""More gaps than that are not counted: one page of a listing."""
DELETED_AT_SOURCE = "runs deleted at the source"
TAKEN_LATE = "runs taken late"
GIVEN_UP = "action logs given up"
REFUSES = "environment refuses"
REFUSED_FOR_A_WHILE = "environment refused for a while"
CONTENT_EXPIRED = "audit content expired"
SUBSCRIPTION_DISABLED = "subscription disabled"
BLOB_LOST = "content blob lost"
RECORDS_UNREADABLE = "audit records unreadable"
BROUGHT_BY_SEARCH = "missing from the feed, brought by search"
FILLED_BY_SEARCH = "filled by search"
SEARCH_INCOMPLETE = "search incomplete"
LOSSES_OF_THE_FEED = frozenset({CONTENT_EXPIRED, SUBSCRIPTION_DISABLED, BLOB_LOST})
HARMLESS = frozenset({DELETED_AT_SOURCE, TAKEN_LATE, REFUSED_FOR_A_WHILE, BROUGHT_BY_SEARCH, FILLED_BY_SEARCH})
"""Kinds of gaps that cost nothing: what they tell of is kept here."""
LONGEST_TEXT = 2000
BETWEEN_BEATS_S = 60.0
LONGEST_KEY = 100
LAST_INSTANT_MS = 253_402_300_799_999


@dataclass(frozen=True, kw_only=True)
class IngestRecord:
    """One run of a function over one source: a row of `fact_ingest`, and a `note` for whoever reads the log."""

    function: str
    source: str
    at_utc: datetime
    duration_ms: int
    status: str
    window_from_utc: datetime | None = None
    window_to_utc: datetime | None = None
    rows_read: int = 0
    rows_written: int = 0
    rows_failed: int = 0
    error: str | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Something that was lost or may be missing: a row of `fact_gap`."""

    source: str
    from_utc: datetime
    to_utc: datetime
    kind: str
    subject: str
    reason: str
    noticed_utc: datetime

    @property
    def is_loss(self) -> bool:
        return self.kind not in HARMLESS


class Journal:
    def __init__(self, ingest_log: Entities, gaps: Entities, checkpoints: Checkpoints) -> None:
        self._ingest_log = ingest_log
        self._gaps = gaps
        self._checkpoints = checkpoints
        self._last_beats: dict[tuple[str, ...], float] = {}

    def ingested(self, record: IngestRecord) -> None:
        """Note a run, under the day and so that the newest comes first in a listing."""
        newest_first = f"{LAST_INSTANT_MS - epoch_ms(record.at_utc):015d}"
        row = f"{newest_first}_{record.function}_{_key(record.source)}"
        texts = {"error": _short(record.error), "note": _short(record.note)}
        properties = {**asdict(record), **texts}
        self._ingest_log.write(Operation(Write.UPSERT, record.at_utc.date().isoformat(), row, properties))

    def lost(self, gap: Gap) -> None:
        """Note a gap, once: the same gap noticed again keeps its first note, and says nothing more.

        It is told before, for once it is noted it is not told any more.
        """
        row = f"{epoch_ms(gap.from_utc):015d}_{epoch_ms(gap.to_utc):015d}_{_key(gap.kind + gap.subject)}"
        partition = _key(gap.source)
        if self._gaps.get(partition, row) is not None:
            return
        _tell(gap)
        self._write(partition, row, gap)

    def lasts(self, gap: Gap) -> None:
        """Note a gap that goes on, once a day, and once more under the kind that it has at its end.

        What is noted later takes the place of what was noted of the same source, begin and subject.
        """
        row = f"{epoch_ms(gap.from_utc):015d}_lasts_{_key(gap.subject)}"
        partition = _key(gap.source)
        found = self._gaps.get(partition, row)
        known = _gap(found) if found else None
        if known and known.kind == gap.kind and known.noticed_utc.date() == gap.noticed_utc.date():
            return
        if known is None:
            _tell(gap)
        self._write(partition, row, gap)

    def _write(self, partition: str, row: str, gap: Gap) -> None:
        short = replace(gap, subject=gap.subject[:LONGEST_TEXT], reason=gap.reason[:LONGEST_TEXT])
        self._note_day(short, f"{partition}_{row}")
        self._gaps.write(Operation(Write.UPSERT, partition, row, asdict(short)))

    def gaps(self) -> Iterator[Gap]:
        return map(_gap, self._gaps.all())

    def gaps_noticed_from(self, day: date) -> Iterator[Gap]:
        """The gaps noticed on a UTC day or later, however many, in the order of their sources."""
        since = datetime.combine(day, time(), UTC)
        return map(_gap, self._gaps.query("noticed_utc ge @since", {"since": since}))

    def _note_day(self, gap: Gap, row: str) -> None:
        """The same gap under the day on which it was noticed, so that recent ones are found without all others."""
        place = self._checkpoints.load(_noticed_on(gap.noticed_utc.date()), row)
        with suppress(Conflict):
            self._checkpoints.save(place, asdict(gap))

    def noticed_since(self, since: datetime, now: datetime) -> list[Gap]:
        """The gaps noticed since then, in the order of their days; of very many on one day, the first thousand.

        Of one that lasts, what was noted last.
        """
        places = self._noticed(_noticed_on(since.date()), _noticed_on(now.date()), since)
        return list({place.source: _read_gap(place.values) for place in places}.values())

    def _noticed(self, first: str, last: str, since: datetime) -> Iterator[Checkpoint]:
        """One query, and one more behind each day of very many, of which nothing more is read."""
        of_day = Counter[str]()
        for place in self._checkpoints.between(first, last, "noticed_utc", since):
            yield place
            of_day[place.kind] += 1
            if of_day[place.kind] == MOST_NOTICED:
                yield from self._noticed(f"{place.kind}{BEHIND_A_DAY}", last, since)
                return

    def day(self, day: str) -> Iterator[IngestRecord]:
        """The runs of a UTC day, the newest first."""
        for entity in self._ingest_log.partition(day):
            yield IngestRecord(**{name: entity.get(name) for name in IngestRecord.__dataclass_fields__})

    def first_day(self) -> str | None:
        """The earliest UTC day with a run."""
        return next((entity.partition for entity in self._ingest_log.all(select=[])), None)

    def heartbeat(self, function: str, **values: Any) -> None:
        """Remember when a function last ran and how; a beat that is lost to a quicker one is no loss."""
        beat = self._checkpoints.load(HEARTBEAT, function)
        with suppress(Conflict):
            self._checkpoints.save(beat, {**beat.values, **values})

    def beat(self, function: str, **values: Any) -> None:
        """The heartbeat of what many messages start: once a minute from each worker is enough."""
        now_s, key = monotonic(), (function, *sorted(values))
        if now_s - self._last_beats.get(key, -BETWEEN_BEATS_S) >= BETWEEN_BEATS_S:
            self._last_beats[key] = now_s
            self.heartbeat(function, **values)

    def is_due(self, what: str, between: timedelta, now: datetime) -> bool:
        """Whether something is to be done again by now; whoever asks first does it."""
        beat = self._checkpoints.load(HEARTBEAT, what)
        last: datetime | None = beat.values.get("done_utc")
        if last is not None and timedelta(0) <= now - last < between:
            return False
        try:
            self._checkpoints.save(beat, {**beat.values, "done_utc": now})
        except Conflict:
            return False
        return True

    def first_seen(self, now: datetime) -> datetime:
        """When the app first ran in this storage account; now, if this is the first time."""
        beat = self._checkpoints.load(HEARTBEAT, THE_APP)
        first: datetime | None = beat.values.get("first_utc")
        if first is None:
            with suppress(Conflict):
                self._checkpoints.save(beat, {"first_utc": now})
        return first or now

    def heartbeats(self) -> dict[str, dict[str, Any]]:
        return {name: dict(beat.values) for name, beat in self._checkpoints.all(HEARTBEAT).items()}


def _tell(gap: Gap) -> None:
    log.error(
        "Gap in %s: %s %s, %s to %s. %s", gap.source, gap.kind, gap.subject, gap.from_utc, gap.to_utc, gap.reason
    )


def _short(text: str | None) -> str | None:
    return text[:LONGEST_TEXT] if text else None


def _noticed_on(day: date) -> str:
    return f"{NOTICED}{day.isoformat()}"


def _gap(entity: Entity) -> Gap:
    return _read_gap(entity.properties)


def _read_gap(values: Mapping[str, Any]) -> Gap:
    given: dict[str, Any] = {name: values.get(name) for name in Gap.__dataclass_fields__}
    return Gap(**given)


def _key(text: str) -> str:
    """A text as part of a key: readable where it can be, else its hash."""
    if text and all(character.isalnum() or character in "-._" for character in text) and len(text) <= LONGEST_KEY:
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:24]
