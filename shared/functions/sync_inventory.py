"""Flows, machines, machine groups, users and the environments themselves, once a day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from shared.app import App
from shared.clock import Deadline
from shared.dataverse.inventory import FLOWS, LISTINGS, MACHINE_GROUPS, MACHINES, Listing, changes
from shared.dataverse.profile import Profile, attributes_of, read_profile
from shared.dataverse.web_api import Query, WebApi
from shared.errors import AccessError, Missing
from shared.functions.sources import Tally, each_source
from shared.publishing.parquet import read_rows, rows_of
from shared.publishing.staging import Destination, spool
from shared.schema import DIM_ENVIRONMENT, Table
from shared.settings import Environment
from shared.state.entities import Operation, Write
from shared.state.names import Container, StateTable
from shared.times import iso_utc

FUNCTION = "sync_inventory"
DEADLINE_S = 480.0

STATE_TABLES: Mapping[str, tuple[StateTable, str]] = {
    FLOWS.dimension.name: (StateTable.FLOWS, ""),
    MACHINES.dimension.name: (StateTable.MACHINES, ""),
    MACHINE_GROUPS.dimension.name: (StateTable.MACHINES, "_groups"),
}
"""Where a person looks things up by hand: table, and what is added to the environment's id as partition."""

Known = Mapping[str, Mapping[str, dict[str, Any]]]


def run(app: App) -> None:
    deadline = app.deadline(DEADLINE_S)
    known = {
        table.name: _published(app, table) for table in (*(one.dimension for one in LISTINGS), DIM_ENVIRONMENT)
    }
    sources = {env.name: partial(sync_environment, app, env, known, deadline) for env in app.settings.environments}
    each_source(app, FUNCTION, sources)


def sync_environment(app: App, environment: Environment, known: Known, deadline: Deadline, tally: Tally) -> None:
    api, now = app.web_api(environment), app.clock.now()
    try:
        profile = read_profile(api, environment.name, now, deadline)
    except AccessError as error:
        app.environments.note_problem(environment, str(error), now)
        raise
    app.environments.save(environment, profile)
    sync = _Sync(app, environment, api, profile, known, deadline, tally)
    sync.environment_itself()
    for listing in LISTINGS:
        sync.listing(listing)


@dataclass(frozen=True)
class _Sync:
    app: App
    environment: Environment
    api: WebApi
    profile: Profile
    known: Known
    deadline: Deadline
    tally: Tally

    def environment_itself(self) -> None:
        profile = self.profile
        row = {
            "environment_id": profile.environment_id,
            "name": profile.name,
            "url": profile.url,
            "organization_id": profile.organization_id,
            "log_setting": profile.log_setting,
            "log_version_setting": profile.log_version_setting,
        }
        self._stage(
            DIM_ENVIRONMENT, changes(DIM_ENVIRONMENT, [row], self.known[DIM_ENVIRONMENT.name], "", self._now)
        )

    def listing(self, listing: Listing) -> None:
        """Take what an environment lists; a table that it lacks has nothing."""
        try:
            found = self._found(listing)
        except Missing:
            return
        self.tally.rows_read += len(found)
        dimension = listing.dimension
        changed = changes(dimension, found, self.known[dimension.name], self.profile.environment_id, self._now)
        self._remember(dimension, changed)
        self._stage(dimension, changed)
        self.tally.rows_written += len(changed)

    @property
    def _now(self) -> Any:
        return self.profile.checked_utc

    def _found(self, listing: Listing) -> list[dict[str, Any]]:
        columns = listing.columns(attributes_of(self.api, listing.entity, self.deadline))
        rows = list(self.api.rows(Query(listing.entity_set, columns, listing.filter), self.deadline))
        owners = {str(row["_ownerid_value"]).lower() for row in rows if row.get("_ownerid_value")}
        upns = self.app.user_names(self.environment).of(owners, self.deadline)
        key = listing.dimension.key[0]
        found = {row[key]: row for row in (listing.read(row, upns) for row in rows) if row[key]}
        if "environment_id" in listing.dimension.column_names:
            for row in found.values():
                row["environment_id"] = self.profile.environment_id
        return list(found.values())

    def _remember(self, dimension: Table, changed: Iterable[dict[str, Any]]) -> None:
        if dimension.name not in STATE_TABLES:
            return
        table, suffix = STATE_TABLES[dimension.name]
        partition, key = self.profile.environment_id + suffix, dimension.key[0]
        operations = [Operation(Write.UPSERT, partition, row[key], row) for row in changed]
        self.app.storage.table(table).write_all(operations)

    def _stage(self, dimension: Table, changed: list[dict[str, Any]]) -> None:
        if changed:
            key = dimension.key[0]
            holds = (f"{row[key]} {iso_utc(row['updated_utc'])}" for row in changed)
            self.app.staging.put(Destination(dimension, None), [rows_of(dimension, changed)], holds)


def _published(app: App, dimension: Table) -> dict[str, dict[str, Any]]:
    """The rows of a dimension as published, by id."""
    with spool() as file:
        name = f"{dimension.name}/{dimension.name}.parquet"
        if app.storage.blobs.copy_into(Container.POWERBI, name, file) is None:
            return {}
        file.seek(0)
        return {row[dimension.key[0]]: row for row in read_rows(dimension, file).to_pylist()}
