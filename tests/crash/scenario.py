"""A small tenant in which everything happens that the app has to deal with, and the turns of all its functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from integration.stage import ANCHOR, a_log, a_run, small_world
from integration.test_action_logs import log_of
from integration.test_flow_logs import flow_log_row

from crash.stand import FUNCTIONS, Process
from local.tenant import ContentBlob, Environment, Fault, Session, SessionState, Tenant, World
from local.tenant.world import resolved, stable_id
from shared import entry
from shared.state.names import Queue

RUNNING, FAILED, WANTED = 2, 8, {"PowerPlatform", "PowerApps", "MicrosoftFlow"}
HOUR = timedelta(hours=1)
AGO = ANCHOR - HOUR
LATER = ANCHOR + HOUR
FINISHED, BROKEN, OPEN, LATE, LATE_LOG, DELETED, IN_TABLE, DELETED_TOO = range(1, 9)


def the_world() -> World:
    """An environment whose logs are files and one whose logs are rows, each with all kinds of runs; audit content.

    At `LATER`: an open run ends, a log comes late, runs are deleted, a run shows that changed before the last
    poll, rows of a log and a content blob are found late.
    """
    world = small_world(environments=3, sessions_per_environment=1, blobs=4, events_per_blob=12, history_days=1)
    files, _, rows = world.environments
    return replace(
        world,
        environments=(small(files, runs_with_files(files)), small(rows, runs_with_rows(rows))),
        blobs=tuple(audit_content(world)),
        history_start=ANCHOR - timedelta(days=1),
    )


def small(environment: Environment, sessions: tuple[Session, ...]) -> Environment:
    return replace(
        environment,
        sessions=sessions,
        workflows=environment.workflows[:2],
        machines=environment.machines[:2],
        machine_groups=environment.machine_groups[:1],
        users=environment.users[:3],
    )


def runs_with_files(environment: Environment) -> tuple[Session, ...]:
    members = members_of(environment)
    log = a_log(log_of())
    late = a_run(LATE, file=log, **members)
    before = a_run(OPEN, AGO, completedon=None, statuscode=RUNNING, **members).states[0]
    ended = a_run(
        OPEN, AGO, file=a_log(log_of(3), LATER), **{**members, "completedon": LATER, "statuscode": FAILED}
    )
    return (
        a_run(FINISHED, file=log, **members),
        a_run(BROKEN, file=a_log(b"<html>Service Unavailable</html>"), statuscode=FAILED),
        replace(ended, states=(before, state_at(ended.states[0], LATER, 2000))),
        replace(late, states=(replace(late.states[0], visible_at=LATER, modified_at=AGO - 2 * HOUR),)),
        a_run(LATE_LOG, file=a_log(log_of(4), LATER), **members),
        replace(a_run(DELETED, file=log), deleted_at=LATER),
    )


def runs_with_rows(environment: Environment) -> tuple[Session, ...]:
    members = members_of(environment)
    rows = [flow_log_row(number, IN_TABLE, at) for number, at in enumerate((AGO, AGO, ANCHOR + HOUR / 2))]
    begun = ANCHOR - timedelta(minutes=10)
    return (
        replace(a_run(IN_TABLE, begun, **members), flowlogs=tuple(rows)),
        replace(a_run(DELETED_TOO, begun), flowlogs=(flow_log_row(0, DELETED_TOO, begun),), deleted_at=LATER),
    )


def members_of(environment: Environment) -> dict[str, Any]:
    """A machine and an owner that the inventory knows, and a flow that it does not."""
    return {
        "_machineid_value": environment.machines[0]["flowmachineid"],
        "_ownerid_value": environment.users[0]["systemuserid"],
        "_regardingobjectid_value": stable_id(environment.name, "a flow that no inventory knows"),
    }


def state_at(state: SessionState, at: datetime, version: int) -> SessionState:
    return replace(state, visible_at=at, modified_at=at, version_number=version)


def audit_content(world: World) -> list[ContentBlob]:
    """Two blobs on time, one that is listed hours after it was created, and one that the service has lost."""
    made = [ANCHOR - hours * HOUR for hours in (3, 2, 8, 4)]
    first, second, late, gone = (of_today(blob, at) for blob, at in zip(world.blobs, made, strict=True))
    return [first, second, replace(late, listed_at=LATER), gone]


def of_today(blob: ContentBlob, at: datetime) -> ContentBlob:
    """A blob made at a time, with the records that are wanted and one that is not, all of the hour before."""
    records: Any = resolved(blob.records)
    kept = [record for record in records if record["Workload"] in WANTED]
    noise = next(record for record in records if record["Workload"] not in WANTED)
    shown = tuple({**record, "CreationTime": f"{at - HOUR:%Y-%m-%dT%H:%M:%S}"} for record in (*kept, noise))
    return replace(blob, created=at, listed_at=at, expires=at + timedelta(days=7), records=shown, summary=None)


def lose_content(tenant: Tenant) -> None:
    """The last blob has expired, although it is listed."""
    expired = b'{"error":{"code":"AF20051","message":"The requested content has already expired."}}'
    tenant.faults.add(
        Fault(
            "activity",
            path_contains=f"audit/{tenant.world.blobs[-1].content_id}",
            status=400,
            body=expired,
            times=None,
        )
    )


@dataclass(frozen=True)
class Turn:
    """What the host lets run at a time after the start: a timer's function, a page, or all messages of a queue.

    `settings` are those that the app has by then besides its usual ones. What somebody else does is not `harmed`.
    """

    name: str
    at: timedelta
    run: Callable[[Process], object]
    is_queue: bool = False
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    harmed: bool = True


@dataclass(frozen=True)
class Scenario:
    """A world and the turns in it; harm is tried in each of `turns`, at every effect.

    By the end of those `after` them, everything is as if there had been no harm.
    """

    world: Callable[[], World]
    turns: tuple[Turn, ...]
    after: tuple[Turn, ...]
    before: tuple[Turn, ...] = ()
    prepare: Callable[[Tenant], None] = lambda _: None

    @property
    def schedule(self) -> tuple[Turn, ...]:
        return (*self.before, *self.turns, *self.after)

    def is_harmed(self, turn: int) -> bool:
        own = len(self.before) <= turn < len(self.before) + len(self.turns)
        return own and self.schedule[turn].harmed


def timer(function: str, at: float, settings: Mapping[str, str] | None = None) -> Turn:
    return Turn(function, timedelta(minutes=at), lambda process: process.timer(function), settings=settings or {})


def queue(name: Queue, at: float, settings: Mapping[str, str] | None = None) -> Turn:
    minutes = timedelta(minutes=at)
    return Turn(FUNCTIONS[name], minutes, lambda process: process.message(name), True, settings or {})


def ask_how_it_is(process: Process) -> None:
    for page in ("health", "status"):
        entry.run_request(page, process.app)


A_DAY_AND_A_HALF = Scenario(
    world=the_world,
    prepare=lose_content,
    turns=(
        timer("sync_inventory", 0),
        timer("poll_flow_sessions", 1),
        timer("poll_audit_content", 2),
        queue(Queue.ADDITIONAL_CONTEXT, 3),
        queue(Queue.ADDITIONAL_CONTEXT, 10),
        timer("publish", 20),
        queue(Queue.PUBLISH_DAY, 21),
        # the world has changed
        timer("poll_flow_sessions", 120),
        queue(Queue.ADDITIONAL_CONTEXT, 122),
        timer("reconcile", 140),
        queue(Queue.ADDITIONAL_CONTEXT, 160),
        timer("poll_audit_content", 161),
        timer("publish", 180),
        queue(Queue.PUBLISH_DAY, 181),
        Turn("health and status", timedelta(minutes=200), ask_how_it_is),
    ),
    after=(
        timer("sync_inventory", 1500),
        timer("poll_flow_sessions", 1501),
        timer("reconcile", 1502),
        timer("poll_audit_content", 1503),
        queue(Queue.ADDITIONAL_CONTEXT, 1504),
        timer("publish", 1520),
        queue(Queue.PUBLISH_DAY, 1521),
        timer("publish", 1530),
        queue(Queue.PUBLISH_DAY, 1531),
    ),
)
