"""Plans of runs: what one run was, when, and how it ended, each made up from its number alone.

Plans are tuples, not dataclasses: worlds hold very many runs, and each is planned again when it is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cached_property
from random import Random
from typing import NamedTuple, TypeAlias

from local.tenant.generation.estate import LOG_DISABLED, LOG_ON_FAILURE, LOG_V1, LOG_V2, Estate
from local.tenant.generation.working_hours import Calendar, is_office_hour

RUNNING, WAITING, SUCCEEDED, SKIPPED = 2, 3, 4, 5
CANCELLED, FAILED, TIMED_OUT, ABORTED = 7, 8, 10, 11
LOCAL, ATTENDED, UNATTENDED = 0, 1, 2

# A status and the epoch second from which it holds.
Stage: TypeAlias = tuple[int, float]

_FEWEST_LIVE_RUNS, _MOST_LIVE_RUNS = 6, 60
_SHORTEST_LOG, _LONGEST_LOG = 3, 400
_CHILD_EVERY, _CHILD_AT = 12, 5
_ODD_LOG_EVERY, _ODD_LOG_AT = 100, 18
_HANDLED_FROM_ACTIONS = 10
_BIG_LOG_ENVIRONMENTS = 2

# Shares of all runs, or of those that can be so.
_LOCAL_BY_DAY, _ATTENDED_BY_DAY, _LOCAL_BY_NIGHT = 0.35, 0.15, 0.04
_OUTCOMES = ((SUCCEEDED, 0.85), (FAILED, 0.94), (CANCELLED, 0.97), (SKIPPED, 0.99), (ABORTED, 0.995))
_NEVER_STARTED, _STUCK, _HANDLED, _TEST = 0.35, 0.004, 0.06, 0.05
_LATE_COMMIT, _DELETED, _TOUCHED_BY_FILE, _NO_FILE, _LATE_FILE = 0.01, 0.005, 0.8, 0.015, 0.12


class LogShape(Enum):
    """How a log file is written; all but the first are rare accidents."""

    PLAIN = "plain"
    EMPTY = "empty"
    CUT = "cut"
    TEXT = "text"
    BASE64 = "base64"
    MARKED = "byte order mark"

    @property
    def readable(self) -> bool:
        return self in {LogShape.PLAIN, LogShape.BASE64, LogShape.MARKED}


_ODD_SHAPES = (LogShape.EMPTY, LogShape.CUT, LogShape.TEXT, LogShape.BASE64, LogShape.MARKED)


class Live(Enum):
    """What a run does while the clock goes from the anchor through the live seconds."""

    FINISHES = 0
    BORN_LOCAL = 1
    DEQUEUED = 2
    BORN_CLOUD = 3
    FAILS = 4
    GOES_ON = 5


class Draw(NamedTuple):
    """Who and what a run is; flow, person and machine are places in the estate's lists."""

    number: int
    session_id: str
    flow: int
    person: int
    machine: int
    mode: int
    is_test: bool
    log_length: int
    late_commit_s: float
    shape: LogShape = LogShape.PLAIN
    parent: str = ""

    @property
    def from_cloud(self) -> bool:
        return self.mode != LOCAL


class Course(NamedTuple):
    """How a run went, in epoch seconds; it has no start when it never came to run."""

    stages: tuple[Stage, ...]
    started_s: float | None = None
    ended_s: float | None = None

    @property
    def status(self) -> int:
        """The last status that it reaches."""
        return self.stages[-1][0]


class Run(NamedTuple):
    """One run with its log: 0 actions when none is written, no `file_s` when no file arrives.

    `failed_actions` counts the action that ended the run and those whose failure was handled.
    """

    draw: Draw
    course: Course
    actions: int = 0
    failed_actions: int = 0
    file_s: float | None = None
    file_touches_row: bool = False
    deleted_s: float | None = None

    @property
    def failed_in_flow(self) -> bool:
        """Whether an action of the flow failed it, as opposed to the machinery around."""
        return self.course.status == FAILED and self.actions > 0


