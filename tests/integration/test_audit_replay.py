"""Reading days of audit records once more from `raw`, as an app setting orders it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest

from integration.stage import ANCHOR, Stage, on_stage
from integration.test_audit_content import CONTENT_TYPE, a_blob, an_event, collected, world_of
from shared.audit import replay
from shared.state.names import Container

TODAY = f"{ANCHOR:%Y-%m-%d}"
YESTERDAY = f"{ANCHOR - timedelta(days=1):%Y-%m-%d}"
CRM = {"Workload": "CRM", "RecordType": 21, "Operation": "CrmDefaultActivity"}


def restart(stage: Stage, **settings: str) -> None:
    """What a changed app setting does: a new worker."""
    stage.environ = {**stage.environ, **settings}
    stage.app = stage.new_app()


def asked(stage: Stage) -> int:
    return sum("/audit/" in request.path for request in stage.tenant.requests)


def poll(stage: Stage) -> None:
    stage.clock.advance(minutes=15)
    stage.run("poll_audit_content")
    stage.publish()


def rows(stage: Stage) -> dict[str, dict[str, Any]]:
    return {row["event_id"][-2:]: row for row in stage.rows("fact_audit_event")}


def test_whole_blobs_can_be_read_with_another_filter(account: str) -> None:
    blobs = [a_blob(number, an_event(number), an_event(number + 16, **CRM)) for number in range(3)]
    with on_stage(world_of(*blobs), account, RAW_AUDIT="all") as stage:
        assert collected(stage) == ["0", "1", "2"]
        restart(stage, AUDIT_WORKLOADS="PowerPlatform,CRM", AUDIT_REPLAY=TODAY)
        poll(stage)
        assert sorted(rows(stage)) == ["00", "01", "02", "10", "11", "12"]
        assert asked(stage) == 3, "the service was asked again"


def test_kept_records_can_be_read_anew_and_give_no_others(account: str) -> None:
    blob = a_blob(1, an_event(1, Operation="BrandNewThing"), an_event(16, **CRM))
    with on_stage(world_of(blob), account) as stage:
        stage.run("poll_audit_content")
        stage.publish()
        assert rows(stage)["01"]["operation_group"] == "Other"
        restart(stage, AUDIT_WORKLOADS="PowerPlatform,CRM", AUDIT_REPLAY=f"{YESTERDAY}/{TODAY}")
        known = ("App use", "BrandNewThing")
        with mock.patch("shared.audit.events.named", return_value=known):  # as a later version of the app would
            poll(stage)
        assert list(rows(stage)) == ["01"]
        assert rows(stage)["01"]["operation_group"] == "App use"
        assert rows(stage)["01"]["content_id"] == blob.content_id


def test_an_event_keeps_its_blob_whose_id_names_a_day_two_days_before(account: str) -> None:
    blob = a_blob(1)
    odd = replace(blob, content_id=a_blob(1, created=blob.created - timedelta(days=2)).content_id)
    with on_stage(world_of(odd), account) as stage:
        collected(stage)
        before = rows(stage)["01"]
        restart(stage, AUDIT_REPLAY=TODAY)
        poll(stage)
        again = rows(stage)["01"]
        assert again == {**before, "ingested_utc": again["ingested_utc"]}
        assert again["ingested_utc"] > before["ingested_utc"]


def test_an_order_is_carried_out_once_and_another_text_is_another_order(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account) as stage:
        collected(stage)
        restart(stage, AUDIT_REPLAY=TODAY)
        poll(stage)
        before = stage.published()
        poll(stage)
        assert stage.published() == before
        restart(stage, AUDIT_REPLAY=f"{TODAY} again")
        poll(stage)
        assert stage.published() != before
        notes = [record.note for record in stage.app.journal.day(TODAY) if record.source.startswith("replay")]
        assert [note for note in notes if note] == [
            f"{TODAY} again is done; AUDIT_REPLAY can be emptied",
            f"{TODAY} is done; AUDIT_REPLAY can be emptied",
        ]


def test_a_replay_that_is_cut_short_goes_on_where_it_was(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "BLOBS_PER_BATCH", 1)
    with on_stage(world_of(*[a_blob(number) for number in range(3)]), account) as stage:
        collected(stage)
        for name in list(stage.published()):
            stage.app.storage.blobs.delete(Container.POWERBI, name)
        restart(stage, AUDIT_REPLAY=TODAY)
        stage.clock.advance(minutes=15)

        real = replay.stage_events

        def slow(*arguments: Any) -> None:
            real(*arguments)
            stage.clock.advance(seconds=430)

        with mock.patch.object(replay, "stage_events", slow):
            stage.run("poll_audit_content")
        stage.publish()
        assert len(rows(stage)) == 1
        poll(stage)
        assert sorted(rows(stage)) == ["00", "01", "02"]


def test_records_that_are_damaged_keep_no_others_waiting(account: str) -> None:
    with on_stage(world_of(a_blob(1), a_blob(2)), account) as stage:
        collected(stage)
        stage.app.storage.blobs.put(Container.RAW, stage.raw(f"audit/{CONTENT_TYPE}/")[0], b"no gzip")
        before = rows(stage)["02"]["ingested_utc"]
        restart(stage, AUDIT_REPLAY=TODAY)
        poll(stage)
        assert rows(stage)["02"]["ingested_utc"] > before
        (record,) = (one for one in stage.app.journal.day(TODAY) if one.source.startswith("replay"))
        assert (record.rows_written, record.rows_failed) == (1, 1)


def test_nothing_is_kept_where_nothing_is_wanted(account: str) -> None:
    blobs = (a_blob(1, an_event(1), an_event(16, **CRM)), a_blob(2, an_event(17, **CRM)))
    with on_stage(world_of(*blobs), account, RAW_AUDIT="off") as stage:
        collected(stage)
        assert not stage.raw()


@pytest.mark.parametrize(("rule", "kept"), [("kept", 1), ("all", 2)])
def test_what_is_kept_as_received(account: str, rule: str, kept: int) -> None:
    blobs = (a_blob(1, an_event(1), an_event(16, **CRM)), a_blob(2, an_event(17, **CRM)))
    with on_stage(world_of(*blobs), account, RAW_AUDIT=rule) as stage:
        collected(stage)
        assert len(stage.raw(f"audit/{CONTENT_TYPE}/date={TODAY}/")) == kept
