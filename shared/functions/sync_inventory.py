"""Flows, machines, machine groups, users and the environments themselves, once a day."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from shared.app import App
from shared.batches import grouped
from shared.clock import Deadline
from shared.dataverse.inventory import FLOWS, LISTINGS, MACHINE_GROUPS, MACHINES, Listing, absent, changes
from shared.dataverse.profile import Profile, attributes_of, read_profile
from shared.dataverse.web_api import Query, WebApi
from shared.errors import AccessError, Missing
from shared.functions.sources import each_source
from shared.publishing.dimensions import published_members
from shared.publishing.parquet import rows_of
from shared.publishing.staging import Destination
from shared.schema import DIM_ENVIRONMENT, Table
from shared.settings import Environment
from shared.state.entities import Operation, Write
from shared.state.names import StateTable
from shared.tally import Tally
from shared.times import iso_utc

FUNCTION = "sync_inventory"
DEADLINE_S = 480.0

STATE_TABLES: Mapping[str, tuple[StateTable, str]] = {
    FLOWS.dimension.name: (StateTable.FLOWS, ""),
    MACHINES.dimension.name: (StateTable.MACHINES, ""),
    MACHINE_GROUPS.dimension.name: (StateTable.MACHINES, "_groups"),
}
"""Where a person looks things up by hand: table, and what is added to the environment's id as partition."""


def run(app: App) -> dict[str, int]:
    """Take what every environment has, then see what none of them has any more.

    A solution that is imported into several environments has the same flow ids in each of them.
    """
    tables = (*(one.dimension for one in LISTINGS), DIM_ENVIRONMENT)
    known = {table.name: published_members(app.storage.blobs, table) for table in tables}
    inventory = Inventory(known, _environment_ids(app))
    sources = {env.name: partial(sync_environment, app, env, inventory) for env in app.settings.environments}
    try:
        return each_source(app, FUNCTION, sources, app.deadline(DEADLINE_S))
    finally:
        _mark_absent(app, inventory)


def _environment_ids(app: App) -> frozenset[str]:
    """The ids of the configured environments, as far as they have told them."""
    hosts = {environment.host for environment in app.settings.environments}
    told = (entity.get("environment_id") for entity in app.environments.all() if entity.row in hosts)
    return frozenset(filter(None, told))


class Inventory:
    """What is published of each dimension, and which environments have listed which ids of it in full."""

    def __init__(self, known: Mapping[str, Mapping[str, dict[str, Any]]], environment_ids: frozenset[str]) -> None:
        self.known = known
        self._environment_ids = environment_ids
        self._listed: dict[str, dict[str, frozenset[str]]] = {}
        self._lock = threading.Lock()

    def listed(self, dimension: Table, environment_id: str, ids: Iterable[str]) -> None:
        with self._lock:
            self._listed.setdefault(dimension.name, {})[environment_id] = frozenset(ids)

    def elsewhere(self, dimension: Table, environment_id: str) -> Mapping[str, dict[str, Any]]:
        """The published rows that other environments tell of; one that only facts name, nobody tells of."""
        others = self._environment_ids - {environment_id}
        known = self.known[dimension.name].items()
        return {key: row for key, row in known if row.get("updated_utc") and row.get("environment_id") in others}

    def absent(self, dimension: Table, now: datetime) -> list[dict[str, Any]]:
        return absent(dimension, self._listed.get(dimension.name, {}), self.known[dimension.name], now)


def _mark_absent(app: App, inventory: Inventory) -> None:
    for listing in LISTINGS:
        marked = inventory.absent(listing.dimension, app.clock.now())
        _remember(app, listing.dimension, marked)
        _stage(app, listing.dimension, marked)


def sync_environment(
    app: App, environment: Environment, inventory: Inventory, deadline: Deadline, tally: Tally
) -> None:
    """Take what an environment has; what it refuses keeps nothing else from being taken."""
    api, now = app.web_api(environment), app.clock.now()
    try:
        profile = read_profile(api, environment.name, now, deadline, app.environments.known(environment))
    except AccessError as error:
        app.environments.note_problem(environment, str(error), now)
        _stage_problem(app, environment, inventory, str(error))
        raise
    app.environments.save(environment, profile)
    sync = _Sync(app, environment, api, profile, inventory, deadline, tally)
    sync.environment_itself()
    refusals = [refusal for listing in LISTINGS if (refusal := sync.listing(listing))]
    if refusals:
        raise AccessError(f"{environment.name} refuses a part of its inventory.", "\n".join(map(str, refusals)))


