"""Ten failures, each scripted with the simulated tenant or the storage, and what is to be told of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from integration.stage import FUNCTIONS, Stage, a_log, a_run, bare_world, on_stage
from local.tenant import Fault, World
from shared.entry import take
from shared.health.codes import Code
from shared.state.names import Queue

PRODUCTION, CARE = "Finance Production", "Customer Care"


@dataclass(frozen=True)
class Failure:
    """`break_it` happens to a healthy app; `code` and `where` are what is wrong then, `remedy` is a part of it.

    An app that can't look at its own state can't say since when.
    """

    break_it: Callable[[Stage], None]
    code: Code
    where: str
    remedy: str
    can_look: bool = True


def a_world() -> World:
    """Three environments with some runs each, and a bit of the audit trail."""
    world = bare_world(environments=3)
    begin = datetime.now(UTC) - timedelta(hours=2)
    environments = [
        replace(one, sessions=tuple(a_run(10 * at + number, begin) for number in range(3)))
        for at, one in enumerate(world.environments)
    ]
    return replace(world, environments=tuple(environments))


@contextmanager
def a_healthy_stage(account: str) -> Iterator[Stage]:
    """The clock is the real one, for storage stamps what it takes with that."""
    with on_stage(a_world(), account) as stage:
        stage.clock.at = datetime.now(UTC).replace(microsecond=0)
        everything(stage)
        yield stage


def everything(stage: Stage, *, but: str = "") -> None:
    """One tick of the timers that read, and of the others only the heartbeats; all logs that are asked for."""
    for timer in ("sync_inventory", "reconcile", "publish"):
        stage.app.journal.heartbeat(timer, succeeded_utc=stage.clock.now(), error=None)
    for timer in ("poll_flow_sessions", "poll_audit_content"):
        if timer != but:
            stage.tick(timer)
    if but != "decode_additional_context":
        work_off(stage, Queue.ADDITIONAL_CONTEXT)


def work_off(stage: Stage, queue: Queue) -> None:
    stage._for_each(queue, lambda *message: take(stage.app, FUNCTIONS[queue], *message))


def expired_permission(stage: Stage) -> None:
    stage.tenant.world = replace(stage.tenant.world, feed_roles=())
    stage.tenant.revoke_tokens()
    stage.clock.advance(minutes=15)
    everything(stage)


def frozen_timer(stage: Stage) -> None:
    stage.clock.advance(hours=1)
    everything(stage, but="poll_flow_sessions")


def throttled_tenant(stage: Stage) -> None:
    stage.tenant.faults.add(Fault("dataverse", times=None, status=429, headers={"Retry-After": "7200"}))
    for _ in range(8):
        stage.clock.advance(minutes=5)
        stage.tick("poll_flow_sessions")
    everything(stage, but="poll_flow_sessions")


def full_queue(stage: Stage) -> None:
    world = stage.tenant.world
    many = tuple(a_run(100 + number, stage.clock.now() - timedelta(minutes=5)) for number in range(60))
    first = replace(world.environments[0], sessions=(*world.environments[0].sessions, *many))
    stage.tenant.world = replace(world, environments=(first, *world.environments[1:]))
    stage.tick("poll_flow_sessions")
    stage.publish()
    # waiting moves the stage's clock and not the storage's: what was done is older, whatever the two say
    long_ago = stage.clock.now() - timedelta(hours=1)
    stage.app.journal.heartbeat("decode_additional_context", succeeded_utc=long_ago, error=None)
    stage.clock.advance(hours=7)
    everything(stage, but="decode_additional_context")


def disabled_subscription(stage: Stage) -> None:
    stage.tenant.disable_subscription("Audit.General")
    for _ in range(2):
        stage.clock.advance(minutes=15)
        everything(stage)


def deleted_environment(stage: Stage) -> None:
    stage.tenant.faults.add(Fault("dataverse", environment=CARE, times=None, status=404, body=b""))
    stage.clock.advance(minutes=5)
    everything(stage)


def wrong_setting(stage: Stage) -> None:
    stage.environ |= {"FLOW_SESSIONS_SCHEDULE": "every five minutes"}


def unreadable_logs(stage: Stage) -> None:
    world = stage.tenant.world
    begin = stage.clock.now() - timedelta(minutes=4)
    bad = tuple(a_run(200 + number, begin, a_log(b"no log at all", begin)) for number in range(3))
    first = replace(world.environments[0], sessions=(*world.environments[0].sessions, *bad))
    stage.tenant.world = replace(world, environments=(first, *world.environments[1:]))
    stage.clock.advance(minutes=5)
    everything(stage)


def missing_storage_role(stage: Stage) -> None:
    """Storage that answers 403 to everything: here for the sake of a wrong key."""
    wrong = "bm90IHRoZSBrZXkgb2YgdGhpcyBhY2NvdW50"
    stage.environ |= {"DataStorage": re.sub(r"AccountKey=[^;]+", f"AccountKey={wrong}", stage.account)}


def clock_skew(stage: Stage) -> None:
    ahead = format_datetime(stage.clock.now() + timedelta(hours=2), usegmt=True)
    for service in ("dataverse", "activity"):
        stage.tenant.faults.add(Fault(service, times=None, headers={"Date": ahead}))
    stage.clock.advance(minutes=5)
    everything(stage)


FAILURES = {
    "expired permission": Failure(
        expired_permission, Code.ACCESS_REFUSED, "Audit.General", "Grant the app role ActivityFeed.Read"
    ),
    "frozen timer": Failure(
        frozen_timer, Code.TIMER_FROZEN, "poll_flow_sessions", "Stop the function app and start it again"
    ),
    "throttled tenant": Failure(
        throttled_tenant, Code.THROTTLED, PRODUCTION, "Nothing at once: the app waits as long as the service asks"
    ),
    "full queue": Failure(
        full_queue, Code.QUEUE_WAITING, "additional-context", "Stop the function app and start it again"
    ),
    "disabled subscription": Failure(
        disabled_subscription, Code.SUBSCRIPTION_DISABLED, "Audit.General", "Find out what stopped it"
    ),
    "deleted environment": Failure(
        deleted_environment, Code.ENVIRONMENT_GONE, CARE, "take it out of ENVIRONMENTS"
    ),
    "wrong setting": Failure(
        wrong_setting,
        Code.SETTINGS_WRONG,
        "FLOW_SESSIONS_SCHEDULE",
        "Correct it in the function app's settings",
        can_look=False,
    ),
    "unreadable logs": Failure(
        unreadable_logs, Code.LOGS_UNREADABLE, PRODUCTION, "kept as they came in the container raw"
    ),
    "missing storage role": Failure(
        missing_storage_role,
        Code.STORAGE_REFUSED,
        "the data storage account",
        "Give the identity Storage Blob Data Contributor",
        can_look=False,
    ),
    "clock skew": Failure(clock_skew, Code.CLOCK_SKEW, PRODUCTION, "stop the function app and start it again"),
}
