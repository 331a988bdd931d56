"""The run register: one entity a run, holding its current state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from functools import partial
from types import MappingProxyType
from typing import Any

from shared.batches import batches, grouped
from shared.dataverse.sessions import FIELDS, UNFINISHED, LogStatus, Session
from shared.errors import Conflict
from shared.state.entities import MOST_IN_BATCH, Entities, Entity, Operation, Write
from shared.threads import InvocationThreads
from shared.times import parse_day

READERS = 8
MOST_CONFLICTS = 20
IN_ENVIRONMENT = "PartitionKey ge @first and PartitionKey lt @behind"
FORBIDDEN = f"log_status eq '{LogStatus.FORBIDDEN.value}'"
UNSETTLED = " or ".join(
    [
        f"log_status eq '{LogStatus.PENDING.value}'",
        f"({FORBIDDEN} and ingested_utc ge @since )",
        *(f"outcome eq '{outcome.value}'" for outcome in sorted(UNFINISHED)),
    ]
)
FURTHER = "(PartitionKey gt @first or RowKey gt @run )"  # the SDK finds parameters between spaces


@dataclass(frozen=True)
class Registered:
    """A run as the register has it, and the ETag that guards a change."""

    session: Session
    etag: str


@dataclass(frozen=True)
class Stamps:
    """When a run changed at the source, and was found to be gone."""

    modified_utc: datetime
    deleted_at_source_utc: datetime | None


NONE_KNOWN: Mapping[str, Registered] = MappingProxyType({})

Change = Callable[[Session, Session | None], Session | None]
"""From a run and what is known of it to the state to keep; `None` keeps what is known."""


class Register:
    """Runs of one environment and day share a partition, so that a batch of them is one transaction."""

    def __init__(self, table: Entities) -> None:
        self._table = table

    def get(self, environment_id: str, day: date, session_id: str) -> Registered | None:
        entity = self._table.get(partition_of(environment_id, day), session_id)
        return _registered(entity) if entity else None

    def get_all(self, environment_id: str, day: date, session_ids: Iterable[str]) -> dict[str, Registered]:
        """The registered ones among some runs of one day, by id."""
        with InvocationThreads(READERS) as pool:
            found = pool.map(partial(self.get, environment_id, day), session_ids)
            return {registered.session.session_id: registered for registered in found if registered}

    def day(self, environment_id: str, day: date) -> Iterator[Registered]:
        return map(_registered, self._table.partition(partition_of(environment_id, day)))

    def unsettled(
        self, environment_id: str, forbidden_since: datetime, behind: tuple[date, str] | None = None
    ) -> Iterator[Session]:
        """The runs of an environment that are open, or whose log is awaited, in the order of their days and ids.

        Of the forbidden logs those that were refused since then; of all of them only what comes behind one run.
        """
        bounds = {**_bounds_of(environment_id, behind), "since": forbidden_since}
        for entity in self._table.query(f"{IN_ENVIRONMENT} and {FURTHER} and ({UNSETTLED})", bounds):
            yield _registered(entity).session

    def forbidden(self, environment_id: str, since: datetime, before: datetime) -> Counter[date]:
        """The number of runs whose logs were refused in a span of time and still are, by the runs' day."""
        bounds = {**_range_of(environment_id), "since": since, "before": before}
        where = f"{IN_ENVIRONMENT} and {FORBIDDEN} and ingested_utc ge @since and ingested_utc lt @before"
        found = self._table.query(where, bounds, ())
        return Counter(parse_day(entity.partition.removeprefix(f"{environment_id}_")) for entity in found)

    def taken_since(
        self, environment_id: str, since: datetime, behind: tuple[date, str] | None = None
    ) -> Iterator[Session]:
        """The runs of an environment whose states were taken since then, in the order of their days and ids.

        Of all of them only what comes behind one run.
        """
        bounds = {**_bounds_of(environment_id, behind), "since": since}
        for entity in self._table.query(f"{IN_ENVIRONMENT} and {FURTHER} and ingested_utc ge @since", bounds):
            yield _registered(entity).session

    def stamps(self, environment_id: str, day: date) -> dict[str, Stamps]:
        """All registered runs of a day by id, with the times that tell what may have to be done about each."""
        names = tuple(field.name for field in fields(Stamps))
        found = self._table.partition(partition_of(environment_id, day), names)
        return {entity.row: Stamps(**{name: entity.get(name) for name in names}) for entity in found}

    def first_day(self, environment_id: str) -> date | None:
        """The oldest day of which there are runs."""
        first = next(self._table.query(IN_ENVIRONMENT, _range_of(environment_id), (), 1), None)
        return parse_day(first.partition.removeprefix(f"{environment_id}_")) if first else None

    def update(
        self,
        sessions: Sequence[Session],
        change: Change,
        is_new: Callable[[Session], bool] = lambda _: False,
        known: Mapping[str, Registered] = NONE_KNOWN,
    ) -> list[Session]:
        """Store what `change` makes of each run and return the states that now hold, but for refused ones.

        Each state is written only over the one that `change` saw; where another run of the app was quicker,
        `change` is asked again. Runs that `is_new` guesses to be unknown are written without being looked up,
        which spares a first load a read for each; a wrong guess costs one write. Likewise runs that the caller
        has just read: `known` are their states by id.

        Raises:
            Conflict: others were quicker again and again.
        """
        kept: list[Session] = []
        for (environment_id, day, new), group in grouped(
            sessions, lambda run: (*_place(run), is_new(run))
        ).items():
            for batch in batches(group, MOST_IN_BATCH):
                guess = NONE_KNOWN if new else _all_of(batch, known)
                kept.extend(self._update(environment_id, day, batch, change, guess))
        return kept

    def _update(
        self,
        environment_id: str,
        day: date,
        sessions: list[Session],
        change: Change,
        guess: Mapping[str, Registered] | None,
    ) -> list[Session]:
        for _ in range(MOST_CONFLICTS):
            known = guess
            if known is None:
                known = self.get_all(environment_id, day, (session.session_id for session in sessions))
            kept, operations = _changes(sessions, known, change)
            try:
                self._table.write_all(operations)
            except Conflict:
                guess = None
                continue
            return kept
        raise Conflict(f"The register's day {day} of {environment_id} changes faster than it can be written.")