@dataclass(frozen=True)
class Schedule:
    """How many runs one environment has and over which time they spread."""

    runs: int
    start: datetime
    anchor: datetime
    live_s: float

    @cached_property
    def anchor_s(self) -> float:
        return self.anchor.timestamp()

    @cached_property
    def calendar(self) -> Calendar:
        return Calendar(self.start, self.anchor)

    @cached_property
    def live_runs(self) -> int:
        """How many of the last runs change during the live seconds."""
        if self.live_s <= 0 or self.runs < 2 * _FEWEST_LIVE_RUNS:
            return 0
        return min(max(_FEWEST_LIVE_RUNS, self.runs // 20), _MOST_LIVE_RUNS)


def plan(estate: Estate, schedule: Schedule, number: int) -> Run:
    """The run `number` of an environment."""
    rng = Random((estate.seed * 1009 + estate.number) * 10_000_019 + number)
    live = number - (schedule.runs - schedule.live_runs)
    if live >= 0:
        return _live(estate, schedule, rng, number, live)
    if number % _CHILD_EVERY == _CHILD_AT:
        parent = plan(estate, schedule, number - 1)
        if parent.course.started_s is not None and parent.course.ended_s is not None:
            return _child(estate, rng, number, parent)
    return _past(estate, schedule, rng, number)


def _past(estate: Estate, schedule: Schedule, rng: Random, number: int) -> Run:
    begun_s = schedule.calendar.moment_s((number + rng.random()) / schedule.runs)
    draw = _drawn(estate, rng, number, _mode(rng, is_office_hour(begun_s)))
    if number % _ODD_LOG_EVERY == _ODD_LOG_AT:
        shape = _ODD_SHAPES[(number // _ODD_LOG_EVERY + 2 * estate.number) % len(_ODD_SHAPES)]
        odd = _drawn(estate, rng, number, LOCAL)._replace(shape=shape)
        return _logged(estate, rng, odd, _course(rng, odd, begun_s, SUCCEEDED))
    if estate.number < _BIG_LOG_ENVIRONMENTS and number == schedule.runs // 3:
        big = draw._replace(log_length=3000 + int(rng.random() * 2000))
        return _logged(estate, rng, big, _course(rng, big, begun_s, SUCCEEDED))
    if rng.random() < _STUCK and draw.from_cloud:
        return Run(draw, Course(((WAITING, begun_s), (RUNNING, begun_s + 9)), begun_s + 9))
    return _logged(estate, rng, draw, _course(rng, draw, begun_s, _outcome(rng, draw.mode)))


def _mode(rng: Random, office_hour: bool) -> int:
    draw = rng.random()
    if draw < (_LOCAL_BY_DAY if office_hour else _LOCAL_BY_NIGHT):
        return LOCAL
    return ATTENDED if office_hour and draw < _LOCAL_BY_DAY + _ATTENDED_BY_DAY else UNATTENDED


def _drawn(estate: Estate, rng: Random, number: int, mode: int) -> Draw:
    """A run of this mode; unattended ones belong to robot accounts, the last flow is an unused draft."""
    persons = len(estate.persons)
    first, people = (persons, len(estate.robots)) if mode == UNATTENDED else (0, persons)
    return Draw(
        number,
        _guid(rng),
        int(rng.random() * rng.random() * (len(estate.flows) - 1)),
        first + int(rng.random() * people),
        int(rng.random() * len(estate.machines)),
        mode,
        mode == LOCAL and rng.random() < _TEST,
        max(_SHORTEST_LOG, min(_LONGEST_LOG, int(_spread(rng, 36, 0.9)))),
        2 + 6 * rng.random() if rng.random() < _LATE_COMMIT else 0.0,
    )


def _spread(rng: Random, median: float, sigma: float) -> float:
    """Roughly log-normal around a median; the sum of three even draws stands for a normal one."""
    return median * math.exp(sigma * 2 * (rng.random() + rng.random() + rng.random() - 1.5))


def _outcome(rng: Random, mode: int) -> int:
    draw = rng.random()
    status = next((status for status, below in _OUTCOMES if draw < below), TIMED_OUT)
    return CANCELLED if status == SKIPPED and mode == LOCAL else status


def _course(rng: Random, draw: Draw, begun_s: float, status: int) -> Course:
    """Queued or begun at a moment, and gone through to this end."""
    if status == SKIPPED:
        ended_s = begun_s + 5 + 20 * rng.random()
        return Course(((WAITING, begun_s), (SKIPPED, ended_s)), None, ended_s)
    queued_s = 0.0 if draw.mode == LOCAL else rng.expovariate(1 / (6 if draw.mode == ATTENDED else 40))
    started_s = begun_s + queued_s
    if status == FAILED and draw.from_cloud and rng.random() < _NEVER_STARTED:
        return Course(((WAITING, begun_s), (FAILED, started_s + 3)), None, started_s + 3)
    length_s = max(2.0, min(4 * 3600.0, draw.log_length * _spread(rng, 1.6, 0.6)))
    return _ended(draw, begun_s, started_s, started_s + length_s, status)


def _ended(draw: Draw, begun_s: float, started_s: float, ended_s: float, status: int) -> Course:
    """A local run's row is created after the run has ended, any other's when it is queued."""
    if draw.mode == LOCAL:
        return Course(((status, ended_s + 1.5),), started_s, ended_s)
    return Course(((WAITING, begun_s), (RUNNING, started_s), (status, ended_s + 0.4)), started_s, ended_s)


def _logged(estate: Estate, rng: Random, draw: Draw, course: Course) -> Run:
    """The run with its log, whose file comes a second or some later, or never; a few are deleted in the end."""
    if course.started_s is None or not _has_log(estate, draw, course.status):
        return Run(draw, course)
    ended_s = course.stages[-1][1]
    handled = draw.log_length >= _HANDLED_FROM_ACTIONS and rng.random() < _HANDLED
    delay_s = 1.0 if draw.shape is not LogShape.PLAIN else _file_delay_s(rng)
    in_file = delay_s is not None and _has_file(estate, draw)
    return Run(
        draw,
        course,
        draw.log_length,
        int(course.status == FAILED) + int(handled),
        ended_s + delay_s if in_file and delay_s is not None else None,
        rng.random() < _TOUCHED_BY_FILE,
        ended_s + 3600 + rng.random() * 72 * 3600 if rng.random() < _DELETED else None,
    )


def _file_delay_s(rng: Random) -> float | None:
    draw = rng.random()
    if draw < _NO_FILE:
        return None
    return 1 + 19 * rng.random() if draw < _LATE_FILE else 0.6 + 1.2 * rng.random()


def _has_log(estate: Estate, draw: Draw, status: int) -> bool:
    """Whether actions are logged at all; the environment's settings concern cloud-launched runs only."""
    if not draw.from_cloud:
        return True
    if estate.profile.log_status == LOG_ON_FAILURE:
        return status == FAILED
    return estate.profile.log_status != LOG_DISABLED


def _has_file(estate: Estate, draw: Draw) -> bool:
    return not draw.from_cloud or estate.profile.log_version != LOG_V2


def has_flowlogs(estate: Estate, run: Run) -> bool:
    return run.actions > 0 and run.draw.from_cloud and estate.profile.log_version != LOG_V1


def _child(estate: Estate, rng: Random, number: int, parent: Run) -> Run:
    """A desktop flow called by another one, inside the caller's time."""
    caller, begun_s, over_s = parent.draw, parent.course.started_s or 0.0, parent.course.ended_s or 0.0
    started_s, ended_s = begun_s + 0.2 * (over_s - begun_s), begun_s + 0.7 * (over_s - begun_s)
    drawn = _drawn(estate, rng, number, caller.mode)
    draw = drawn._replace(
        flow=(caller.flow + 1) % (len(estate.flows) - 1),
        person=caller.person,
        machine=caller.machine,
        parent=caller.session_id,
        log_length=min(drawn.log_length, caller.log_length),
    )
    return _logged(estate, rng, draw, _ended(draw, started_s, started_s, ended_s, SUCCEEDED))


def _live(estate: Estate, schedule: Schedule, rng: Random, number: int, live: int) -> Run:
    """One of the last runs, doing something while somebody watches."""
    role = _role(estate, live)
    mode = LOCAL if role is Live.BORN_LOCAL else (ATTENDED, UNATTENDED)[number % 2]
    draw = _drawn(estate, rng, number, mode)._replace(late_commit_s=0.0, is_test=False)
    at_s = schedule.anchor_s + schedule.live_s * (0.1 + 0.5 * (live + rng.random()) / schedule.live_runs)
    before_s = schedule.anchor_s - 30 - 300 * rng.random()
    if role is Live.GOES_ON:
        return Run(draw, Course(((WAITING, before_s - 8), (RUNNING, before_s)), before_s))
    course = _live_course(draw, role, before_s, at_s, schedule.live_s)
    run = _logged(estate, rng, draw, course)
    prompt_s = None if run.file_s is None else course.stages[-1][1] + 1
    return run._replace(deleted_s=None, file_s=prompt_s)


def _role(estate: Estate, live: int) -> Live:
    """In turn; but nobody who watches should wait the minutes until a log in the table has settled."""
    roles = tuple(Live) if estate.profile.log_version == LOG_V1 else (Live.BORN_LOCAL, Live.GOES_ON)
    return roles[live % len(roles)]


def _live_course(draw: Draw, role: Live, before_s: float, at_s: float, live_s: float) -> Course:
    """The times that a role wants; `before_s` lies before the anchor, `at_s` within the live seconds."""
    soon_s = at_s + 0.25 * live_s
    match role:
        case Live.DEQUEUED:
            return _ended(draw, before_s, at_s, soon_s, SUCCEEDED)
        case Live.BORN_CLOUD:
            return _ended(draw, at_s, at_s + 0.05 * live_s, soon_s, SUCCEEDED)
        case _:
            status = FAILED if role is Live.FAILS else SUCCEEDED
            return _ended(draw, before_s - 8, before_s, at_s, status)


def _guid(rng: Random) -> str:
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def whole_second(epoch_s: float) -> int:
    """Dataverse keeps times to the second."""
    return math.floor(epoch_s)