def _stage_problem(app: App, environment: Environment, inventory: Inventory, problem: str) -> None:
    """Show the problem in the report too, if it is known which environment this is."""
    known = app.environments.known(environment)
    if known:
        row = _environment_row(replace(known, access_problems=(problem,)))
        published = inventory.known[DIM_ENVIRONMENT.name]
        _stage(app, DIM_ENVIRONMENT, changes(DIM_ENVIRONMENT, [row], published, app.clock.now()))


@dataclass(frozen=True)
class _Sync:
    app: App
    environment: Environment
    api: WebApi
    profile: Profile
    inventory: Inventory
    deadline: Deadline
    tally: Tally

    def environment_itself(self) -> None:
        row, known = _environment_row(self.profile), self.inventory.known[DIM_ENVIRONMENT.name]
        _stage(self.app, DIM_ENVIRONMENT, changes(DIM_ENVIRONMENT, [row], known, self._now))

    def listing(self, listing: Listing) -> AccessError | None:
        """Take what an environment lists, and return its refusal; a table that it lacks has nothing."""
        try:
            found = self._found(listing)
        except Missing:
            return None
        except AccessError as refusal:
            return refusal
        self.tally.rows_read += len(found)
        dimension = listing.dimension
        changed = self._changed(dimension, found)
        _remember(self.app, dimension, changed)
        _stage(self.app, dimension, changed)
        self.tally.rows_written += len(changed)
        return None

    def _changed(self, dimension: Table, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What is new or different; of what belongs to another environment too, that one's row stays.

        What is listed counts as all there is, unless rows may only be kept from us.
        """
        key = dimension.key[0]
        if not self.profile.access_problems:
            self.inventory.listed(dimension, self.profile.environment_id, (row[key] for row in found))
        others = self.inventory.elsewhere(dimension, self.profile.environment_id)
        own = [row for row in found if row[key] not in others or others[row[key]].get("is_deleted")]
        return changes(dimension, own, self.inventory.known[dimension.name], self._now)

    @property
    def _now(self) -> Any:
        return self.profile.checked_utc

    def _found(self, listing: Listing) -> list[dict[str, Any]]:
        columns = listing.columns(attributes_of(self.api, listing.entity, listing.required, self.deadline))
        query = Query(listing.entity_set, columns, listing.filter, unpublished=listing.unpublished)
        rows = list(self.api.rows(query, self.deadline))
        owners = {str(row["_ownerid_value"]).lower() for row in rows if row.get("_ownerid_value")}
        upns = self.app.user_names(self.environment).of(owners, self.deadline)
        forgotten = self.app.forgotten.load()
        found = [forgotten.values(row) for row in (listing.read(row, upns) for row in rows) if row]
        if "environment_id" in listing.dimension.column_names:
            for row in found:
                row["environment_id"] = self.profile.environment_id
        return _once(listing.dimension.key[0], found)


def _once(key: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each id: a flow with a draft and a published copy is listed twice, and the newer one counts."""
    oldest = datetime.min.replace(tzinfo=UTC)
    ordered = sorted(found, key=lambda row: row.get("modified_utc") or oldest)
    return list({row[key]: row for row in ordered if row[key]}.values())


def _remember(app: App, dimension: Table, changed: list[dict[str, Any]]) -> None:
    if dimension.name not in STATE_TABLES:
        return
    table, suffix = STATE_TABLES[dimension.name]
    for environment_id, rows in grouped(changed, lambda row: str(row["environment_id"])).items():
        partition, key = environment_id + suffix, dimension.key[0]
        operations = [Operation(Write.UPSERT, partition, row[key], row) for row in rows]
        app.storage.table(table).write_all(operations)


def _environment_row(profile: Profile) -> dict[str, Any]:
    return {
        "environment_id": profile.environment_id,
        "name": profile.name,
        "url": profile.url,
        "organization_id": profile.organization_id,
        "log_setting": profile.logs.status,
        "log_version_setting": profile.logs.version,
        "access_problem": "\n".join(profile.access_problems) or None,
        "remarks": "\n".join(profile.remarks) or None,
    }


def _stage(app: App, dimension: Table, changed: list[dict[str, Any]]) -> None:
    if changed:
        key = dimension.key[0]
        holds = (f"{row[key]} {iso_utc(row['updated_utc'])}" for row in changed)
        app.staging.put(Destination(dimension, None), [rows_of(dimension, changed)], holds)
