"""Made-up content blobs: which events each delivers, when it was created and when it can be listed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from random import Random
from typing import Any

from local.tenant.generation.audit_events import Occasion, Record, Scene, event, occasion, twin
from local.tenant.generation.audit_noise import noise
from local.tenant.world import ContentBlob, Row

CONTENT_TYPE = "Audit.General"
_OLDEST = timedelta(days=6.5)
_RETENTION = timedelta(days=7)
_WANTED_SHARE = 0.05
_AGAIN_SHARE = 0.02
_TWIN_SHARE = 0.5
_FAR_BACK = 5
_LATE_EVERY, _LATE_AT = 20, 7
_SAME_EVERY, _SAME_AT = 25, 11


@dataclass(frozen=True)
class Feed:
    """The plan of all blobs: every one can be told from its number alone."""

    scene: Scene
    blobs: int
    events_per_blob: int
    history: timedelta
    anchor: datetime
    live_s: float

    def all(self) -> tuple[ContentBlob, ...]:
        return tuple(self._blob(number) for number in range(self.blobs))

    @cached_property
    def _live_blobs(self) -> int:
        return min(max(1, self.blobs // 20), 5) if self.live_s > 0 and self.blobs else 0

    def created(self, number: int) -> datetime:
        """When a blob was created, to the millisecond; now and then two share their moment."""
        if number % _SAME_EVERY == _SAME_AT:
            number -= 1
        span, past = min(self.history, _OLDEST), self.blobs - self._live_blobs
        jitter = Random(self.scene.seed * 31 + number).random()
        if number >= past:
            share = (number - past + 0.2 + 0.6 * jitter) / self._live_blobs
            return _to_millisecond(self.anchor + timedelta(seconds=self.live_s * share * 0.9))
        return _to_millisecond(self.anchor - span + span * ((number + jitter) / max(past, 1)))

    def _blob(self, number: int) -> ContentBlob:
        created = self.created(number)
        collected = created - timedelta(seconds=11 + (number * 37) % 1100)
        return ContentBlob(
            f"{_stamp(collected, number)}${_stamp(created, number)}$audit_general$Audit_General$na0045",
            CONTENT_TYPE,
            created,
            self._listed_at(number, created),
            collected + _RETENTION,
            _Records(self, number),
        )

    def _listed_at(self, number: int, created: datetime) -> datetime:
        """Some blobs appear long after others that were created later."""
        if number % _LATE_EVERY == _LATE_AT:
            return created + timedelta(minutes=20 + number % 70)
        last_past = self.blobs - self._live_blobs - 1
        if number == last_past and self._live_blobs:
            return self.anchor + timedelta(seconds=self.live_s / 2)
        return created + timedelta(milliseconds=400)

    def _wanted(self, number: int) -> int:
        """How many wanted events of its own a blob has."""
        share = Random(self.scene.seed * 53 + number).uniform(0.6, 1.4)
        return max(1, round(self.events_per_blob * _WANTED_SHARE * share)) if self.events_per_blob else 0

    def _told(self, number: int, slot: int) -> Occasion:
        """The occasion of an event: mostly within two hours before its blob, sometimes days."""
        rng = Random((self.scene.seed * 97 + number) * 100_003 + slot)
        age_s = rng.random() * 7200 if rng.random() < 0.95 else rng.random() * 4 * 86_400  # noqa: PLR2004
        return occasion(self.scene, rng, self.created(number) - timedelta(seconds=60 + age_s))

    def own(self, number: int) -> list[Record]:
        """The wanted events that a blob is the first to deliver."""
        records: list[Record] = []
        for slot in range(self._wanted(number)):
            records.append(event(self._told(number, slot)))
            told = self._told(number, slot)
            if records[-1]["Operation"] == "PutConnection" and told.rng.random() < _TWIN_SHARE:
                records.append({**twin(told), "Id": records[-1]["Id"]})
        return records

    def again(self, number: int) -> list[Record]:
        """Events of earlier blobs delivered once more, their fields in another order."""
        rng = Random(self.scene.seed * 71 + number)
        earlier = max(0, number - 1 - int(rng.random() * _FAR_BACK))
        if number == 0:
            return []
        return [
            dict(reversed(record.items()))
            for record in self.own(earlier)
            if rng.random() < _AGAIN_SHARE * (_FAR_BACK if number % _FAR_BACK == 0 else 1)
        ]

    def noise(self, number: int, count: int) -> list[Record]:
        rng = Random(self.scene.seed * 89 + number)
        created = self.created(number)
        return [
            noise(self.scene, rng, created - timedelta(seconds=30 + rng.random() * 5400)) for _ in range(count)
        ]


@dataclass(frozen=True, slots=True)
class _Records:
    """The records of one blob, in no order."""

    feed: Feed
    number: int

    def __call__(self) -> tuple[Row, ...]:
        wanted = [*self.feed.own(self.number), *self.feed.again(self.number)]
        rest = self.feed.noise(self.number, max(0, self.feed.events_per_blob - len(wanted)))
        records: list[Any] = [*wanted, *rest]
        Random(self.number).shuffle(records)
        return tuple(records)


def _stamp(time: datetime, number: int) -> str:
    return f"{time:%Y%m%d%H%M%S}{time.microsecond // 1000:03d}{number:06d}"


def _to_millisecond(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
