"""Sessions made from the plans of runs; rows and logs are rendered only when somebody reads them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from local.tenant.generation import action_log, rows
from local.tenant.generation.estate import Estate
from local.tenant.generation.runs import Run, Schedule, has_flowlogs, plan, whole_second
from local.tenant.world import LogFile, LogSummary, Row, Session, SessionState

_VERSION_EPOCH_S = 1_500_000_000
_VERSIONS_PER_SECOND = 10_000_000
_VERSIONS_PER_RUN = 8
_COMMIT_S = 0.03
# Files under a key that the customer manages cannot be read in ranges.
_WHOLE_ONLY_EVERY, _WHOLE_ONLY_AT = 10, 3


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of one environment, each known by its number."""

    estate: Estate
    schedule: Schedule

    def run(self, number: int) -> Run:
        return plan(self.estate, self.schedule, number)

    def sessions(self) -> tuple[Session, ...]:
        return tuple(_session(self, self.run(number)) for number in range(self.schedule.runs))


# What a session renders later starts from its number alone. These are not frozen because worlds hold very
# many, and freezing them doubles the time to make one.


@dataclass(slots=True)
class _StageRow:
    """The row of one stage."""

    runs: Runs
    number: int
    stage: int

    def __call__(self) -> Row:
        return rows.values(self.runs.estate, self.runs.run(self.number), self.stage)


@dataclass(slots=True)
class _FileContent:
    """The content of the log file."""

    runs: Runs
    number: int

    def __call__(self) -> bytes:
        return action_log.log_file(self.runs.estate, self.runs.run(self.number))


@dataclass(slots=True)
class _FlowLogs:
    """The rows of the V2 log."""

    runs: Runs
    number: int

    def __call__(self) -> tuple[Row, ...]:
        return action_log.flowlog_rows(self.runs.estate, self.runs.run(self.number))


def _session(runs: Runs, run: Run) -> Session:
    in_table = has_flowlogs(runs.estate, run)
    states = _states(runs, run)
    return Session(
        run.draw.session_id,
        states,
        _file(runs, run),
        _FlowLogs(runs, run.draw.number) if in_table else (),
        datetime.fromtimestamp(run.deleted_s, UTC) if run.deleted_s is not None else None,
        states[0].modified_at,
        LogSummary("v2", run.actions, run.failed_actions) if in_table else None,
    )


def _states(runs: Runs, run: Run) -> tuple[SessionState, ...]:
    """One state for each stage, and one more when the file's arrival touches the row.

    The last stage of a few is stamped seconds before it can be seen.
    """
    number, stages = run.draw.number, run.course.stages
    moments = [moment_s for _, moment_s in stages]
    if run.file_s is not None and run.file_touches_row:
        moments.append(run.file_s)
    final = len(stages) - 1
    return tuple(
        SessionState(
            datetime.fromtimestamp(moment_s + _COMMIT_S + (run.draw.late_commit_s if at >= final else 0), UTC),
            datetime.fromtimestamp(whole_second(moment_s), UTC),
            _version(number, at, moment_s),
            _StageRow(runs, number, at),
        )
        for at, moment_s in enumerate(moments)
    )


def _file(runs: Runs, run: Run) -> LogFile | None:
    if run.file_s is None:
        return None
    readable = run.draw.shape.readable
    summary = LogSummary("v1", run.actions, run.failed_actions) if readable else LogSummary("bad")
    visible_at = datetime.fromtimestamp(run.file_s + run.draw.late_commit_s, UTC)
    whole_only = run.draw.number % _WHOLE_ONLY_EVERY == _WHOLE_ONLY_AT
    return LogFile(visible_at, _FileContent(runs, run.draw.number), not whole_only, summary)


def _version(number: int, stage: int, moment_s: float) -> int:
    """A row version that grows with time in the whole organization."""
    seconds = whole_second(moment_s) - _VERSION_EPOCH_S
    return seconds * _VERSIONS_PER_SECOND + number * _VERSIONS_PER_RUN + stage
