"""Once a day, the runs of an environment on both sides: those left open, those missing here, those gone there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import chain, islice, takewhile
from random import sample, shuffle

from shared.app import App
from shared.batches import batches, grouped
from shared.clock import Deadline
from shared.dataverse.cursor import CURSOR, read_cursor
from shared.dataverse.log_settings import FAILING
from shared.dataverse.sessions import AWAITED, Session, amended
from shared.dataverse.web_api import NO_ROW, Query
from shared.errors import AccessError, Defer, FlowtrailError, Skip, Throttled, Unreachable
from shared.functions.intake import Intake, stage_sessions
from shared.functions.poll_flow_sessions import DEFAULT_HISTORY
from shared.schema import FACT_FLOW_SESSION
from shared.setting_values import GUID, Environment
from shared.state.checkpoints import Checkpoint
from shared.state.journal import DELETED_AT_SOURCE, GIVEN_UP, TAKEN_LATE, Gap
from shared.state.names import Queue
from shared.state.register import Stamps
from shared.tally import Tally
from shared.times import iso_utc, parse_day, parse_utc

log = logging.getLogger("flowtrail")

PLACE = "reconcile"
RESERVE_S = 20.0
LONG_WAITING = timedelta(hours=6)
RECENT_DAYS = 7
OLDER_DAYS = 30
ID_PAGE_ROWS = 5000
IDS_PER_QUERY = 25
MOST_CONFIRMED = 20
MOST_ASKED = 500
STAGED_PLACE = "reconcile-staged"
STAGED_AT_ONCE = 1000
WAITING_PLACE = "reconcile-waiting"
MOST_AT_ONCE = 20_000
"""Unsettled runs that one invocation holds in memory and works on."""
ASKED_AT_ONCE = 500
MOST_QUEUED = 1000
"""Messages in the queue of action logs above which no more are sent."""
FORBIDDEN_DAYS = 60
TOLD_DAYS = 7
"""Days on which an end is told, should some of them have no reconcile."""
A_DAY = timedelta(days=1)


def reconcile_runs(app: App, environment: Environment, deadline: Deadline, tally: Tally) -> None:
    """Compare an environment with the register, and mend what differs.

    The last seven days every time; of the days before them thirty each time, from the newest to the oldest and
    round again, so that deletions in old history are noticed within weeks at little cost.
    """
    try:
        _Reconciling(app, environment, deadline, tally).run()
    except AccessError as error:
        app.environments.note_problem(environment, str(error), app.clock.now())
        raise


class _OutOfTimeError(Exception):
    """A step leaves off; it begins again with the next run."""


class _Reconciling:
    def __init__(self, app: App, environment: Environment, deadline: Deadline, tally: Tally) -> None:
        self.app = app
        self.environment = environment
        self.deadline = deadline
        self.tally = tally
        self.profile = app.profile(environment, deadline)
        self.id = self.profile.environment_id
        self.intake = Intake(app, environment, self.id, deadline, tally)
        self.api = app.web_api(environment)
        self.now = self.api.clocks(deadline).now
        place = app.checkpoints.load(CURSOR, self.id).values
        self.cursor = read_cursor(place, app.settings.history_start or self.now - DEFAULT_HISTORY)
        self.forbidden_since = _begin(app.clock.now().date() - A_DAY * FORBIDDEN_DAYS)
        self.problem: FlowtrailError | None = None

    def run(self) -> None:
        """Go through the steps; one that fails for itself ends none of the others, and is told behind them."""
        for step in self._steps():
            if self.deadline.remaining_s < RESERVE_S:
                self.tally.finished = False
                break
            try:
                step()
            except _OutOfTimeError:
                self.tally.finished = False
                break
            except (Throttled, Unreachable):
                raise
            except (Defer, Skip) as error:
                self.problem = self.problem or error
        if self.problem:
            raise self.problem

    def _steps(self) -> Iterator[Callable[[], None]]:
        """The recent days first, then what has been waiting or left behind, then older days."""
        today = self.now.date()
        for back in range(RECENT_DAYS):
            yield partial(self._compare, today - A_DAY * back)
        yield from self._waiting_steps()
        yield self._stage_again
        for day in self._older_days(today - A_DAY * RECENT_DAYS):
            yield partial(self._compare, day)

    def _waiting_steps(self) -> Iterator[Callable[[], None]]:
        """Some runs a step, in an order that changes: what is not reached today has its turn later.

        Of very many runs the next ones have their turn tomorrow, from where these end and round again.
        """
        place = self.app.checkpoints.load(WAITING_PLACE, self.id)
        waiting = list(islice(self._waiting(place), MOST_AT_ONCE))
        self.tally.rows_read += len(waiting)
        last = waiting[-1] if len(waiting) == MOST_AT_ONCE else None
        shuffle(waiting)
        ended = [run for run in waiting if run.is_finished]
        self.tally.waiting = len(ended)
        self.tally.waiting_utc = min((run.modified_utc for run in ended), default=None)
        by_day = grouped(ended, lambda run: run.day).values()  # a message asks for runs of one day
        for some in batches(chain.from_iterable(by_day), ASKED_AT_ONCE):
            yield partial(self._ask_for_logs, some)
        for batch in batches((run for run in waiting if not run.is_finished), IDS_PER_QUERY):
            yield partial(self._ask_for_runs, batch)
        if last or place.values:
            self.app.checkpoints.save(place, _place_of(last) if last else {})
        yield self._tell_given_up

    def _waiting(self, place: Checkpoint) -> Iterator[Session]:
        """Runs that have been open, or whose logs have been awaited, for long: from a place on and round again."""
        unsettled = partial(self.app.register.unsettled, self.id, self.forbidden_since)
        found = unsettled()
        if left_off := _left_off(place):
            again = takewhile(lambda run: (run.day, run.session_id) <= left_off, found)
            found = chain(unsettled(left_off), again)
        now = self.app.clock.now()
        return (
            run
            for run in found
            if max(run.modified_utc, run.ingested_utc) < now - LONG_WAITING and _is_awaited(run, now)
        )

    def _ask_for_logs(self, ended: list[Session]) -> None:
        """Ask for logs once more, unless the queue is full: what is in it comes first."""
        if self.app.storage.queues.room(Queue.ADDITIONAL_CONTEXT, MOST_QUEUED) > 0:
            self.intake.ask_for_logs(ended)
        else:
            self.tally.note = f"the queue {Queue.ADDITIONAL_CONTEXT} is full; not all logs were asked for again"

    def _tell_given_up(self) -> None:
        """Logs that have been refused for so long are not asked for any more: say so, once a day of runs."""
        since = self.forbidden_since - A_DAY * TOLD_DAYS
        for day, number in sorted(self.app.register.forbidden(self.id, since, self.forbidden_since).items()):
            reason = (
                f"{number} action logs have been refused for {FORBIDDEN_DAYS} days and are not asked for any "
                "more. When they no longer are, set LOGS_REPLAY to this day."
            )
            self._note(day, GIVEN_UP, day.isoformat(), reason)

    def _ask_for_runs(self, open_runs: list[Session]) -> None:
        """Read runs again that have been open for long: one that ended and was missed shows now."""
        ids = {run.session_id for run in self._taken(run.session_id for run in open_runs)}
        self._mark_gone([run for run in open_runs if run.session_id not in ids])

    def _taken(self, session_ids: Iterable[str]) -> list[Session]:
        """Read runs by their ids and take them, some at a time."""
        taken: list[Session] = []
        for batch in batches(session_ids, IDS_PER_QUERY):
            self._need_time()
            either = " or ".join(f"flowsessionid eq {session_id}" for session_id in batch)
            query = Query("flowsessions", self.profile.session_columns, either)
            taken.extend(self.intake.take(self.api.rows(query, self.deadline)))
        return taken

    def _older_days(self, newest: date) -> Iterator[date]:
        """Older days, from where the last run left off and round again; the place is kept after each."""
        oldest = self._oldest_day()
        place = self.app.checkpoints.load(PLACE, self.id)
        next_day = parse_day(place.values["next_day"]) if place.values.get("next_day") else newest
        for _ in range(OLDER_DAYS):
            if oldest is None or oldest > newest:
                return
            if not oldest <= next_day <= newest:
                next_day = newest
            yield next_day
            next_day -= A_DAY
            place = self.app.checkpoints.save(place, {"next_day": next_day.isoformat()})
            if next_day < oldest:
                return

    def _oldest_day(self) -> date | None:
        """The oldest day of which either side has runs, and this one keeps them.

        The register alone does not tell: the first load may have been shown nothing of what is older.
        """
        known = [day for day in (self.app.register.first_day(self.id), self._first_day_there()) if day]
        kept = self.app.settings.retention.first_day(FACT_FLOW_SESSION.name, self.app.clock.now().date())
        return max(min(known), kept or date.min) if known else None

    def _first_day_there(self) -> date | None:
        since = f"createdon ge {iso_utc(self.cursor.history)}"
        query = Query("flowsessions", ("createdon",), since, "createdon asc,flowsessionid asc")
        first = next((row for page in self.api.pages(query, self.deadline, page_rows=1) for row in page), NO_ROW)
        created = parse_utc(first.get("createdon"))
        return created.date() if created else None

    def _compare(self, day: date) -> None:
        """Take what is missing or older here, mark what is gone there, and note both.

        This side is read first: a run that a poll takes in between must not look as if it were gone. What changed
        last in days to come is not left to a poll.
        """
        here = self.app.register.stamps(self.id, day)
        there = self._source_ids(day)
        self.tally.rows_read += len(there)
        begin, end = self.cursor.history, self.cursor.read_until
        ahead = self.now + A_DAY
        seen = {run: at for run, at in there.items() if begin <= at < end or at > ahead}
        self._take_late(day, [run for run, modified in seen.items() if _is_newer(modified, here.get(run))])
        self._taken(run for run in there if run in here and here[run].deleted_at_source_utc)
        gone = [run for run, known in here.items() if not known.deleted_at_source_utc and run not in there]
        self._mark_gone(self._registered(day, gone))

    def _source_ids(self, day: date) -> dict[str, datetime]:
        """The runs that the source created on a day, with when each changed last."""
        begin = _begin(day)
        query = Query(
            "flowsessions",
            ("flowsessionid", "modifiedon"),
            f"createdon ge {iso_utc(begin)} and createdon lt {iso_utc(begin + A_DAY)}",
            "createdon asc,flowsessionid asc",
        )
        rows = (row for page in self.api.pages(query, self.deadline, ID_PAGE_ROWS) for row in page)
        ids = ((str(row.get("flowsessionid")).lower(), parse_utc(row.get("modifiedon"))) for row in rows)
        return {session_id: modified or self.now for session_id, modified in ids if GUID.fullmatch(session_id)}

    def _registered(self, day: date, session_ids: Sequence[str]) -> list[Session]:
        found = self.app.register.get_all(self.id, day, session_ids)
        return [registered.session for registered in found.values()]

    def _take_late(self, day: date, session_ids: Sequence[str]) -> None:
        """Say it first: once they are taken, nothing tells any more that they were late.

        The one that names the gap is taken last: what a death leaves is the same gap, and is not told twice.
        """
        if session_ids:
            reason = (
                f"{len(session_ids)} runs were not seen when they changed; those that make sense are taken now."
            )
            self._note(day, TAKEN_LATE, _first(session_ids), reason)
        self._taken(sorted(session_ids, reverse=True))

    def _mark_gone(self, sessions: list[Session]) -> None:
        """Say and mark what the source no longer has; a row that is only kept from us is not gone."""
        gone = sorted(self._confirmed(sessions), key=lambda run: run.session_id, reverse=True)
        for day, runs in sorted(grouped(gone, lambda run: run.day).items()):
            reason = f"{len(runs)} runs are no longer at the source; they are kept here, and marked."
            self._note(day, DELETED_AT_SOURCE, _first([run.session_id for run in runs]), reason)
        now = self.app.clock.now()
        stage_sessions(self.app, self.app.register.update(gone, lambda run, known: _deleted(known or run, now)))

    def _confirmed(self, sessions: list[Session]) -> list[Session]:
        """Those runs of which single requests say that they are gone.

        Of very many, a sample speaks for all where it is of one mind; else some of them have their turn each day.
        """
        if self.profile.access_problems:
            return []
        if len(sessions) > MOST_CONFIRMED:
            found = set(map(self._is_gone, sample(sessions, MOST_CONFIRMED)))
            if len(found) == 1:
                return sessions if found.pop() else []
        some = sample(sessions, min(len(sessions), MOST_ASKED))
        return [
            run for run in takewhile(lambda _: self.deadline.remaining_s > RESERVE_S, some) if self._is_gone(run)
        ]

    def _is_gone(self, session: Session) -> bool:
        """Whether a run is gone; one that is refused is only kept from us, which is told behind all steps."""
        try:
            return self.api.is_gone(f"flowsessions({session.session_id})", "flowsessionid", self.deadline)
        except AccessError as error:
            self.problem = error
            return False

    def _stage_again(self) -> None:
        """What the register took of late, of whatever day: a crash may have come before it was staged.

        That is since a day before this was last begun and got to its end, however long ago: an environment may
        not answer for days, and the schedule come once a week. It goes on from where it left off.
        """
        place, now = self.app.checkpoints.load(STAGED_PLACE, self.id), self.app.clock.now()
        begun: datetime = place.values.get("begun_utc") or now
        until: datetime = place.values.get("until_utc") or begun - A_DAY
        taken = self.app.register.taken_since(self.id, min(until, now) - A_DAY, _left_off(place))
        for batch in batches(taken, STAGED_AT_ONCE):
            self._need_time()
            stage_sessions(self.app, batch)
            here = {"until_utc": until, "begun_utc": begun, **_place_of(batch[-1])}
            place = self.app.checkpoints.save(place, here)
        self.app.checkpoints.save(place, {"until_utc": begun})

    def _need_time(self) -> None:
        if self.deadline.remaining_s < RESERVE_S:
            raise _OutOfTimeError

    def _note(self, day: date, kind: str, subject: str, reason: str) -> None:
        log.warning("%s, %s: %s", self.environment.name, day, reason)
        self.app.journal.lost(
            Gap(
                source=self.environment.name,
                from_utc=_begin(day),
                to_utc=_begin(day) + A_DAY,
                kind=kind,
                subject=subject,
                reason=reason,
                noticed_utc=self.app.clock.now(),
            )
        )


def _place_of(run: Session) -> dict[str, str]:
    return {"day": run.day.isoformat(), "run": run.session_id}


def _left_off(place: Checkpoint) -> tuple[date, str] | None:
    return (parse_day(place.values["day"]), str(place.values["run"])) if place.values.get("day") else None


def _is_awaited(run: Session, now: datetime) -> bool:
    """Whether a run is to be asked for here; a log that fails has a message of its own until it is given up."""
    if not run.is_finished:
        return not run.deleted_at_source_utc
    is_failing = run.log_failing_utc is not None and now - run.log_failing_utc < FAILING + A_DAY
    return run.log_status in AWAITED and not is_failing


def _first(session_ids: Sequence[str]) -> str:
    return f"runs from {min(session_ids)} on"


def _is_newer(modified: datetime, known: Stamps | None) -> bool:
    return known is None or modified > known.modified_utc


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _deleted(session: Session, now: datetime) -> Session:
    return session if session.deleted_at_source_utc else amended(session, now, deleted_at_source_utc=now)
