"""A second scenario: messages that failed too often, orders to read again, a person forgotten, old days gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest import mock

import msgspec
from integration.stage import ANCHOR, a_log, a_run, bare_world, run_id, with_runs
from integration.test_action_logs import log_of
from integration.test_audit_content import a_blob, an_event

from crash.scenario import Scenario, Turn, queue, small, timer
from crash.stand import Process
from local.forgetting import Forgetting
from local.tenant import World
from shared.dataverse.log_messages import read_request
from shared.functions.redrive import MOST_TIMES
from shared.publishing.requests import body_for
from shared.publishing.staging import Destination
from shared.schema import DIM_USER, FACT_FLOW_SESSION
from shared.state.names import Container, Queue

OLD = timedelta(days=32)
THEIRS, HOPELESS, BROKEN, OLD_RUN, OLD_BROKEN = range(1, 6)
USER_KEY, CAME_FROM = "10032001ABCDEF12", "10.9.8.7"
LOGS, DAYS = Queue.ADDITIONAL_CONTEXT, Queue.PUBLISH_DAY
HISTORY = {"HISTORY_START": f"{ANCHOR - timedelta(days=40):%Y-%m-%d}"}
ORDERS = ("RUNS_REPLAY", "LOGS_REPLAY", "AUDIT_REPLAY")
ORDERED = {**HISTORY, **dict.fromkeys(ORDERS, f"{ANCHOR:%Y-%m-%d}")}
READ_AGAIN = ("fact_flow_session/", "fact_flow_action/", "fact_audit_event/")
KEPT = (
    "fact_flow_session=31, fact_flow_action=30, fact_audit_event=30, raw=30, fact_machine_hour=30, fact_ingest=30"
)
LIMITED = {**HISTORY, "RETENTION_DAYS": KEPT}
ORDERED_OF_OLD = {**LIMITED, **dict.fromkeys(ORDERS, f"{ANCHOR - OLD:%Y-%m-%d}")}


def upkeep_world() -> World:
    """A person who owns a run and is named in others, in a log that can't be read and in events; old runs."""
    world = bare_world()
    environment = small(world.environments[0], ())
    theirs = person(world)
    mentioned = {
        "Value": {"localizedName": "Value", "value": f"Dear {theirs['domainname']}", "variableName": "to"}
    }
    on_machine = {"_machineid_value": environment.machines[0]["flowmachineid"]}
    log, broken = a_log(log_of(inputs=mentioned)), a_log(f"{theirs['domainname']} damaged".encode())
    runs = (
        a_run(THEIRS, file=log, _ownerid_value=theirs["systemuserid"], **on_machine),
        a_run(HOPELESS, file=log),
        a_run(BROKEN, file=broken),
        a_run(OLD_RUN, ANCHOR - OLD, file=a_log(log_of()), **on_machine),
        a_run(OLD_BROKEN, ANCHOR - OLD, file=a_log(b"damaged")),
    )
    by_them = {"UserId": theirs["domainname"], "UserKey": USER_KEY, "ClientIP": f"{CAME_FROM}:5000"}
    old = {"CreationTime": f"{ANCHOR - OLD:%Y-%m-%dT%H:%M:%S}"}
    blobs = (a_blob(1, an_event(1, **by_them), an_event(2, **by_them, **old)), a_blob(2, an_event(3)))
    world = replace(world, environments=(replace(environment, users=with_person(environment, theirs)),))
    return replace(with_runs(world, *runs), blobs=blobs, subscriptions={"Audit.General": True})


def person(world: World) -> dict[str, Any]:
    users = world.environments[0].users
    return dict(next(user for user in users if "@" in str(user.get("domainname")) and user.get("fullname")))


def with_person(environment: Any, theirs: dict[str, Any]) -> tuple[Any, ...]:
    others = [user for user in environment.users if user["systemuserid"] != theirs["systemuserid"]]
    return (theirs, *others[:1])


def fail_too_often(process: Process) -> None:
    """The host has given up the messages about logs, one of them for the last time, and two about days.

    With them lie one that says nothing, and one about a day that is published by the time it is looked at.
    """
    messages = process.take_all(LOGS)
    for request in map(read_request, messages):
        hopeless = [one for one in request.session_ids if one == run_id(HOPELESS)]
        others = [one for one in request.session_ids if one not in hopeless]
        process.poison(LOGS, request.only(others).body())
        if hopeless:
            given_up = msgspec.structs.replace(request.only(hopeless), redriven=MOST_TIMES)
            process.poison(LOGS, given_up.body())
    process.poison(LOGS, '{"says":"nothing"}')
    staged = Destination(FACT_FLOW_SESSION, (ANCHOR - timedelta(hours=1)).date())
    for body in (body_for(staged), body_for(staged), body_for(Destination(DIM_USER, None))):
        process.poison(DAYS, body)


def delete_by_mistake(process: Process) -> None:
    """Files of the day are gone, which reading the day again is to bring back."""
    for item in list(process.app.storage.blobs.list(Container.POWERBI, "fact_")):
        if f"{ANCHOR:%Y-%m-%d}" in item.name and item.name.startswith(READ_AGAIN):
            process.app.storage.blobs.delete(Container.POWERBI, item.name)


def forget(process: Process) -> None:
    """Whoever waits for a lease there waits until it has run out."""
    upn = person(process.stand.tenant.world)["domainname"]

    def wait(_seconds: float) -> None:
        process.stand.account.blobs.end_leases()

    with mock.patch("time.sleep", wait):
        process.attempt(lambda: Forgetting(process.app.storage, upn, apply=True).run())


def published(at: float, **settings: str) -> tuple[Turn, Turn]:
    return timer("publish", at, settings), queue(DAYS, at + 1, settings)


UPKEEP = Scenario(
    world=upkeep_world,
    before=(
        timer("sync_inventory", 0, HISTORY),
        *published(1, **HISTORY),
        timer("poll_flow_sessions", 10, HISTORY),
        timer("poll_audit_content", 11, HISTORY),
        Turn("the host gives up", timedelta(minutes=12), fail_too_often, settings=HISTORY),
    ),
    turns=(
        timer("reconcile", 20, HISTORY),
        queue(LOGS, 30, HISTORY),
        *published(40, **HISTORY),
        Turn("somebody deletes files", timedelta(minutes=49), delete_by_mistake, settings=HISTORY, harmed=False),
        timer("poll_flow_sessions", 50, ORDERED),
        timer("poll_audit_content", 51, ORDERED),
        queue(LOGS, 60, ORDERED),
        *published(70, **ORDERED),
        Turn("forget", timedelta(minutes=80), forget, settings=ORDERED),
        timer("reconcile", 90, LIMITED),
        timer("poll_flow_sessions", 100, ORDERED_OF_OLD),
        timer("poll_audit_content", 101, ORDERED_OF_OLD),
        queue(LOGS, 110, ORDERED_OF_OLD),
        *published(120, **ORDERED_OF_OLD),
    ),
    after=(
        Turn("forget", timedelta(minutes=1490), forget, settings=ORDERED_OF_OLD),
        timer("sync_inventory", 1500, ORDERED_OF_OLD),
        timer("poll_flow_sessions", 1501, ORDERED_OF_OLD),
        timer("reconcile", 1502, ORDERED_OF_OLD),
        timer("poll_audit_content", 1503, ORDERED_OF_OLD),
        queue(LOGS, 1504, ORDERED_OF_OLD),
        *published(1520, **ORDERED_OF_OLD),
        *published(1530, **ORDERED_OF_OLD),
    ),
)
