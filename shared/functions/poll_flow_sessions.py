"""New and changed runs of every environment, page after page, up to where Dataverse has settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import NoReturn

from shared.app import App
from shared.clock import Deadline
from shared.dataverse.access import RUNS
from shared.dataverse.cursor import CURSOR, OVERLAP, SETTLE, Cursor, Seen, digest, read_cursor
from shared.dataverse.profile import Profile
from shared.dataverse.web_api import Query, Row
from shared.errors import AccessError, Gone, Missing
from shared.functions.intake import Intake
from shared.functions.replays import replays
from shared.functions.sources import each_source
from shared.settings import Environment
from shared.state.journal import REFUSED_FOR_A_WHILE, REFUSES, Gap
from shared.tally import Tally
from shared.times import iso_utc, parse_utc

FUNCTION = "poll_flow_sessions"
DEADLINE_S = 240.0
RESERVE_S = 15.0
DEFAULT_HISTORY = timedelta(days=90)
NO_TABLE = (
    "The environment has no table of desktop-flow runs. It comes with Power Automate: open Power Automate once in "
    "this environment, or take the environment out of ENVIRONMENTS."
)
NOTHING_THERE = (
    "If the environment was deleted, take it out of ENVIRONMENTS: what was copied stays. If it has another "
    "address now, correct it there."
)
READ_SINCE = "What was kept from the app in this time has been read since, as far as it is still there."


def run(app: App) -> dict[str, int]:
    deadline = app.deadline(DEADLINE_S)
    sources = {env.name: partial(poll_environment, app, env) for env in app.settings.environments}
    return each_source(app, FUNCTION, {**sources, **replays(app)}, deadline)


def poll_environment(app: App, environment: Environment, deadline: Deadline, tally: Tally) -> None:
    """Read what changed in one environment, page after page, and remember the place after each."""
    try:
        _begun(app, environment, deadline, tally).run()
    except Missing as error:
        _refused(app, environment, AccessError(str(error), NO_TABLE))
    except AccessError as error:
        _refused(app, environment, error)


def _begun(app: App, environment: Environment, deadline: Deadline, tally: Tally) -> _Poll:
    """A reading that has got its first answers: an environment that has none of them is not there."""
    try:
        return _Poll(app, environment, app.profile(environment, deadline), deadline, tally)
    except Missing as error:
        raise Gone(str(error), NOTHING_THERE) from error


def _refused(app: App, environment: Environment, error: AccessError) -> NoReturn:
    app.environments.note_problem(environment, str(error), app.clock.now())
    _note_refusal(app, environment, app.environments.refuses(environment, app.clock.now()), REFUSES, str(error))
    raise error


def _note_refusal(app: App, environment: Environment, since: datetime, kind: str, reason: str) -> None:
    now = app.clock.now()
    app.journal.lasts(
        Gap(
            source=environment.name,
            from_utc=since,
            to_utc=now,
            kind=kind,
            subject="runs",
            reason=reason,
            noticed_utc=now,
        )
    )


class _Poll:
    """One reading of one environment."""

    def __init__(
        self, app: App, environment: Environment, profile: Profile, deadline: Deadline, tally: Tally
    ) -> None:
        self.app = app
        self.environment = environment
        self.profile = profile
        self.deadline = deadline
        self.tally = tally
        self.intake = Intake(app, environment, profile.environment_id, deadline, tally)
        self.api = app.web_api(environment)
        self.clocks = self.api.clocks(deadline)
        self.now = self.clocks.now
        tally.clock_ahead_s = self.clocks.ahead_s
        self.checkpoint = app.checkpoints.load(CURSOR, profile.environment_id)
        cursor = read_cursor(self.checkpoint.values, app.settings.history_start or self.now - DEFAULT_HISTORY)
        self.cursor = cursor.as_shown(profile.shows_all_runs)
        self.seen = Seen(self.cursor.recent)

    def run(self) -> None:
        """Read what is past by either clock; remembered is only what is past by both."""
        behind = self.cursor.until or self.clocks.latest - SETTLE
        until = self.cursor.until or self.clocks.earliest - SETTLE
        if behind <= self.cursor.start:
            return
        self.tally.window_from_utc, self.tally.window_to_utc = self.cursor.start, behind
        for page in self.api.pages(self._query(behind), self.deadline):
            self._take(page)
            gets_further = self._save_place(page, until)
            if gets_further and self.deadline.remaining_s < RESERVE_S:
                self.tally.finished = False
                return
        self._finish(until)
        self._note_refusal()

    def _note_refusal(self) -> None:
        """Say that some runs are kept from us; or that all have been read, of which some were."""
        problem = "\n".join(self.profile.access_problems)
        if RUNS.privilege in problem:
            since = self.app.environments.refuses(self.environment, self.app.clock.now())
            _note_refusal(self.app, self.environment, since, REFUSES, problem)
        elif self.profile.refused_utc and self.profile.shows_all_runs:
            _note_refusal(self.app, self.environment, self.profile.refused_utc, REFUSED_FOR_A_WHILE, READ_SINCE)
            self.app.environments.lets_in(self.environment)

    def _query(self, behind: datetime) -> Query:
        return Query(
            "flowsessions",
            self.profile.session_columns,
            f"modifiedon ge {iso_utc(self.cursor.start)} and modifiedon lt {iso_utc(behind)}",
            "modifiedon asc,flowsessionid asc",
        )

    def _take(self, page: Sequence[Row]) -> None:
        self.tally.rows_read += len(page)
        states = {_state(row): row for row in page}
        new = [row for state, row in states.items() if state not in self.seen]
        start = self.cursor.start
        self.intake.take(new, lambda session: session.created_utc >= start)
        for state, row in states.items():
            self.seen.add(state, parse_utc(row.get("modifiedon")) or self.now)

    def _save_place(self, page: Sequence[Row], until: datetime) -> bool:
        """Remember the time of the last row; false: the next reading would begin where this one did."""
        position = parse_utc(page[-1].get("modifiedon")) if page else None
        if position is None or position >= until:  # not what was asked for: from there, nothing would be read on
            return False
        recent = self.seen.since(min(position, until - OVERLAP))
        self._save(replace(self.cursor, position=position, until=until, recent=recent))
        return position > self.cursor.start

    def _finish(self, until: datetime) -> None:
        watermark = max(until, self.cursor.watermark)
        resumed = self.cursor.position is not None
        recent = self.seen.since(watermark - OVERLAP) if resumed else self.seen.met_since(watermark - OVERLAP)
        self._save(replace(self.cursor, watermark=watermark, position=None, until=None, recent=recent))

    def _save(self, cursor: Cursor) -> None:
        self.checkpoint = self.app.checkpoints.save(self.checkpoint, cursor.values())


def _state(row: Row) -> bytes:
    return digest(row.get("flowsessionid"), row.get("versionnumber"), row.get("modifiedon"))
