"""What became of some runs' action logs, and how that enters the register and the gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from shared.app import App
from shared.dataverse.actions import ActionTable, LogSummary
from shared.dataverse.sessions import LogStatus, Session, amended, stamp
from shared.publishing.parquet import rows_of
from shared.schema import FACT_FLOW_ACTION
from shared.settings import Environment
from shared.state.journal import Gap

NO_LOG = frozenset({LogStatus.ABSENT, LogStatus.DISABLED})
"""What a run's end and its age tell, so that it holds for the state of the run that it was told of."""


@dataclass
class Group:
    """Logs that are staged together, and what the register is to know of each run."""

    tables: list[ActionTable] = field(default_factory=list[ActionTable])
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"])
    sessions: list[Session] = field(default_factory=list[Session])

    @property
    def actions(self) -> int:
        return sum(table.summary.action_count for table in self.tables)

    def rows(self) -> Iterator[pa.Table]:
        """The rows of the logs; one that is empty and was not before is a row without an action."""
        for table in self.tables:
            yield from table.rows()
        emptied = [
            {"session_id": session.session_id, "created_utc": session.created_utc}
            for session in self.sessions
            if session.action_count and self.outcomes[session.session_id].get("action_count") == 0
        ]
        if emptied:
            yield rows_of(FACT_FLOW_ACTION, emptied)

    def add(self, session: Session, **outcome: Any) -> None:
        """Note an outcome; whatever it is, but for a failure, the log no longer fails."""
        self.sessions.append(session)
        self.outcomes[session.session_id] = {"log_failing_utc": None, **outcome}

    def holds(self) -> Iterator[str]:
        for session in self.sessions:
            version = self.outcomes[session.session_id].get("log_version")
            yield f"{session.session_id} {version} {session.log_file_id}"

    def noting(self, now: Callable[[], datetime]) -> Callable[[Session, Session | None], Session | None]:
        """The change that notes each run's outcome on the newest state that the register has of it.

        A run that names another file by now, or was opened again, has a message of its own, which brings the log
        of that state, and so has one that changed while it seemed to have no log; a log that another message has
        loaded meanwhile stays loaded; and an outcome that is known already makes no new state.
        """

        def change(session: Session, known: Session | None) -> Session | None:
            outcome, state = self.outcomes[session.session_id], known or session
            is_known = all(getattr(state, name) == value for name, value in outcome.items())
            is_loaded = state.log_status == LogStatus.LOADED != session.log_status
            is_worse = is_loaded and outcome.get("log_status") != LogStatus.LOADED
            is_old = outcome.get("log_status") in NO_LOG and stamp(state) != stamp(session)
            stays = is_overtaken(session, state) or is_worse or is_old or is_known
            return state if stays else amended(state, now(), **outcome)

        return change


def is_overtaken(session: Session, state: Session) -> bool:
    """Whether a run has come to another state since its log was asked for, one with another log."""
    return (state.log_file_id, state.is_finished) != (session.log_file_id, True)


def summary_of(log_summary: LogSummary) -> dict[str, Any]:
    return {
        "action_count": log_summary.action_count,
        "failed_action_count": log_summary.failed_action_count,
        "failed_action_seq": log_summary.last_failed_seq,
        "failed_action_name": log_summary.last_failed_name,
    }


@dataclass(frozen=True)
class LogGaps:
    """Tells what is missing of an environment's action logs."""

    app: App
    environment: Environment

    def of_run(self, session: Session, kind: str, reason: str) -> None:
        self._note(*span_of(session), kind, session.session_id, reason)

    def of_day(self, session: Session, kind: str, reason: str) -> None:
        """One gap for a whole day of runs, however many of them it concerns."""
        begin = datetime.combine(session.day, datetime.min.time(), session.created_utc.tzinfo)
        self._note(begin, begin + timedelta(days=1), kind, session.day.isoformat(), reason)

    def _note(self, begin: datetime, end: datetime, kind: str, subject: str, reason: str) -> None:
        self.app.journal.lost(
            Gap(
                source=self.environment.name,
                from_utc=begin,
                to_utc=end,
                kind=kind,
                subject=subject,
                reason=reason,
                noticed_utc=self.app.clock.now(),
            )
        )


def span_of(session: Session) -> tuple[datetime, datetime]:
    """From the run's begin to its end; the row of a local run is created after the run has ended."""
    end = session.completed_utc or session.modified_utc
    return min(session.started_utc or session.created_utc, session.created_utc, end), end
