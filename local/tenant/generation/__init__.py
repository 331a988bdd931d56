"""Makes up a realistic world, the same for the same seed, sizes and anchor."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from local.tenant.generation.audit_blobs import Feed
from local.tenant.generation.audit_events import Scene
from local.tenant.generation.estate import Estate, environment, estate
from local.tenant.generation.people import people
from local.tenant.generation.runs import Schedule
from local.tenant.generation.sessions import Runs
from local.tenant.world import Deferred, Environment, World, stable_id


def generate(  # noqa: PLR0913 - the sizes of a world
    *,
    seed: int = 7,
    anchor: datetime | None = None,
    environments: int = 3,
    sessions_per_environment: int = 120,
    blobs: int = 60,
    events_per_blob: int = 200,
    history_days: float = 5,
    live_s: float = 60,
) -> World:
    """A world whose past lies in the `history_days` before `anchor` (now, when omitted).

    During the `live_s` seconds after the anchor some runs and blobs change or appear. The sessions of an
    environment are made when they are first looked at, their rows and logs each time.
    """
    anchor = (anchor or datetime.now(UTC)).replace(microsecond=0)
    tenant_id, client_id = stable_id(seed, "tenant"), stable_id(seed, "client")
    everybody = people(seed)
    estates = tuple(estate(seed, number, tenant_id, everybody) for number in range(environments))
    start = anchor - timedelta(days=history_days)
    schedule = Schedule(sessions_per_environment, start, anchor, live_s)
    scene = Scene(seed, tenant_id, estates, everybody)
    feed = Feed(scene, blobs, events_per_blob, timedelta(days=history_days), anchor, live_s)
    return World(
        tuple(_populated(each, schedule, client_id) for each in estates),
        feed.all() if estates else (),
        tenant_id,
        client_id,
        start,
    )


def _populated(estate: Estate, schedule: Schedule, client_id: str) -> Environment:
    empty = environment(estate, client_id, schedule.anchor)
    return replace(empty, sessions=Deferred(Runs(estate, schedule).sessions))
