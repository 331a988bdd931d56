"""The action logs of some runs: fetched, decoded, staged, and noted in the run register."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import IO, Any

import pyarrow as pa

from shared.app import App
from shared.clock import Deadline
from shared.dataverse.action_log import read_actions, sanitized
from shared.dataverse.actions import ActionTable, LogSummary
from shared.dataverse.log_messages import LogRequest, read_request
from shared.dataverse.sessions import LogStatus, Outcome, Session, with_log
from shared.dataverse.values import ValueRules
from shared.errors import AccessError, Defer, Missing, TooLarge, Unreadable
from shared.functions.poll_flow_sessions import stage_sessions
from shared.publishing.staging import Destination, spool
from shared.schema import FACT_FLOW_ACTION
from shared.settings import Environment
from shared.state.journal import Gap
from shared.state.names import Container, Queue

log = logging.getLogger("flowtrail")

DEADLINE_S = 240.0
RESERVE_S = 40.0
GRACE = timedelta(hours=24)
SHORTEST_DELAY_S = 30.0
LONGEST_DELAY_S = 4 * 3600.0
WINDOW_BYTES = 1024 * 1024
AWAITED = frozenset({LogStatus.PENDING, LogStatus.FORBIDDEN})
MOST_ROWS_HELD = 20_000


def run(app: App, body: str, dequeue_count: int) -> None:
    """Decode the logs of a message's runs.

    A message that comes again is worked through again in full, whatever the register says: it may have come
    back because its first delivery stopped halfway.
    """
    request = read_request(body)
    environment = _environment(app, request)
    if environment is None:
        log.warning(
            "%d action logs of %s are left: it is no longer configured", len(request.session_ids), request.url
        )
        return
    _Decoding(app, environment, request, app.deadline(DEADLINE_S)).run(again=dequeue_count > 1)


def _environment(app: App, request: LogRequest) -> Environment | None:
    return next((env for env in app.settings.environments if env.url == request.url), None)


@dataclass
class _Group:
    """Logs that are staged together, and what the register is to know of each run."""

    tables: list[ActionTable] = field(default_factory=list[ActionTable])
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"])
    sessions: list[Session] = field(default_factory=list[Session])

    @property
    def rows(self) -> int:
        return sum(table.summary.action_count for table in self.tables)

    def add(self, session: Session, **outcome: Any) -> None:
        self.sessions.append(session)
        self.outcomes[session.session_id] = outcome


class _Decoding:
    """The work of one message: actions are durable before the register knows of them, and that before it ends."""

    def __init__(self, app: App, environment: Environment, request: LogRequest, deadline: Deadline) -> None:
        self.app = app
        self.api = app.web_api(environment)
        self.environment = environment
        self.request = request
        self.deadline = deadline
        settings = app.settings
        self.rules = ValueRules(settings.action_values, settings.redact_names, settings.max_value_chars)
        self.group = _Group()
        self.later: list[Session] = []

    def run(self, *, again: bool) -> None:
        waiting = [session for session in self._registered() if again or session.log_status in AWAITED]
        for at, session in enumerate(waiting):
            if self.deadline.remaining_s < RESERVE_S:
                self._put_back(waiting[at:], 0)
                break
            try:
                self._one(session)
            except Defer as wait:
                log.info("The action logs of %s wait %.0f s: %s", self.environment.name, wait.after_s, wait)
                self._put_back(waiting[at:], wait.after_s)
                break
            except Exception:
                if len(waiting) == 1:
                    raise
                log.exception("The action log of run %s failed; it is tried again alone", session.session_id)
                self._put_back([session], SHORTEST_DELAY_S)
            if self.group.rows >= MOST_ROWS_HELD:
                self._flush()
        self._flush()
        self._put_back_pending()

    def _registered(self) -> list[Session]:
        found = self.app.register.get_all(self.request.environment_id, self.request.day, self.request.session_ids)
        for session_id in set(self.request.session_ids) - found.keys():
            log.warning("Run %s is not in the register; the next poll that reads it asks again", session_id)
        return [registered.session for registered in found.values() if registered.session.is_finished]

    def _one(self, session: Session) -> None:
        with spool() as file:
            try:
                for chunk in self.api.file(f"flowsessions({session.session_id})/additionalcontext", self.deadline):
                    file.write(chunk)
                self._decode(session, file)
            except Missing:
                self._missing(session)
            except TooLarge as error:
                self._unusable(session, LogStatus.TOO_LARGE, str(error), None)
            except Unreadable as error:
                self._unusable(session, LogStatus.UNREADABLE, str(error), file)
            except AccessError as error:
                log.error("The action log of run %s is refused: %s", session.session_id, error)  # noqa: TRY400
                self.group.add(session, log_status=LogStatus.FORBIDDEN)

    def _decode(self, session: Session, file: IO[bytes]) -> None:
        try:
            table = self._table(session, _windows(file))
        except Unreadable:
            table = self._table(session, sanitized(_windows(file)))
        self.group.tables.append(table)
        self.group.add(session, log_status=LogStatus.LOADED, log_version="v1", **_summary(session, table.summary))

    def _table(self, session: Session, windows: Iterator[bytes]) -> ActionTable:
        table = ActionTable(session, self.rules)
        try:
            table.extend(read_actions(windows))
        except BaseException:
            table.close()
            raise
        return table

    def _missing(self, session: Session) -> None:
        """No file yet: wait a while that grows with the run's age, and after a day take it that none comes."""
        if self.app.clock.now() - session.modified_utc > GRACE:
            self.group.add(session, log_status=LogStatus.ABSENT)
        else:
            self.later.append(session)

    def _unusable(self, session: Session, status: LogStatus, reason: str, file: IO[bytes] | None) -> None:
        """Keep the file as it came, say why it can't be used, and note the gap."""
        if file is not None:
            file.seek(0)
            name = f"unreadable/{session.environment_id}/date={session.day.isoformat()}/{session.session_id}.bin"
            self.app.storage.blobs.put(Container.RAW, name, file)
        self.app.journal.lost(
            Gap(
                source=self.environment.name,
                from_utc=session.created_utc,
                to_utc=session.completed_utc or session.modified_utc,
                kind=f"action log {status.value}",
                subject=session.session_id,
                reason=reason,
                noticed_utc=self.app.clock.now(),
            )
        )
        self.group.add(session, log_status=status)

    def _flush(self) -> None:
        """Stage the actions, then note the outcome in the register, then stage the runs as they are now."""
        group, self.group = self.group, _Group()
        if not group.sessions:
            return
        try:
            if group.tables:
                holds = [f"{session.session_id} {session.log_file_id}" for session in group.sessions]
                self.app.staging.put(Destination(FACT_FLOW_ACTION, self.request.day), _rows(group.tables), holds)
        finally:
            for table in group.tables:
                table.close()
        kept = self.app.register.update(group.sessions, _noting(group, self.app.clock.now))
        stage_sessions(self.app, kept)

    def _put_back_pending(self) -> None:
        """Ask again later for the files that are not there yet."""
        if self.later:
            now = self.app.clock.now()
            age_s = min((now - session.modified_utc).total_seconds() for session in self.later)
            self._put_back(self.later, min(max(age_s, SHORTEST_DELAY_S), LONGEST_DELAY_S))

    def _put_back(self, sessions: list[Session], delay_s: float) -> None:
        request = self.request.only(session.session_id for session in sessions)
        self.app.storage.queues.send(Queue.ADDITIONAL_CONTEXT, request.body(), delay_s)


def _noting(group: _Group, now: Callable[[], Any]) -> Callable[[Session, Session | None], Session | None]:
    """The change that notes each run's outcome on the newest state that the register has of it."""

    def change(session: Session, known: Session | None) -> Session | None:
        return with_log(known or session, now(), **group.outcomes[session.session_id])

    return change


def _rows(tables: list[ActionTable]) -> Iterator[pa.Table]:
    for table in tables:
        yield from table.rows()


def _windows(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while window := file.read(WINDOW_BYTES):
        yield window


def _summary(session: Session, log_summary: LogSummary) -> dict[str, Any]:
    failed = session.outcome == Outcome.FAILED
    return {
        "action_count": log_summary.action_count,
        "failed_action_count": log_summary.failed_action_count,
        "failed_action_seq": log_summary.last_failed_seq if failed else None,
        "failed_action_name": log_summary.last_failed_name if failed else None,
    }
