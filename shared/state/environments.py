"""The environments that this app reads, as they last described themselves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from shared.dataverse.log_settings import LogSettings
from shared.dataverse.profile import FRESH, Profile
from shared.errors import Conflict
from shared.settings import Environment
from shared.state.entities import Entities, Entity, Operation, Properties, Write

PARTITION = "environment"
NOT_DESCRIBED = timedelta(hours=1)
IDENTITY = ("environment_id", "organization_id", "name", "url")
LOG_PREFIX = "log_"
MOST_CONFLICTS = 20


class EnvironmentTable:
    """One entity for each configured environment, under its host name."""

    def __init__(self, table: Entities) -> None:
        self._table = table

    def known(self, environment: Environment) -> Profile | None:
        """What was last learnt of an environment, however long ago."""
        entity = self._table.get(PARTITION, _row(environment))
        return _profile(entity, environment) if entity and entity.get("environment_id") else None

    def fresh(self, environment: Environment, now: datetime) -> Profile | None:
        """What was learnt of an environment within the last day, unless something was wrong with it.

        What was not described whole holds for an hour.
        """
        entity = self._table.get(PARTITION, _row(environment))
        if entity is None or not entity.get("environment_id") or entity.get("access_problem"):
            return None
        profile = _profile(entity, environment)
        return profile if now - profile.checked_utc < (FRESH if profile.described else NOT_DESCRIBED) else None

    def save(self, environment: Environment, profile: Profile) -> None:
        """Remember a profile; a problem that goes on keeps the time since when it is there."""
        problem = "\n".join(profile.access_problems) or None
        self._change(
            environment, lambda known: {**_properties(profile), **_problem(known, problem, profile.checked_utc)}
        )

    def note_problem(self, environment: Environment, problem: str, now: datetime) -> None:
        """Remember why an environment can't be read, next to what is known of it."""
        unknown = {"name": environment.name, "url": environment.url}
        self._change(environment, lambda known: {**(known or unknown), **_problem(known, problem, now)})

    def refuses(self, environment: Environment, now: datetime) -> datetime:
        """Remember that an environment keeps runs from us; return since when it does."""
        noted = self._change(environment, lambda known: {**known, "refused_utc": known.get("refused_utc") or now})
        return noted["refused_utc"]

    def lets_in(self, environment: Environment) -> None:
        """Remember that everything an environment kept from us has been read."""
        self._change(environment, lambda known: {**known, "refused_utc": None})

    def _change(self, environment: Environment, change: Callable[[Properties], Properties]) -> Properties:
        """Write what `change` makes of what is there, and return it; where somebody else was quicker, of that.

        Raises:
            Conflict: others were quicker again and again.
        """
        for _ in range(MOST_CONFLICTS):
            entity = self._table.get(PARTITION, _row(environment))
            changed = change(entity.properties if entity else {})
            if entity and changed == entity.properties:
                return changed
            write, etag = (Write.REPLACE, entity.etag) if entity else (Write.CREATE, "")
            with suppress(Conflict):
                self._table.write(Operation(write, PARTITION, _row(environment), changed, etag))
                return changed
        raise Conflict(f"What is known of {environment.name} changes faster than it can be written.")

    def all(self) -> list[Entity]:
        return list(self._table.partition(PARTITION))


def _row(environment: Environment) -> str:
    return environment.host


def _problem(known: Properties, problem: str | None, now: datetime) -> Properties:
    since = (known.get("problem_since_utc") or now) if problem else None
    return {"access_problem": problem, "problem_since_utc": since, "refused_utc": known.get("refused_utc")}


def _properties(profile: Profile) -> dict[str, Any]:
    logs = {LOG_PREFIX + name: value for name, value in asdict(profile.logs).items()}
    return {
        **{name: getattr(profile, name) for name in IDENTITY},
        **logs,
        "log_columns": ",".join(profile.logs.columns),
        "session_columns": ",".join(profile.session_columns),
        "checked_utc": profile.checked_utc,
        "described": profile.described,
        "remarks": "\n".join(profile.remarks) or None,
    }


def _profile(entity: Entity, environment: Environment) -> Profile:
    logs = {name: entity.get(LOG_PREFIX + name) for name in LogSettings.__dataclass_fields__}
    logs |= {"columns": _items(entity, "log_columns"), "custom_url": bool(logs["custom_url"])}
    return Profile(
        environment_id=entity.get("environment_id"),
        organization_id=entity.get("organization_id"),
        name=environment.name,
        url=entity.get("url"),
        session_columns=_items(entity, "session_columns"),
        logs=LogSettings(**logs),
        checked_utc=entity.get("checked_utc"),
        access_problems=tuple(str(entity.get("access_problem") or "").splitlines()),
        remarks=tuple(str(entity.get("remarks") or "").splitlines()),
        described=entity.get("described") is not False,
        refused_utc=entity.get("refused_utc"),
    )


def _items(entity: Entity, name: str) -> tuple[str, ...]:
    return tuple(filter(None, str(entity.get(name) or "").split(",")))
