"""Rows of `flowsessions` on their way into the app: into the register, onto the staging shelf, into the queue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from shared.app import App
from shared.batches import grouped
from shared.clock import Deadline
from shared.dataverse.log_messages import requests_for
from shared.dataverse.sessions import UNKNOWN, LogStatus, Outcome, Session, Succession, read_session, succeed
from shared.dataverse.web_api import Row
from shared.publishing.parquet import rows_of
from shared.publishing.staging import Destination
from shared.schema import FACT_FLOW_SESSION
from shared.settings import Environment
from shared.state.journal import Gap
from shared.state.names import Queue
from shared.tally import Tally
from shared.times import epoch_ms, happened_utc

log = logging.getLogger("flowtrail")
NO_FAILED_ACTION = {"failed_action_seq": None, "failed_action_name": None}


@dataclass(frozen=True)
class Intake:
    """Takes the rows of one environment.

    The order makes it lossless: register, stage, queue, and only then may the caller remember its place. A crash
    in between repeats; a row state that is registered already is staged and queued again, under the same name.
    `succession` decides between a state that is known and one that is read.
    """

    app: App
    environment: Environment
    environment_id: str
    deadline: Deadline
    tally: Tally
    succession: Succession = succeed

    def take(self, rows: Iterable[Row], is_new: Callable[[Session], bool] = lambda _: False) -> list[Session]:
        """Take rows and return the states of their runs that now hold, but for those that were newer before."""
        sessions = list(self._sessions(list(rows)))
        self._remark(sessions)
        kept = self.app.register.update(sessions, self._succeed, is_new)
        stage_sessions(self.app, kept)
        self.ask_for_logs(session for session in kept if session.log_status == LogStatus.PENDING)
        self.tally.rows_written += len(kept)
        return kept

    def ask_for_logs(self, sessions: Iterable[Session]) -> None:
        for request in requests_for(self.environment.url, sessions):
            self.app.storage.queues.send(Queue.ADDITIONAL_CONTEXT, request.body())

    def _sessions(self, rows: list[Row]) -> Iterator[Session]:
        owners = {str(row["_ownerid_value"]).lower() for row in rows if row.get("_ownerid_value")}
        upns = self.app.user_names(self.environment).of(owners, self.deadline)
        forgotten = self.app.forgotten.load()
        for row in rows:
            try:
                yield forgotten.record(read_session(row, self.environment_id, upns, self.app.clock.now()))
            except ValueError as error:
                self.tally.rows_failed += 1
                self._note(row, str(error))

    def _remark(self, sessions: list[Session]) -> None:
        if unknown := sorted({run.status for run in sessions if run.status.startswith(UNKNOWN)}):
            self.tally.note = (
                f"status {', '.join(unknown)} of runs: this version does not know it; deploy a newer one"
            )
            log.warning("%s: %s", self.environment.name, self.tally.note)

    def _note(self, row: Row, reason: str) -> None:
        now = self.app.clock.now()
        at = happened_utc(row.get("modifiedon")) or now
        subject = str(row.get("flowsessionid"))
        self.app.journal.lost(
            Gap(
                source=self.environment.name,
                from_utc=at,
                to_utc=at,
                kind="run not taken",
                subject=subject,
                reason=reason,
                noticed_utc=now,
            )
        )

    def _succeed(self, newer: Session, known: Session | None) -> Session | None:
        return self.succession(known, newer, self.app.clock.now())


def stage_sessions(app: App, sessions: Iterable[Session]) -> None:
    """Stage the states of runs, one file for each day."""
    for day, group in grouped(sessions, lambda session: session.day).items():
        rows = [_row(session) for session in group]
        holds = (f"{session.session_id} {epoch_ms(session.ingested_utc)}" for session in group)
        app.staging.put(Destination(FACT_FLOW_SESSION, day), [rows_of(FACT_FLOW_SESSION, rows)], holds)


def _row(session: Session) -> dict[str, Any]:
    """The row of a run; whatever failed in its log, only a failed run has an action that made it fail."""
    row = {name: getattr(session, name) for name in FACT_FLOW_SESSION.column_names}
    return row if session.outcome == Outcome.FAILED else {**row, **NO_FAILED_ACTION}
