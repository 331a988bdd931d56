"""Days of runs, or of their action logs, read once more, as the settings `RUNS_REPLAY` and `LOGS_REPLAY` order it.

Whatever can no longer be had from the source stays as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import islice

from shared.app import App
from shared.batches import batches
from shared.clock import Deadline
from shared.dataverse.log_messages import RUNS_PER_MESSAGE, requests_for
from shared.dataverse.sessions import LogStatus, Session, read_again
from shared.dataverse.web_api import Query
from shared.functions.intake import Intake
from shared.functions.sources import Work
from shared.settings import Environment, Replay
from shared.state.checkpoints import Checkpoint
from shared.state.names import Queue
from shared.tally import Tally
from shared.times import iso_utc, parse_day, parse_utc

log = logging.getLogger("flowtrail")

RUNS_PLACE = "replay-runs"
LOGS_PLACE = "replay-logs"
RESERVE_S = 15.0
MOST_WAITING = 200
"""Messages in the queue of action logs above which no more are sent: logs of new runs must not wait long."""
BY = ("createdon", "modifiedon")


def replays(app: App) -> dict[str, Work]:
    """What is not done yet of the orders, one source for each environment."""
    settings = app.settings
    works: dict[str, Work] = {}
    if settings.runs_replay:
        for env in _undone(app, RUNS_PLACE, settings.runs_replay):
            works[f"replay of {env.name}"] = partial(replay_runs, app, env, settings.runs_replay)
    if settings.logs_replay:
        for env in _undone(app, LOGS_PLACE, settings.logs_replay):
            works[f"replay of logs of {env.name}"] = partial(replay_logs, app, env, settings.logs_replay)
    return works


def _undone(app: App, kind: str, order: Replay) -> list[Environment]:
    places = app.checkpoints.all(kind)
    done = {host for host, place in places.items() if place.values.get("done") == order.order}
    return [env for env in app.settings.environments if env.host not in done]


def replay_runs(app: App, environment: Environment, order: Replay, deadline: Deadline, tally: Tally) -> None:
    """Read the runs once more that were created, or changed last, on the ordered days."""
    _RunsReplay(app, environment, order, deadline, tally).run()


def replay_logs(app: App, environment: Environment, order: Replay, deadline: Deadline, tally: Tally) -> None:
    """Ask for the action logs of the runs once more that were created on the ordered days."""
    _LogsReplay(app, environment, order, deadline, tally).run()


class _Place:
    """How far an order has been carried out for one environment; another order begins anew."""

    def __init__(self, app: App, kind: str, environment: Environment, order: Replay, tally: Tally) -> None:
        self.app = app
        self.order = order
        self.tally = tally
        self.checkpoint: Checkpoint = app.checkpoints.load(kind, environment.host)
        known = self.checkpoint.values
        self.begun = dict(known) if known.get("order") == order.order else {}

    def rest(self, steps: Sequence[str]) -> list[str]:
        """The steps that are not done yet; their names are in order."""
        return [step for step in steps if step >= str(self.begun.get("step") or "")]

    def left_at(self, step: str) -> str:
        """Where the last invocation left off within a step; empty: at its beginning."""
        return str(self.begun.get("after") or "") if self.begun.get("step") == step else ""

    def save(self, step: str, after: str) -> None:
        self._save({"order": self.order.order, "step": step, "after": after})

    def pause(self, step: str) -> None:
        self.tally.finished = False
        self.tally.note = f"{step} of {self.order.order} is under way"

    def finish(self, setting: str) -> None:
        self._save({"order": self.order.order, "done": self.order.order})
        self.tally.note = f"{self.order.order} is done; {setting} can be emptied when all environments are"
        log.warning("The replay %s %s of %s is done", setting, self.order.order, self.checkpoint.source)

    def _save(self, values: dict[str, str]) -> None:
        self.checkpoint = self.app.checkpoints.save(self.checkpoint, values)


class _RunsReplay:
    def __init__(
        self, app: App, environment: Environment, order: Replay, deadline: Deadline, tally: Tally
    ) -> None:
        self.deadline = deadline
        self.tally = tally
        self.profile = app.profile(environment, deadline)
        self.intake = Intake(app, environment, self.profile.environment_id, deadline, tally, read_again)
        self.api = app.web_api(environment)
        self.place = _Place(app, RUNS_PLACE, environment, order, tally)

    def run(self) -> None:
        """Go on step by step: a day by one of its times. Each invocation gets a page further at least."""
        steps = [f"{day} {column}" for day in self.place.order.days() for column in BY]
        for at, step in enumerate(self.place.rest(steps)):
            if at and self.deadline.remaining_s < RESERVE_S:
                self.place.save(step, "")
                self.place.pause(step)
                return
            if not self._step(step):
                self.place.pause(step)
                return
        self.place.finish("RUNS_REPLAY")

    def _step(self, step: str) -> bool:
        """Read a day, page after page, and remember the last time of each; false: there is no time for all.

        It goes on at least to another time than the one at which it begins.
        """
        day, _, column = step.partition(" ")
        begin = reached = self.place.left_at(step)
        query = self._query(parse_day(day), column, parse_utc(begin))
        for page in self.api.pages(query, self.deadline):
            if reached != begin and self.deadline.remaining_s < RESERVE_S:
                return False
            self.tally.rows_read += len(page)
            self.intake.take(page)
            if page:
                reached = str(page[-1].get(column))
                self.place.save(step, reached)
        return True

    def _query(self, day: date, column: str, since: datetime | None) -> Query:
        begin = datetime.combine(day, time(), UTC)
        end = begin + timedelta(days=1)
        return Query(
            "flowsessions",
            self.profile.session_columns,
            f"{column} ge {iso_utc(max(begin, since or begin))} and {column} lt {iso_utc(end)}",
            f"{column} asc,flowsessionid asc",
        )


class _LogsReplay:
    def __init__(
        self, app: App, environment: Environment, order: Replay, deadline: Deadline, tally: Tally
    ) -> None:
        self.app = app
        self.environment = environment
        self.deadline = deadline
        self.tally = tally
        self.id = app.profile(environment, deadline).environment_id
        self.place = _Place(app, LOGS_PLACE, environment, order, tally)
        self.room = app.storage.queues.room(Queue.ADDITIONAL_CONTEXT, MOST_WAITING)

    def run(self) -> None:
        for day in self.place.rest([day.isoformat() for day in self.place.order.days()]):
            if not self._day(day):
                self.place.pause(day)
                return
        self.place.finish("LOGS_REPLAY")

    def _day(self, day: str) -> bool:
        """Send the messages of a day, then remember the place; False: not all of them may be sent now."""
        runs = batches(self._ended(day), RUNS_PER_MESSAGE)
        for at, batch in enumerate(islice(runs, max(0, self.room))):
            if at and self.deadline.remaining_s < RESERVE_S:
                return False
            for request in requests_for(self.environment.url, batch, again=True):
                self.app.storage.queues.send(Queue.ADDITIONAL_CONTEXT, request.body())
            self.room -= 1
            self.tally.rows_read += len(batch)
            self.place.save(day, batch[-1].session_id)
        return next(runs, None) is None

    def _ended(self, day: str) -> Iterator[Session]:
        """The runs of a day with a log that is no longer awaited, from where the last invocation left off."""
        after = self.place.left_at(day)
        for registered in self.app.register.day(self.id, parse_day(day)):
            run = registered.session
            if run.session_id > after and run.log_status not in (None, LogStatus.PENDING):
                yield run
