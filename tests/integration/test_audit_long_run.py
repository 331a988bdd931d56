"""Two hundred hours of an audit feed, and everything that goes wrong in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from integration.stage import ANCHOR, Stage, on_stage
from integration.test_audit_content import CONTENT_TYPE, an_event, world_of
from local.tenant import ContentBlob, Fault, Limits
from shared.errors import SourcesFailed
from shared.state.journal import Gap

HOURS = 200
STEP = 2
OUTAGE = range(60, 132)
DISABLED = range(150, 158)
RETENTION = timedelta(days=7) - timedelta(minutes=8)
NEVER_GIVEN = (-121, -99)
"""Blobs, by the hour of their creation, that the service fails to give until they expire: one while the app is
polling, one while it is out of order.
"""
SLOW_TO_GIVE = 5


def hour(number: float) -> datetime:
    return ANCHOR + timedelta(hours=number)


def an_audit_event(number: int, told: int, **more: Any) -> dict[str, Any]:
    """Event `told` of blob `number`, up to five days older than its blob."""
    created = hour(2 * number + 1) - timedelta(hours=1 + (number * 7 + told * 53) % 120)
    return {**an_event(10_000 + number * 10 + told), "CreationTime": f"{created:%Y-%m-%dT%H:%M:%S}", **more}


def records_of(number: int) -> Iterator[dict[str, Any]]:
    """Two events of its own, two of one request, two of earlier blobs once more, and noise."""
    yield an_audit_event(number, 0)
    yield an_audit_event(number, 1, Operation="PutConnection")
    yield an_audit_event(number, 1, Operation="PutConnectionPermission")
    yield dict(reversed(an_audit_event(number - 3, 0).items()))
    yield dict(reversed(an_audit_event(number - 40, 1, Operation="PutConnection").items()))
    yield {"Id": "n", "Workload": "MicrosoftTeams", "RecordType": 25, "Operation": "MessageSent"}


def the_blob(number: int) -> ContentBlob:
    """A blob every two hours, in the middle between two polls; some are listed late, a few days late."""
    created = hour(2 * number + 1)
    late_h = 1.5 if number % 10 == 3 else 30 if number % 20 == 7 else 0
    stamp = f"{created:%Y%m%d%H%M%S}{number + 500:09d}"
    return ContentBlob(
        f"{stamp}${stamp}$audit_general$Audit_General$na0045",
        CONTENT_TYPE,
        created,
        created + timedelta(hours=late_h),
        created + RETENTION,
        tuple(records_of(number)),
    )


def all_blobs() -> list[ContentBlob]:
    """From almost seven days before the first poll on; some are listed once more, as older than they are."""
    blobs = [the_blob(number) for number in range(-82, HOURS // 2)]
    again = [replace(blob, listed_at=blob.listed_at + timedelta(hours=3)) for blob in blobs[::15]]
    older = [replace(blob, created=blob.created - timedelta(minutes=50)) for blob in again]
    return [*blobs, *older]


def key_of(record: dict[str, Any]) -> tuple[str, str]:
    return record["Id"], record["Operation"]


@dataclass
class Story:
    stage: Stage

    def tell(self) -> None:
        for at in range(0, HOURS + 1, STEP):
            self.stage.clock.at = max(self.stage.clock.at, hour(at))
            self.happen(at)
            if at not in OUTAGE:
                self.work(at)

    def happen(self, at: int) -> None:
        faults = self.stage.tenant.faults
        if at == 0:
            for number in NEVER_GIVEN:
                self.refuse(number, expired=number + 168)
            faults.add(Fault("activity", path_contains=self.stamp_of(SLOW_TO_GIVE), times=40, status=500))
        if at == 20:
            faults.add(Fault("activity", path_contains="subscriptions", times=12, status=503))
        if at == DISABLED.stop:
            faults.clear()

    def refuse(self, number: int, expired: int) -> None:
        """The service answers with an error for as long as the blob lives."""
        stage, until = self.stage, hour(expired) - timedelta(minutes=8)

        class UntilItExpires(Fault):
            def concerns(self, service: str, environment: str | None, request: Any) -> bool:
                return stage.clock.at < until and super().concerns(service, environment, request)

        fault = UntilItExpires("activity", path_contains=self.stamp_of(number), times=None, status=503)
        stage.tenant.faults.add(fault)

    def stamp_of(self, number: int) -> str:
        return f"{hour(number):%Y%m%d%H%M%S}{(number - 1) // 2 + 500:09d}"

    def work(self, at: int) -> None:
        with suppress(SourcesFailed):
            self.stage.run("poll_audit_content")
        if at % 24 == 0:
            with suppress(SourcesFailed):
                self.stage.run("reconcile")
        if at == DISABLED.start:
            self.stage.tenant.disable_subscription(CONTENT_TYPE)
            start = Fault("activity", path_contains="subscriptions/start", times=None, status=500)
            self.stage.tenant.faults.add(start)


def is_thrown_away(blob: ContentBlob) -> bool:
    """By the service: it never gave the blob while it lived, or had no subscription when it was created."""
    disabled = hour(DISABLED.start) <= blob.created < hour(DISABLED.stop)
    return disabled or blob.created in [hour(number) for number in NEVER_GIVEN]


def covers(gap: Gap, blob: ContentBlob) -> bool:
    return gap.from_utc <= blob.created <= gap.to_utc + timedelta(milliseconds=1)


def test_two_hundred_hours(account: str) -> None:
    limits = Limits(listing_page_size=7, activity_requests_per_minute=40, token_lifetime_s=3600)
    with on_stage(world_of(*all_blobs()), account, limits=limits, AUDIT_WINDOW_HOURS="24") as stage:
        Story(stage).tell()
        stage.run("reconcile")
        stage.run("poll_audit_content")
        stage.publish()
        requests = list(stage.tenant.requests)
        assert any(request.status == 403 for request in requests), "it was never throttled"
        assert any(request.status == 401 for request in requests), "no token ever ended"

        blobs = [blob for blob in all_blobs() if blob.listed_at <= stage.clock.at - timedelta(minutes=1)]
        had = [blob for blob in blobs if not is_thrown_away(blob)]
        truth = {key_of(record) for blob in had for record in blob.records if record["Id"] != "n"}  # type: ignore[union-attr] - records are no callable here
        published = [(row["event_id"], row["operation"]) for row in stage.rows("fact_audit_event")]
        assert len(published) == len(set(published)), "an event was published twice"
        assert set(published) == truth

        gaps = list(stage.app.journal.gaps())
        thrown_away = {blob.content_id for blob in blobs if is_thrown_away(blob)}
        told = {blob.content_id for blob in blobs if any(covers(gap, blob) for gap in gaps)}
        assert told == thrown_away
        assert sorted(gap.kind for gap in gaps) == [
            "content blob lost",
            "content blob lost",
            "subscription disabled",
        ]
