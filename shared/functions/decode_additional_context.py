"""The action logs of some runs: fetched, decoded, staged, and noted in the run register."""

from __future__ import annotations

import logging
from contextlib import closing, suppress
from datetime import timedelta
from typing import IO, Any

from shared.app import App
from shared.clock import Deadline
from shared.dataverse.actions import ActionTable
from shared.dataverse.flow_logs import FlowLog, read_flow_log
from shared.dataverse.log_messages import LogRequest, is_due, is_wanted, read_request
from shared.dataverse.log_settings import BOTH, FAILING, GRACE, SETTLE, SURE, V1, V2, LogSettings
from shared.dataverse.sessions import AWAITED, LogStatus, Session
from shared.dataverse.values import ValueRules
from shared.dataverse.web_api import NO_SUCH_ROW, genuine
from shared.errors import (
    AccessError,
    Defer,
    Missing,
    Throttled,
    TooLarge,
    Unreachable,
    Unreadable,
)
from shared.functions.copies import ROWS, copy_name, keep_copy
from shared.functions.intake import stage_sessions
from shared.functions.log_outcomes import Group, LogGaps, is_overtaken, summary_of
from shared.functions.log_reading import table_of, table_of_file
from shared.publishing.staging import Destination, spool
from shared.schema import FACT_FLOW_ACTION
from shared.settings import Environment
from shared.state.names import Container, Queue
from shared.state.register import Registered

log = logging.getLogger("flowtrail")

DEADLINE_S = 240.0
SLOW_DEADLINE_S = 780.0  # functionTimeout in host.json is a little more
RESERVE_S = 40.0
SHORTEST_DELAY_S = 30.0
LONGEST_DELAY_S = 4 * 3600.0
MOST_FAILING = 3  # logs of one message; where more of them fail, it is the environment
MOST_ROWS_HELD = 20_000


def run(app: App, body: str, _dequeue_count: int) -> None:
    """Decode the logs of a message's runs.

    What its first delivery had settled when it stopped is staged once more when it comes again.
    """
    request = read_request(body)
    environment = _environment(app, request)
    if environment is None:
        log.warning(
            "%d action logs of %s are left: it is no longer configured", len(request.session_ids), request.url
        )
        return
    deadline = app.deadline(SLOW_DEADLINE_S if request.slow else DEADLINE_S)
    _Decoding(app, environment, request, deadline).run()


def _environment(app: App, request: LogRequest) -> Environment | None:
    return next((env for env in app.settings.environments if env.url == request.url), None)