def _all_of(sessions: list[Session], known: Mapping[str, Registered]) -> Mapping[str, Registered] | None:
    """The known states, if they are those of all these runs."""
    return known if all(session.session_id in known for session in sessions) else None


def _changes(
    sessions: list[Session], known: Mapping[str, Registered], change: Change
) -> tuple[list[Session], list[Operation]]:
    kept: list[Session] = []
    operations: list[Operation] = []
    for session in {session.session_id: session for session in sessions}.values():
        before = known.get(session.session_id)
        after = change(session, before.session if before else None)
        if after is not None:
            kept.append(after)
        if after is not None and (before is None or after != before.session):
            operations.append(_operation(after, before))
    return kept, operations


def _operation(session: Session, before: Registered | None) -> Operation:
    return Operation(
        Write.REPLACE if before else Write.CREATE,
        partition_of(session.environment_id, session.day),
        session.session_id,
        {name: getattr(session, name) for name in FIELDS},
        before.etag if before else "",
    )


def _place(session: Session) -> tuple[str, date]:
    return session.environment_id, session.day


def partition_of(environment_id: str, day: date) -> str:
    return f"{environment_id}_{day.isoformat()}"


def _range_of(environment_id: str) -> dict[str, str]:
    """The bounds of an environment's partitions; a grave accent comes right behind an underscore."""
    return {"first": f"{environment_id}_", "behind": f"{environment_id}`"}


def _bounds_of(environment_id: str, behind: tuple[date, str] | None) -> dict[str, Any]:
    """The same, or what of it comes behind one run."""
    bounds = {**_range_of(environment_id), "run": ""}
    if behind is not None:
        bounds |= {"first": partition_of(environment_id, behind[0]), "run": behind[1]}
    return bounds


def _registered(entity: Entity) -> Registered:
    values: dict[str, Any] = {name: entity.get(name) for name in FIELDS}
    values["start_date"] = parse_day(values["start_date"])
    return Registered(Session(**values), entity.etag)
