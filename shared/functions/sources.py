"""Working through all sources of a function side by side, each on its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from random import random

from azure.core.exceptions import AzureError, HttpResponseError

from shared.app import App
from shared.clock import Deadline
from shared.errors import Conflict, FlowtrailError, SourcesFailed
from shared.functions.troubles import trouble_of
from shared.state.journal import IngestRecord
from shared.state.sources import Faring
from shared.tally import Tally
from shared.threads import InvocationThreads

log = logging.getLogger("flowtrail")

SIDE_BY_SIDE = 8
SHORTEST_SHARE_S = 60.0
LEAST_S = 5.0
NO_STORAGE = "It was not begun, for the data storage account no longer answers; the next tick takes it up."
Work = Callable[[Deadline, Tally], None]
"""What is done for one source, until its own deadline."""


@dataclass(frozen=True)
class _Outcome:
    source: str
    tally: Tally
    error: str | None


def each_source(app: App, function: str, sources: Mapping[str, Work], deadline: Deadline) -> dict[str, int]:
    """Run every source; note each in the ingest log; one that fails neither stops nor delays the others.

    Only where storage no longer answers no further source is begun: nothing of it could be kept, and waiting for
    storage at each would outlast the invocation.

    Where there are more sources than run side by side, each gets its share of the time, and their order changes
    from run to run: a few slow ones can't keep the same others from their turn again and again.

    Returns what all of them gave together, for the record of the run.

    Raises:
        SourcesFailed: some failed, after the others were done.
    """
    share_s = max(SHORTEST_SHARE_S, deadline.remaining_s * SIDE_BY_SIDE / max(1, len(sources)))
    order = sorted(sources, key=lambda _: random())  # noqa: S311 - a fair turn, no secret
    silenced = threading.Event()
    with InvocationThreads(SIDE_BY_SIDE) as pool:
        outcomes = list(pool.map(partial(_one, app, function, sources, share_s, deadline, silenced), order))
    totals = _totals(outcomes)
    failures = {one.source: one.error for one in outcomes if one.error}
    if failures:
        raise SourcesFailed(function, failures, totals)
    return totals


def _totals(outcomes: Sequence[_Outcome]) -> dict[str, int]:
    tallies = [one.tally for one in outcomes]
    return {
        "sources": len(outcomes),
        "sources_failed": sum(one.error is not None for one in outcomes),
        "sources_unfinished": sum(not tally.finished for tally in tallies),
        "rows_read": sum(tally.rows_read for tally in tallies),
        "rows_written": sum(tally.rows_written for tally in tallies),
        "rows_failed": sum(tally.rows_failed for tally in tallies),
    }


def _one(
    app: App,
    function: str,
    sources: Mapping[str, Work],
    share_s: float,
    deadline: Deadline,
    silenced: threading.Event,
    source: str,
) -> _Outcome:
    if silenced.is_set():
        return _Outcome(source, Tally(finished=False, begun=False), NO_STORAGE)
    tally, began, began_s = Tally(), app.clock.now(), app.clock.monotonic()
    own = Deadline(app.clock, min(deadline.at_s, began_s + share_s))
    problem = _problem(function, source, partial(_within, own, sources[source]), tally)
    error = _text(problem) if problem else None
    try:
        _note(app, function, source, began, began_s, tally, problem)
    except Exception as unnoted:  # the other sources must have their turn all the same
        log.exception("How %s of %s went can't be noted", function, source)
        if isinstance(unnoted, AzureError) and not isinstance(unnoted, HttpResponseError):
            silenced.set()
        error = error or _text(unnoted)
    return _Outcome(source, tally, error)


def _note(
    app: App,
    function: str,
    source: str,
    began: datetime,
    began_s: float,
    tally: Tally,
    problem: Exception | None,
) -> None:
    error = _text(problem) if problem else None
    app.journal.ingested(
        IngestRecord(
            function=function,
            source=source,
            at_utc=began,
            duration_ms=round((app.clock.monotonic() - began_s) * 1000),
            status="failed" if error else "succeeded" if tally.finished else "unfinished",
            window_from_utc=tally.window_from_utc,
            window_to_utc=tally.window_to_utc,
            rows_read=tally.rows_read,
            rows_written=tally.rows_written,
            rows_failed=tally.rows_failed,
            error=error,
            note=tally.note,
        )
    )
    trouble = trouble_of(problem, app.settings, source) if problem else None
    if tally.begun:
        app.sources.fared(_faring(function, source, tally), trouble, app.clock.now())


def _faring(function: str, source: str, tally: Tally) -> Faring:
    return Faring(
        function=function,
        source=source,
        waiting=tally.waiting,
        waiting_utc=tally.waiting_utc,
        clock_ahead_s=tally.clock_ahead_s,
    )


def _within(deadline: Deadline, work: Work, tally: Tally) -> None:
    """The work, unless there is no time left for it: that is no failure, its turn comes again."""
    if deadline.remaining_s < LEAST_S:
        tally.finished = tally.begun = False
    else:
        work(deadline, tally)


def _problem(function: str, source: str, work: Callable[[Tally], None], tally: Tally) -> Exception | None:
    try:
        work(tally)
    except Conflict as error:
        tally.finished = tally.begun = False
        log.info("%s of %s leaves off, another run is ahead: %s", function, source, error)
    except FlowtrailError as error:
        log.error("%s of %s failed: %s", function, source, error)  # noqa: TRY400 - it explains itself
        return error
    except Exception as error:
        log.exception("%s of %s failed", function, source)
        return error
    return None


def _text(problem: Exception) -> str:
    return str(problem) if isinstance(problem, FlowtrailError) else f"{type(problem).__name__}: {problem}"
