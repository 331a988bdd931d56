"""What the status page shows beyond the facts of the health endpoint: two weeks, by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice

from shared.app import App
from shared.batches import grouped
from shared.health.facts import Health
from shared.health.look import look
from shared.limits import HealthLimits
from shared.publishing.day_files import current
from shared.schema import FACT_AUDIT_EVENT, FACT_FLOW_ACTION, FACT_FLOW_SESSION
from shared.state.blobs import BlobItem
from shared.state.journal import Gap
from shared.state.names import Container
from shared.state.row_counts import rows_by_environment, rows_in
from shared.times import parse_day

DAYS = 14
A_DAY = timedelta(days=1)
VOLUMES = {"Runs": FACT_FLOW_SESSION, "Actions": FACT_FLOW_ACTION, "Audit events": FACT_AUDIT_EVENT}
MOST_FILES = 5000  # one page of a listing
RUNS, EVENTS = "Runs", "Audit events"


@dataclass(frozen=True)
class View:
    """`volumes` are published rows by day, `runs` those of each environment, in the order of `days`."""

    health: Health
    days: Sequence[date]
    volumes: Mapping[str, Sequence[int]]
    runs: Mapping[str, Sequence[int]]
    gaps: Sequence[Gap]
    limits: HealthLimits


def view(app: App) -> View:
    """The page's numbers; those of days come from the listing of the published files, which carry them."""
    health = look(app)
    today = health.at_utc.date()
    days = [today - A_DAY * back for back in range(DAYS - 1, -1, -1)]
    files = {title: list(_files(app, table.name, days)) for title, table in VOLUMES.items()}
    return View(
        health=health,
        days=days,
        volumes={title: _by_day(found, days) for title, found in files.items()},
        runs=_runs(app, files[RUNS], days),
        gaps=app.journal.noticed_since(health.at_utc - A_DAY * DAYS, health.at_utc),
        limits=app.settings.health,
    )


def _files(app: App, table: str, days: Sequence[date]) -> Iterator[tuple[date, BlobItem]]:
    """The files of these days, from one listing for each month that they are in."""
    for month in sorted({f"{day:%Y-%m}" for day in days}):
        items = app.storage.blobs.list(Container.POWERBI, f"{table}/date={month}", notes=True)
        for day, of_day in grouped(islice(items, MOST_FILES), _day).items():
            if day:
                yield from ((day, item) for item in current(of_day))


def _day(item: BlobItem) -> date | None:
    try:
        return parse_day(item.name.split("/")[1].removeprefix("date="))
    except ValueError:  # somebody put it there who is not this app
        return None


def _by_day(files: Sequence[tuple[date, BlobItem]], days: Sequence[date]) -> list[int]:
    rows: Counter[date] = Counter()
    for day, item in files:
        rows[day] += rows_in(item.notes) or 0
    return [rows[day] for day in days]


def _runs(app: App, files: Sequence[tuple[date, BlobItem]], days: Sequence[date]) -> dict[str, list[int]]:
    """Runs by day of each configured environment that has told its id."""
    rows: Counter[tuple[str, date]] = Counter()
    for day, item in files:
        for environment_id, number in rows_by_environment(item.notes).items():
            rows[environment_id, day] += number
    ids = {entity.row: entity.get("environment_id") for entity in app.environments.all()}
    environments = app.settings.environments
    return {one.name: [rows[str(ids.get(one.host)), day] for day in days] for one in environments}
