"""The environments that this app reads, as they last described themselves."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timedelta

from shared.dataverse.profile import Profile
from shared.settings import Environment
from shared.state.entities import Entities, Entity, Operation, Write

PARTITION = "environment"
FRESH = timedelta(hours=24)
KEPT_FIELDS = tuple(Profile.__dataclass_fields__)


class EnvironmentTable:
    """One entity for each configured environment, under its host name."""

    def __init__(self, table: Entities) -> None:
        self._table = table

    def fresh(self, environment: Environment, now: datetime) -> Profile | None:
        """What was learnt of an environment within the last day, unless it has refused something since."""
        entity = self._table.get(PARTITION, _row(environment))
        if entity is None or not entity.get("environment_id") or entity.get("access_problem"):
            return None
        profile = _profile(entity, environment)
        return profile if now - profile.checked_utc < FRESH else None

    def save(self, environment: Environment, profile: Profile) -> None:
        properties = {
            **asdict(profile),
            "session_columns": ",".join(profile.session_columns),
            "access_problem": None,
        }
        self._table.write(Operation(Write.UPSERT, PARTITION, _row(environment), properties))

    def note_problem(self, environment: Environment, problem: str, now: datetime) -> None:
        """Remember why an environment can't be read, next to what is known of it."""
        entity = self._table.get(PARTITION, _row(environment))
        known = dict(entity.properties) if entity else {"name": environment.name, "url": environment.url}
        properties = {
            **known,
            "access_problem": problem,
            "problem_since_utc": known.get("problem_since_utc") or now,
        }
        self._table.write(Operation(Write.UPSERT, PARTITION, _row(environment), properties))

    def all(self) -> list[Entity]:
        return list(self._table.partition(PARTITION))


def _row(environment: Environment) -> str:
    return environment.host


def _profile(entity: Entity, environment: Environment) -> Profile:
    values = {name: entity.get(name) for name in KEPT_FIELDS}
    values["session_columns"] = tuple(str(values["session_columns"]).split(","))
    return replace(Profile(**values), name=environment.name)
