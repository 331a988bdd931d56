"""Content blobs and their records, however they come: each event once, and what can not be had is told."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from datetime import timedelta

import pytest
from azure.core.pipeline.transport import HttpRequest

from integration.stage import ANCHOR, on_stage
from integration.test_audit_content import CONTENT_TYPE, a_blob, an_event, collected, gaps, states, world_of
from local.tenant import Fault
from shared.errors import SourcesFailed
from shared.net.transport import MEBIBYTE
from shared.state.names import Container, StateTable


def test_an_event_that_comes_again_after_thirty_days_is_published_once(account: str) -> None:
    """The file of an event is that of the day on which it happened, whenever its blobs come."""
    event = an_event(7)
    later = ANCHOR + timedelta(days=30)
    odd = {"Id": event["Id"].upper(), "Operation": "launchpowerapp", "CreationTime": event["CreationTime"] + "Z"}
    again = a_blob(2, dict(reversed({**event, **odd, "RecordType": "256"}.items())), created=later)
    with on_stage(world_of(a_blob(1, event), again), account) as stage:
        assert collected(stage) == ["7"]
        before = stage.rows("fact_audit_event")
        for _ in range(5):
            stage.clock.advance(days=6)
            stage.run("poll_audit_content")
        stage.clock.advance(hours=1)
        assert collected(stage) == ["7"]
        assert stage.rows("fact_audit_event") == before


def test_records_of_one_launch_that_differ_stay_apart(account: str) -> None:
    launches = [an_event(number) for number in range(3)]
    with on_stage(world_of(a_blob(1, *launches)), account) as stage:
        assert collected(stage) == ["0", "1", "2"]


def test_what_is_dropped_and_what_is_new_is_said_where_people_look(
    account: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flowtrail")
    noise = [{"Workload": "MicrosoftTeams", "Id": "x", "RecordType": 25, "Operation": "TeamCreated"}] * 3
    crm = {"Workload": "CRM", "Id": "y", "RecordType": 21}
    with on_stage(world_of(a_blob(1, an_event(1, Operation="BrandNew"), *noise, crm)), account) as stage:
        stage.run("poll_audit_content")
        told = "dropped by workload: MicrosoftTeams 3, CRM 1; unknown operations: BrandNew 1"
        (record,) = stage.app.journal.day(f"{stage.clock.at:%Y-%m-%d}")
        assert record.note == told
        assert told in caplog.text
        (entry,) = stage.app.ledger.between(CONTENT_TYPE, ANCHOR.date() - timedelta(days=2), ANCHOR.date())
        assert json.loads(entry.unknown or "") == {"BrandNew": 1}


def test_a_blob_of_several_megabytes_comes_whole(account: str) -> None:
    """One known collector takes a blob that is longer than it likes for the end of the window."""
    noise = {"Workload": "MicrosoftTeams", "RecordType": 25, "Text": "x" * MEBIBYTE}
    with on_stage(world_of(a_blob(1, *[noise] * 6, an_event(1)), a_blob(2)), account) as stage:
        assert collected(stage) == ["1", "2"]


@pytest.mark.parametrize("count", [11, 12, 13, 49])
def test_no_remainder_of_a_page_or_batch_is_left_behind(account: str, count: int) -> None:
    with on_stage(world_of(*[a_blob(number) for number in range(count)]), account) as stage:
        assert len(collected(stage)) == count


def test_a_blob_is_not_done_before_its_rows_are_safe(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account) as stage:

        def full(request: HttpRequest) -> None:
            if request.method == "PUT" and "/staging/fact_audit_event" in request.url:
                raise OSError("the disk is full")

        stage.transport.before = full
        with pytest.raises(SourcesFailed):
            stage.run("poll_audit_content")
        assert states(stage) == {"pending": 1}
        stage.transport.before = lambda _: None
        assert collected(stage) == ["1"]
        assert not gaps(stage)


def test_storage_that_fails_for_a_day_costs_no_blob(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account) as stage:

        def gone(request: HttpRequest) -> None:
            if "/raw/" in request.url:
                raise OSError("the account can't be reached")

        stage.transport.before = gone
        for _ in range(8):
            with pytest.raises(SourcesFailed):
                stage.run("poll_audit_content")
            stage.clock.advance(hours=4)
        stage.transport.before = lambda _: None
        assert collected(stage) == ["1"]
        assert not gaps(stage)


def test_blobs_that_were_listed_and_never_fetched_become_gaps(account: str) -> None:
    with on_stage(world_of(a_blob(1), a_blob(2)), account) as stage:
        stage.tenant.faults.add(Fault("activity", path_contains="/audit/", times=None, status=503))
        stage.run("poll_audit_content")
        stage.tenant.faults.clear()
        stage.clock.advance(days=12)
        stage.run("reconcile")
        lost = [gap for gap in gaps(stage) if gap.kind == "content blob lost"]
        assert len(lost) == 2
        stage.run("reconcile")
        assert [gap for gap in gaps(stage) if gap.kind == "content blob lost"] == lost


def test_what_waited_for_a_year_becomes_a_gap_too(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account) as stage:
        stage.tenant.faults.add(Fault("activity", path_contains="/audit/", times=None, status=503))
        stage.run("poll_audit_content")
        stage.clock.advance(days=365)
        with suppress(SourcesFailed):
            stage.run("reconcile")
        assert [gap.subject for gap in gaps(stage) if gap.kind == "content blob lost"] == [a_blob(1).content_id]


@pytest.mark.parametrize("code", ["AF20030", "AF20031", "AF20055"])
def test_the_daily_listing_starts_again_where_the_service_breaks_it_off(account: str, code: str) -> None:
    late = a_blob(2, created=ANCHOR - timedelta(hours=5), listed=ANCHOR + timedelta(hours=1))
    with on_stage(world_of(a_blob(1), late), account) as stage:
        assert collected(stage) == ["1"]
        stage.clock.advance(hours=4)
        broken = json.dumps({"error": {"code": code, "message": "made up"}}).encode()
        listing = Fault("activity", path_contains="subscriptions/content", times=2, status=400, body=broken)
        stage.tenant.faults.add(listing)
        stage.run("reconcile")
        assert states(stage) == {"done": 1, "pending": 1}


@pytest.mark.parametrize("windows", [27, 26], ids=["behind them", "between them"])
def test_what_was_listed_late_is_told_though_the_listing_starts_again(account: str, windows: int) -> None:
    """It is broken off at one of the last windows, behind that of both late blobs or of the first."""
    late = [
        a_blob(number, created=ANCHOR - timedelta(hours=hours), listed=ANCHOR + timedelta(hours=1))
        for number, hours in ((2, 30), (3, 5))
    ]
    with on_stage(world_of(a_blob(1), *late), account) as stage:
        stage.run("poll_audit_content")
        stage.clock.advance(hours=4)
        broken = json.dumps({"error": {"code": "AF20030", "message": "made up"}}).encode()
        stage.tenant.faults.add(
            Fault("activity", path_contains="subscriptions/content", first_skip=windows, status=400, body=broken)
        )
        stage.run("reconcile")
        assert not stage.tenant.faults.pending
        day = stage.app.journal.day(stage.clock.now().date().isoformat())
        (told,) = [one for one in day if (one.function, one.source) == ("reconcile", CONTENT_TYPE)]
        assert (told.note, told.rows_written) == ("2 content blobs were listed late", 2)


def test_a_record_that_cannot_be_read_is_a_gap_and_costs_no_other(account: str) -> None:
    blob = a_blob(1, an_event(1), an_event(2))
    with on_stage(world_of(blob), account) as stage:
        broken = Fault(
            "activity",
            path_contains="/audit/",
            garble=lambda body: body.replace(b"[{", b'[{"Workload":"PowerApps","x":1e400},{', 1),
        )
        stage.tenant.faults.add(broken)
        assert collected(stage) == ["1", "2"]
        (gap,) = gaps(stage)
        assert (gap.kind, gap.subject) == ("audit records unreadable", blob.content_id)
        assert "1 of its 3 records" in gap.reason
        again = stage.rows("fact_gap")
        stage.run("poll_audit_content")
        assert len(gaps(stage)) == 1
        assert stage.rows("fact_gap") == again


def test_an_odd_entry_keeps_nothing_behind_it_waiting(account: str) -> None:
    blobs = [a_blob(number) for number in range(3)]
    with on_stage(world_of(*blobs), account) as stage:
        odd = b'[{"contentId":"","contentUri":"","contentCreated":"soon"}]'
        stage.tenant.faults.add(Fault("activity", path_contains="subscriptions/content", status=200, body=odd))
        with pytest.raises(SourcesFailed, match="name no blob"):
            stage.run("poll_audit_content")
        day = ANCHOR.date()
        assert len(list(stage.app.ledger.between(CONTENT_TYPE, day - timedelta(days=9), day))) == 3
        assert collected(stage) == ["0", "1", "2"]


def test_events_of_one_request_that_share_a_connection_stay_apart(account: str) -> None:
    path = "/providers/Microsoft.PowerApps/apis/shared_sql/connections/C-1/permissions/"
    shares = [
        an_event(1, Id="E-1", Operation="PutConnectionPermission", ResourceId=path + who) for who in ("a", "b")
    ]
    with on_stage(world_of(a_blob(1, *shares)), account) as stage:
        stage.run("poll_audit_content")
        stage.publish()
        rows = stage.rows("fact_audit_event")
        assert sorted(row["resource_id"] for row in rows) == ["c-1/permissions/a", "c-1/permissions/b"]
        assert {row["connector_id"] for row in rows} == {"shared_sql"}


def test_content_that_is_deleted_from_the_ledger_is_read_again_after_the_daily_listing(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account) as stage:
        assert collected(stage) == ["1"]
        for name in list(stage.published()):
            stage.app.storage.blobs.delete(Container.POWERBI, name)
        list(stage.app.storage.table(StateTable.AUDIT_CONTENT).delete_between("Audit.", "Audit/"))
        stage.run("reconcile")
        assert collected(stage) == ["1"]
