"""New and changed runs of every environment, into the run register, onto the staging shelf and into the queue."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial

from shared.app import App
from shared.batches import grouped
from shared.clock import Deadline
from shared.dataverse.cursor import OVERLAP, SETTLE, Cursor, Seen, digest, read_cursor
from shared.dataverse.log_messages import requests_for
from shared.dataverse.profile import Profile
from shared.dataverse.sessions import LogStatus, Outcome, Session, read_session, succeed
from shared.dataverse.web_api import Query, Row
from shared.errors import AccessError
from shared.functions.sources import Tally, each_source
from shared.publishing.parquet import rows_of
from shared.publishing.staging import Destination
from shared.schema import FACT_FLOW_SESSION
from shared.settings import Environment
from shared.state.names import Queue
from shared.times import epoch_ms, iso_utc, parse_utc

log = logging.getLogger("flowtrail")

FUNCTION = "poll_flow_sessions"
DEADLINE_S = 240.0
RESERVE_S = 30.0
CURSOR = "flowsessions"
DEFAULT_HISTORY = timedelta(days=90)


def run(app: App) -> None:
    deadline = app.deadline(DEADLINE_S)
    sources = {env.name: partial(poll_environment, app, env, deadline) for env in app.settings.environments}
    each_source(app, FUNCTION, sources)


def poll_environment(app: App, environment: Environment, deadline: Deadline, tally: Tally) -> None:
    """Read what changed in one environment, page after page, and remember the place after each."""
    try:
        poll = _Poll(app, environment, app.profile(environment, deadline), deadline, tally)
        poll.run()
    except AccessError as error:
        app.environments.note_problem(environment, str(error), app.clock.now())
        raise


class _Poll:
    """One reading of one environment.

    The order makes it lossless: register, stage, queue, and only then remember the place. A crash in between
    repeats a page; a row state that is registered already is staged and queued again, under the same name.
    """

    def __init__(
        self, app: App, environment: Environment, profile: Profile, deadline: Deadline, tally: Tally
    ) -> None:
        self.app = app
        self.environment = environment
        self.profile = profile
        self.deadline = deadline
        self.tally = tally
        self.api = app.web_api(environment)
        self.now = self.api.server_time(deadline)
        self.checkpoint = app.checkpoints.load(CURSOR, profile.environment_id)
        self.cursor = read_cursor(self.checkpoint.values, app.settings.history_start or self.now - DEFAULT_HISTORY)
        self.seen = Seen(self.cursor.recent)

    def run(self) -> None:
        until = self.cursor.until or self.now - SETTLE
        if until <= self.cursor.start:
            return
        self.tally.window_from_utc, self.tally.window_to_utc = self.cursor.start, until
        for page in self.api.pages(self._query(until), self.deadline):
            self._take(page)
            self._save_place(page, until)
            if self.deadline.remaining_s < RESERVE_S:
                self.tally.finished = False
                return
        self._finish(until)

    def _query(self, until: datetime) -> Query:
        return Query(
            "flowsessions",
            self.profile.session_columns,
            f"modifiedon ge {iso_utc(self.cursor.start)} and modifiedon lt {iso_utc(until)}",
            "modifiedon asc,flowsessionid asc",
        )

    def _take(self, page: Sequence[Row]) -> None:
        self.tally.rows_read += len(page)
        states = {digest(str(row.get("flowsessionid")).lower(), row.get("versionnumber")): row for row in page}
        new = {state: row for state, row in states.items() if state not in self.seen}
        sessions = list(self._sessions(new.values()))
        start = self.cursor.start
        kept = self.app.register.update(sessions, self._succeed, lambda session: session.created_utc >= start)
        self._stage(kept)
        self._queue(session for session in kept if session.log_status == LogStatus.PENDING)
        self.tally.rows_written += len(kept)
        for state, row in states.items():
            self.seen.add(state, parse_utc(row.get("modifiedon")) or self.now)

    def _sessions(self, rows: Iterable[Row]) -> Iterable[Session]:
        owners = {str(row["_ownerid_value"]).lower() for row in rows if row.get("_ownerid_value")}
        upns = self.app.user_names(self.environment).of(owners, self.deadline)
        for row in rows:
            try:
                yield read_session(row, self.profile.environment_id, upns, self.app.clock.now())
            except ValueError as error:
                self.tally.rows_failed += 1
                log.error("A run of %s can't be taken: %s", self.environment.name, error)  # noqa: TRY400

    def _succeed(self, newer: Session, known: Session | None) -> Session | None:
        return succeed(known, newer, self.app.clock.now(), log_expected(newer, self.profile.log_setting))

    def _stage(self, sessions: Iterable[Session]) -> None:
        stage_sessions(self.app, sessions)

    def _queue(self, sessions: Iterable[Session]) -> None:
        for request in requests_for(self.environment.url, sessions):
            self.app.storage.queues.send(Queue.ADDITIONAL_CONTEXT, request.body())

    def _save_place(self, page: Sequence[Row], until: datetime) -> None:
        position = parse_utc(page[-1].get("modifiedon")) if page else None
        if position is None:
            return
        recent = self.seen.since(min(position, until - OVERLAP))
        self._save(Cursor(self.cursor.watermark, position, until, recent))

    def _finish(self, until: datetime) -> None:
        resumed = self.cursor.position is not None
        recent = self.seen.since(until - OVERLAP) if resumed else self.seen.met_since(until - OVERLAP)
        self._save(Cursor(until, recent=recent))

    def _save(self, cursor: Cursor) -> None:
        self.checkpoint = self.app.checkpoints.save(self.checkpoint, cursor.values())


def log_expected(session: Session, log_setting: str | None) -> LogStatus:
    """What a finished run's action log starts as: awaited, unless the environment's setting rules it out.

    The setting governs runs that a cloud flow starts. Source: Power Automate docs, "Configure desktop flow logs".
    """
    failed = session.outcome == Outcome.FAILED
    unwanted = log_setting == "Disabled" or (log_setting == "OnFailure" and not failed)
    if unwanted and not session.log_file_id and session.run_mode != "Local":
        return LogStatus.DISABLED
    return LogStatus.PENDING


def stage_sessions(app: App, sessions: Iterable[Session]) -> None:
    """Stage the states of runs, one file for each day."""
    for day, group in grouped(sessions, lambda session: session.day).items():
        rows = [{name: getattr(session, name) for name in FACT_FLOW_SESSION.column_names} for session in group]
        holds = (f"{session.session_id} {epoch_ms(session.ingested_utc)}" for session in group)
        app.staging.put(Destination(FACT_FLOW_SESSION, day), [rows_of(FACT_FLOW_SESSION, rows)], holds)
