"""Flows, machines, groups and people by name, whatever the source forgets."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from integration.stage import ANCHOR, Stage, bare_world, on_stage, run_id
from local.tenant import Access, Fault, World
from shared.publishing.dimensions import UNKNOWN
from shared.publishing.parquet import rows_of
from shared.publishing.staging import Destination
from shared.schema import FACT_AUDIT_EVENT
from shared.state.names import StateTable

FLOW = "f0000000-0000-0000-0000-000000000001"


def flow(number: int = 1, **columns: Any) -> dict[str, Any]:
    return {
        "workflowid": f"{FLOW[:-1]}{number}",
        "name": f"Flow {number}",
        "category": 6,
        "uiflowtype": 2,
        "statecode": 1,
        "createdon": "2026-01-01T00:00:00Z",
        "modifiedon": "2026-02-01T00:00:00Z",
        **columns,
    }


def with_flows(world: World, *flows: dict[str, Any], **changes: Any) -> World:
    return replace(world, environments=(replace(world.environments[0], workflows=flows, **changes),))


def flows(stage: Stage) -> dict[str, dict[str, Any]]:
    stage.run("sync_inventory")
    stage.publish()
    return {row["flow_id"]: row for row in stage.rows("dim_flow")}


def test_all_kinds_of_flows_and_no_recordings(account: str) -> None:
    kinds = [flow(number, uiflowtype=number) for number in range(3)]
    others = [flow(7, uiflowtype=101), flow(8, category=5, uiflowtype=None), flow(9, category=0)]
    with on_stage(with_flows(bare_world(), *kinds, *others), account) as stage:
        assert {row["name"]: row["flow_type"] for row in flows(stage).values()} == {
            "Flow 0": "Windows recorder",
            "Flow 1": "Selenium IDE",
            "Flow 2": "Desktop flow",
            "Flow 8": "Cloud flow",
        }


def test_a_draft_and_its_published_copy_are_one_flow(account: str) -> None:
    published = flow(name="As published")
    draft = flow(name="As drafted", statecode=0, componentstate=1, modifiedon="2026-03-01T00:00:00Z")
    only_draft = flow(2, statecode=0, componentstate=1)
    with on_stage(with_flows(bare_world(), draft, published, only_draft), account) as stage:
        found = flows(stage)
        assert found[FLOW]["name"] == "As drafted"
        assert [row["state"] for row in found.values()] == ["Draft", "Draft"]


def test_a_flow_that_is_deleted_stays_and_is_marked(account: str) -> None:
    world = with_flows(bare_world(), flow(1), flow(2))
    with on_stage(world, account) as stage:
        flows(stage)
        stage.tenant.world = with_flows(world, flow(2))
        stage.clock.advance(days=1)
        found = flows(stage)
        assert (found[FLOW]["name"], found[FLOW]["is_deleted"]) == ("Flow 1", True)
        assert not found[f"{FLOW[:-1]}2"]["is_deleted"]
        entity = stage.app.storage.table(StateTable.FLOWS).get(found[FLOW]["environment_id"], FLOW)
        assert entity is not None
        assert entity.get("is_deleted") is True
        before = stage.published()
        stage.clock.advance(days=1)
        flows(stage)
        assert stage.published() == before
        stage.tenant.world = world
        stage.clock.advance(days=1)
        assert not flows(stage)[FLOW]["is_deleted"]


def test_a_name_that_the_source_forgets_is_kept(account: str) -> None:
    world = with_flows(bare_world(), flow(1))
    with on_stage(world, account) as stage:
        flows(stage)
        stage.tenant.world = with_flows(world, flow(1, name=None, statecode=2))
        stage.clock.advance(days=1)
        assert (flows(stage)[FLOW]["name"], flows(stage)[FLOW]["state"]) == ("Flow 1", "Suspended")


def test_a_name_taken_while_the_clock_was_ahead_gives_way_to_a_newer_one(account: str) -> None:
    world = with_flows(bare_world(), flow(1), flow(2))
    with on_stage(world, account) as stage:
        stage.clock.advance(days=400)
        flows(stage)
        stage.clock.advance(days=-399)
        stage.tenant.world = with_flows(world, flow(1, name="New name"))
        found = flows(stage)
        assert found[FLOW]["name"] == "New name"
        assert found[f"{FLOW[:-1]}2"]["is_deleted"]
        before = stage.published()
        flows(stage)
        assert stage.published() == before


@pytest.mark.parametrize("elsewhere", [True, False], ids=["elsewhere", "here"])
def test_a_flow_that_events_name_first_gets_its_name(account: str, elsewhere: bool) -> None:
    """A solution is made in an environment that is not read, and then imported into one that is, ids and all."""
    with on_stage(with_flows(bare_world(), flow(1)), account) as stage:
        here = stage.tenant.world.environments[0].environment_id.lower()
        event = {
            "event_id": "1",
            "created_utc": ANCHOR,
            "environment_id": "elsewhere" if elsewhere else here,
            "flow_id": FLOW,
        }
        place = Destination(FACT_AUDIT_EVENT, ANCHOR.date())
        stage.app.staging.put(place, [rows_of(FACT_AUDIT_EVENT, [event])], ["1"])
        stage.publish()
        assert [row["name"] for row in stage.rows("dim_flow")] == [UNKNOWN]
        row = flows(stage)[FLOW]
        assert (row["name"], row["environment_id"]) == ("Flow 1", here)


def test_a_false_list_of_columns_empties_none_and_brings_no_recordings(account: str) -> None:
    with on_stage(with_flows(bare_world(), flow(1, uiflowtype=0), flow(7, uiflowtype=101)), account) as stage:
        before = flows(stage)
        empty = Fault("dataverse", path_contains="'workflow')/Attributes", status=200, body=b'{"value":[]}')
        stage.tenant.faults.add(empty)
        stage.clock.advance(days=1)
        assert flows(stage) == before
        assert not stage.tenant.faults.pending


def named_by_events(stage: Stage, *names: tuple[str | None, int]) -> str:
    """The name of an environment that only events know, after one with each name, so many hours after noon."""
    events = [
        {
            "event_id": f"{name} {hour}",
            "created_utc": ANCHOR + timedelta(hours=hour),
            "environment_id": "elsewhere",
            "environment_name": name,
        }
        for name, hour in names
    ]
    rows = [rows_of(FACT_AUDIT_EVENT, events)]
    stage.app.staging.put(Destination(FACT_AUDIT_EVENT, ANCHOR.date()), rows, [str(names)])
    stage.publish()
    (row,) = [row for row in stage.rows("dim_environment") if row["environment_id"] == "elsewhere"]
    return row["name"]


def test_an_environment_that_only_events_know_has_the_newest_name_that_they_tell(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        assert named_by_events(stage, (None, 1)) == UNKNOWN
        assert named_by_events(stage, ("Finance", 4), ("Money", 2), (None, 5)) == "Finance"
        assert named_by_events(stage, ("Money", 3)) == "Finance"
        assert named_by_events(stage, ("Treasury", 6)) == "Treasury"
        assert named_by_events(stage, (None, 7)) == "Treasury"


def test_events_do_not_rename_an_environment_that_the_inventory_knows(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        stage.run("sync_inventory")
        stage.publish()
        (known,) = stage.rows("dim_environment")
        event = {
            "event_id": "1",
            "created_utc": ANCHOR + timedelta(hours=1),
            "environment_id": known["environment_id"],
            "environment_name": "As an event calls it",
        }
        rows = [rows_of(FACT_AUDIT_EVENT, [event])]
        stage.app.staging.put(Destination(FACT_AUDIT_EVENT, ANCHOR.date()), rows, ["event"])
        stage.publish()
        assert stage.rows("dim_environment") == [known]


def test_a_machine_that_leaves_its_group_is_in_none(account: str) -> None:
    machine = {
        "flowmachineid": run_id(1),
        "name": "M",
        "_flowmachinegroupid_value": run_id(2),
        "createdon": ANCHOR,
    }
    world = bare_world()
    grouped = replace(world, environments=(replace(world.environments[0], machines=(machine,)),))
    alone = {**machine, "_flowmachinegroupid_value": None}
    with on_stage(grouped, account) as stage:
        stage.run("sync_inventory")
        stage.tenant.world = replace(world, environments=(replace(world.environments[0], machines=(alone,)),))
        stage.clock.advance(days=1)
        stage.publish()
        stage.run("sync_inventory")
        stage.publish()
        (row,) = stage.rows("dim_machine")
        assert (row["name"], row["machine_group_id"]) == ("M", None)


def test_flows_that_are_only_kept_from_us_are_not_marked(account: str) -> None:
    world = with_flows(bare_world(), flow(1))
    with on_stage(world, account) as stage:
        flows(stage)
        shallow = Access(depths={"prvReadWorkflow": "Basic"})
        stage.tenant.world = replace(world, environments=(replace(world.environments[0], access=shallow),))
        stage.clock.advance(days=1)
        assert not flows(stage)[FLOW]["is_deleted"]