class _Decoding:
    """The work of one message: actions are durable before the register knows of them, and that before it ends."""

    def __init__(self, app: App, environment: Environment, request: LogRequest, deadline: Deadline) -> None:
        self.app = app
        self.api = app.web_api(environment)
        self.environment = environment
        self.request = request
        self.deadline = deadline
        known = app.environments.known(environment)
        self.logs = known.logs if known else LogSettings()
        self.logs_utc = known.checked_utc if known else None
        settings = app.settings
        self.rules = ValueRules(settings.action_values, settings.redact_names, settings.max_value_chars)
        self.looked_utc = request.looked_utc or app.clock.now()
        self.gaps = LogGaps(app, environment)
        self.known: dict[str, Registered] = {}
        self.group = Group()
        self.later: list[Session] = []
        self.denied: list[Session] = []
        self.young: list[Session] = []
        self.failing: list[tuple[Session, float]] = []

    def run(self) -> None:
        registered = self._registered()
        waiting = [session for session in registered if is_wanted(session, self.request)]
        stage_sessions(self.app, [session for session in registered if session not in waiting])
        for at, session in enumerate(waiting):
            if self.deadline.remaining_s < RESERVE_S:
                self._put_back(waiting[at:], 0)
                break
            try:
                self._try(session)
            except Defer as wait:
                log.info("The action logs of %s wait %.0f s: %s", self.environment.name, wait.after_s, wait)
                self._put_back(waiting[at:], max(SHORTEST_DELAY_S, wait.after_s))
                break
            if self.group.actions >= MOST_ROWS_HELD:
                self._flush()
        self._flush()
        self._put_back_pending()
        self._put_back_failing()

    def _registered(self) -> list[Session]:
        self.known = self.app.register.get_all(
            self.request.environment_id, self.request.day, self.request.session_ids
        )
        for session_id in set(self.request.session_ids) - self.known.keys():
            log.warning("Run %s is not in the register; the next poll that reads it asks again", session_id)
        return [registered.session for registered in self.known.values() if registered.session.is_finished]

    def _try(self, session: Session) -> None:
        """One log; what goes wrong with it alone keeps no other one waiting.

        Raises:
            Defer: nothing can be had of the environment now.
        """
        try:
            self._one(session)
        except Throttled:
            raise
        except Defer as error:
            if self.deadline.remaining_s < SHORTEST_DELAY_S:
                self._takes_long(session)
            elif isinstance(error, Unreachable) and not self.api.answers(self.deadline):
                raise
            else:
                self._fails(session, error)
        except Exception:
            if len(self.request.session_ids) == 1:
                raise
            log.exception("The action log of run %s failed; it is tried again alone", session.session_id)
            self._put_back([session], SHORTEST_DELAY_S)
        else:
            if session.log_failing_utc and session.session_id not in self.group.outcomes:
                self.group.add(session)

    def _takes_long(self, session: Session) -> None:
        """A log that all the time was not enough for: it gets as much as there can be, alone."""
        if not self.request.slow:
            log.warning("The action log of run %s takes long; it is read again alone", session.session_id)
            self._put_back([session], SHORTEST_DELAY_S, slow=True)
            return
        reason = f"It could not be read within {SLOW_DEADLINE_S:.0f} s."
        self._unusable(session, LogStatus.TOO_LARGE, session.log_version, reason, None)

    def _fails(self, session: Session, error: Defer) -> None:
        """An answer that says nothing about the log: it is asked for again alone, after days no more.

        Raises:
            Defer: others fail as well, so it is not this log.
        """
        now = self.app.clock.now()
        since = session.log_failing_utc or now
        if now - since >= FAILING:
            reason = f"It could not be had for {FAILING.days} days and is not asked for any more: {error}"
            self._unusable(session, LogStatus.UNREADABLE, session.log_version, reason, None)
            return
        if len(self.failing) >= MOST_FAILING:
            raise error
        log.warning("The action log of run %s waits alone: %s", session.session_id, error)
        delay_s = min((now - since).total_seconds(), LONGEST_DELAY_S)
        self.failing.append((session, max(SHORTEST_DELAY_S, delay_s, error.after_s)))
        self.group.add(session, log_failing_utc=since)

    def _one(self, session: Session) -> None:
        """Take the log from the first place that has it.

        A refusal where the settings let a log be written is told at once; elsewhere only where else it would be
        absent, for it may have been written before they were changed.
        """
        refused: AccessError | None = None
        denied: AccessError | None = None
        is_gone = False
        for generation in self._generations(session):
            try:
                if self._found(generation, session):
                    return
            except Missing as error:
                is_gone = error.code.lower() == NO_SUCH_ROW
            except AccessError as error:
                denied = error
                if self.logs.expects(generation, session):
                    refused = error
        if session.log_status == LogStatus.UNREADABLE and self._from_raw(session):
            return
        if denied is not None and is_due(session, self.request):
            self._second_look_denied(session, denied)
        if session.log_status not in AWAITED:
            return  # loaded, and gone since: it stays loaded
        if refused is None:
            self._missing(session, denied, is_gone=is_gone and self._is_gone(session))
        else:
            self._refused(session, refused)

    def _generations(self, session: Session) -> tuple[str, ...]:
        """Where to look; for a log that is kept already only where it came from: another place may hold less."""
        generations = self.logs.generations(session)
        if is_due(session, self.request):
            return tuple(generation for generation in generations if generation == V2)
        if session.log_status != LogStatus.LOADED:
            return generations
        return tuple(generation for generation in generations if generation == session.log_version)

    def _refused(self, session: Session, error: AccessError) -> None:
        """Said at once and asked again for a day, then once a day: a role may only have been lost for a while."""
        log.error("The action log of run %s is refused: %s", session.session_id, error)
        self.group.add(session, log_status=LogStatus.FORBIDDEN)
        self.gaps.of_day(session, "action logs refused", str(error))
        if self._age(session) <= GRACE:
            self.denied.append(session)

    def _second_look_denied(self, session: Session, error: AccessError) -> None:
        """The log stays loaded; rows that came late are looked for as long as they may come."""
        if self._age(session) <= GRACE:
            self.young.append(session)
        else:
            reason = f"Rows that may have come late could not be looked for: {error}"
            self.gaps.of_run(session, "action log partly unreadable", reason)

    def _found(self, generation: str, session: Session) -> bool:
        return self._from_file(session) if generation == V1 else self._from_table(session)

    def _from_file(self, session: Session) -> bool:
        """The first generation: a file at the run's row.

        One that can't be read is fetched once more, for something in between may have answered in its place.
        """
        path = f"flowsessions({session.session_id})/additionalcontext"
        for is_last in (False, True):
            with spool() as file:
                try:
                    file.writelines(self.api.file(path, self.deadline))
                    self._loaded(session, table_of_file(session, self.rules, file), V1)
                    if (
                        self.logs.version == BOTH
                        and self._age(session) < SURE
                        and V2 in self._generations(session)
                    ):
                        self.young.append(session)  # its rows may yet come, and hold more
                except TooLarge as error:
                    self._unusable(session, LogStatus.TOO_LARGE, V1, str(error), None)
                except Unreadable as error:
                    if not is_last:
                        continue
                    self._unusable(session, LogStatus.UNREADABLE, V1, str(error), file)
                return True
        return True

    def _from_raw(self, session: Session) -> bool:
        """A log that could not be read and is gone at its source: whether a copy was kept of it."""
        with spool() as file:
            if self.app.storage.blobs.copy_into(Container.RAW, copy_name(session), file) is None:
                return False
            with suppress(Unreadable):  # it stays what it was
                self._loaded(session, table_of_file(session, self.rules, file), V1)
        return True

    def _from_table(self, session: Session) -> bool:
        """The second generation: rows of `flowlogs`. They come one by one, so a young run's are waited for."""
        if self._age(session) < SETTLE:
            self.later.append(session)
            return True
        try:
            with closing(self._rows(session)) as rows:
                has_more = len(rows) > self._taken(session)
                if has_more:
                    self._note_unreadable(session, rows)  # first, for a loaded log is not looked at again
                    self._loaded(session, table_of(session, self.rules, rows.batches()), V2)
                if rows and self._age(session) < (GRACE if has_more else SURE):
                    self.young.append(session)
                return bool(rows)
        except TooLarge as error:
            self._unusable(session, LogStatus.TOO_LARGE, V2, str(error), None)
        except Unreadable as error:
            self._unusable(session, LogStatus.UNREADABLE, V2, str(error), None)
        return True

    def _rows(self, session: Session) -> FlowLog:
        try:
            return read_flow_log(self.api, session.session_id, self.logs.columns, self.deadline)
        except Missing as error:
            raise genuine(error) from error

    def _taken(self, session: Session) -> int:
        """How many actions of the run's log are kept already, where it is being compared once more."""
        return session.action_count or 0 if is_due(session, self.request) else 0

    def _loaded(self, session: Session, table: ActionTable, version: str) -> None:
        is_shorter = table.summary.action_count < (session.action_count or 0)
        if self.request.again and is_shorter and session.log_status == LogStatus.LOADED:
            log.warning(
                "The action log of run %s has become shorter; what was published stays", session.session_id
            )
            table.close()
            return
        self.group.tables.append(table)
        outcome = summary_of(table.summary)
        self.group.add(session, log_status=LogStatus.LOADED, log_version=version, **outcome)

    def _age(self, session: Session) -> timedelta:
        return self.app.clock.now() - session.modified_utc

    def _is_gone(self, session: Session) -> bool:
        """Whether the run itself is gone, as far as that is told."""
        with suppress(AccessError):
            return self.api.is_gone(f"flowsessions({session.session_id})", "flowsessionid", self.deadline)
        return False

    def _missing(self, session: Session, denied: AccessError | None, *, is_gone: bool) -> None:
        """There is no log: yet, because of the settings, or at all.

        The file of a run arrives about a second after the row; a wait that grows with the run's age gives it a
        day. Where the settings let none be written, a short wait is enough.

        Raises:
            Defer: the row names a file, so there is one.
        """
        age = self._age(session)
        if is_gone:
            reason = "Runs were deleted at the source before their action logs could be read."
            self.gaps.of_day(session, "action logs deleted at the source", reason)
            self.group.add(session, log_status=LogStatus.ABSENT)
        elif session.log_file_id and age > GRACE:
            raise Defer("the run's row names a file, and there is none.", SHORTEST_DELAY_S)
        elif age >= SETTLE and not session.log_file_id and self._lets_none_be_written(session):
            self.group.add(session, log_status=LogStatus.DISABLED)
        elif age <= GRACE:
            self.later.append(session)
        elif denied is not None:
            self._refused(session, denied)
        else:
            if self.logs.expired(session, self.looked_utc - session.modified_utc):
                reason = f"The environment keeps action logs for {self.logs.ttl_minutes} minutes only."
                self.gaps.of_day(session, "action logs expired", reason)
            self.group.add(session, log_status=LogStatus.ABSENT)

    def _lets_none_be_written(self, session: Session) -> bool:
        """Whether the settings let no log be written; those from before the run ended are asked for anew."""
        if self.logs.expects_any(session):
            return False
        if self.logs_utc is None or self.logs_utc < session.modified_utc:
            try:
                profile = self.app.profile(self.environment, self.deadline, newer_than=session.modified_utc)
            except (AccessError, Missing):
                return False
            self.logs, self.logs_utc = profile.logs, profile.checked_utc
        return not self.logs.expects_any(session)

    def _note_unreadable(self, session: Session, rows: FlowLog) -> None:
        if rows.unreadable:
            reason = f"{rows.unreadable} of {len(rows)} rows of the log can't be read; the others are kept."
            with spool() as file:
                file.writelines(rows.unreadable_rows())
                reason += keep_copy(self.app, session, file, ROWS)
            self.gaps.of_run(session, "action log partly unreadable", reason)

    def _unusable(
        self, session: Session, status: LogStatus, version: str | None, reason: str, file: IO[bytes] | None
    ) -> None:
        """Keep the file as it came, say why it can't be used, and note the gap.

        A log that was loaded before and can't be used any more stays loaded.
        """
        if session.log_status == LogStatus.LOADED:
            log.warning("The action log of run %s can't be had again: %s", session.session_id, reason)
            self.group.add(session)
            if self.request.recheck:  # its late rows are not there, whatever they were
                self.gaps.of_run(session, "action log partly unreadable", reason)
            return
        if file is not None:
            reason += keep_copy(self.app, session, file, if_absent=self.request.again)
        self.gaps.of_run(session, f"action log {status.value}", reason)
        self.group.add(session, log_status=status, log_version=version)

    def _flush(self) -> None:
        """Ask for young logs again, stage the actions, note the outcome in the register, then stage the runs.

        A run that is noted as loaded is not looked at when its message comes again, so the second look at its log
        is asked for first.
        """
        self._put_back_young()
        group, self.group = self.group, Group()
        if not group.sessions:
            return
        try:
            self._keep(group)
        except Exception:
            if len(self.request.session_ids) == 1:
                raise
            log.exception("%d action logs can't be kept together; each is tried alone", len(group.sessions))
            for session in group.sessions:
                self._put_back([session], SHORTEST_DELAY_S)

    def _keep(self, group: Group) -> None:
        try:
            if group.tables:
                destination = Destination(FACT_FLOW_ACTION, self.request.day)
                self.app.staging.put(destination, group.rows(), group.holds())
        finally:
            for table in group.tables:
                table.close()
        noting = group.noting(self.app.clock.now)
        kept = self.app.register.update(group.sessions, noting, known=self.known)
        stage_sessions(self.app, kept)
        self._put_back_overtaken(group, kept)

    def _put_back_overtaken(self, group: Group, kept: list[Session]) -> None:
        """Runs that came to a newer state meanwhile: its log may have been staged already, and must come last."""
        asked_for = {session.session_id: session for session in group.sessions}
        overtaken = [
            state for state in kept if state.is_finished and is_overtaken(asked_for[state.session_id], state)
        ]
        if overtaken and group.tables:
            self._put_back(overtaken, SHORTEST_DELAY_S, again=True)

    def _put_back_pending(self) -> None:
        """Ask again later for the logs that are not there yet, and for those that are refused."""
        for sessions, looked_utc in ((self.later, self.looked_utc), (self.denied, self.request.looked_utc)):
            if sessions:
                age = min(map(self._age, sessions))
                delay_s = max(SHORTEST_DELAY_S, age.total_seconds(), (SETTLE - age).total_seconds())
                self._put_back(sessions, min(delay_s, LONGEST_DELAY_S), looked_utc=looked_utc)

    def _put_back_failing(self) -> None:
        for session, delay_s in self.failing:
            self._put_back([session], delay_s)

    def _put_back_young(self) -> None:
        """Look once more, when it is sure that no row of the table is still on its way."""
        young, self.young = self.young, []
        if young:
            age = min(map(self._age, young))
            delay_s = (SURE - age if age < SURE else SURE).total_seconds()
            self._put_back(young, max(SHORTEST_DELAY_S, delay_s), recheck=True)

    def _put_back(self, sessions: list[Session], delay_s: float, **changes: Any) -> None:
        """Give runs back to the queue; what is not changed of the request stays."""
        request = self.request.only((session.session_id for session in sessions), **changes)
        self.app.storage.queues.send(Queue.ADDITIONAL_CONTEXT, request.body(), delay_s)
