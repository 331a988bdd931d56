"""Working through all sources of a function side by side, each on its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from random import random

from shared.app import App
from shared.clock import Deadline
from shared.errors import Conflict, FlowtrailError, SourcesFailed
from shared.state.journal import IngestRecord

log = logging.getLogger("flowtrail")

SIDE_BY_SIDE = 8
SHORTEST_SHARE_S = 60.0
LEAST_S = 5.0
Work = Callable[[Deadline, "Tally"], None]
"""What is done for one source, until its own deadline."""


@dataclass
class Tally:
    """What one source gave in one run; `finished` turns false where the deadline came first.

    `note` is for the person who reads the ingest log.
    """

    window_from_utc: datetime | None = None
    window_to_utc: datetime | None = None
    rows_read: int = 0
    rows_written: int = 0
    rows_failed: int = 0
    finished: bool = True
    note: str | None = None


def each_source(app: App, function: str, sources: Mapping[str, Work], deadline: Deadline) -> None:
    """Run every source; note each in the ingest log; one that fails neither stops nor delays the others.

    Where there are more sources than run side by side, each gets its share of the time, and their order changes
    from run to run: a few slow ones can't keep the same others from their turn again and again.

    Raises:
        SourcesFailed: some failed, after the others were done.
    """
    share_s = max(SHORTEST_SHARE_S, deadline.remaining_s * SIDE_BY_SIDE / max(1, len(sources)))
    order = sorted(sources, key=lambda _: random())  # noqa: S311 - a fair turn, no secret
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        errors = pool.map(partial(_one, app, function, sources, share_s, deadline), order)
        failures = {source: error for source, error in zip(order, errors, strict=True) if error}
    if failures:
        raise SourcesFailed(function, failures, len(sources))


def _one(
    app: App, function: str, sources: Mapping[str, Work], share_s: float, deadline: Deadline, source: str
) -> str | None:
    tally, began, began_s = Tally(), app.clock.now(), app.clock.monotonic()
    own = Deadline(app.clock, min(deadline.at_s, began_s + share_s))
    error = _error(function, source, partial(_within, own, sources[source]), tally)
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
    return error


def _within(deadline: Deadline, work: Work, tally: Tally) -> None:
    """The work, unless there is no time left for it: that is no failure, its turn comes again."""
    if deadline.remaining_s < LEAST_S:
        tally.finished = False
    else:
        work(deadline, tally)


def _error(function: str, source: str, work: Callable[[Tally], None], tally: Tally) -> str | None:
    try:
        work(tally)
    except Conflict as error:
        tally.finished = False
        log.info("%s of %s leaves off, another run is ahead: %s", function, source, error)
    except FlowtrailError as error:
        log.error("%s of %s failed: %s", function, source, error)  # noqa: TRY400 - it explains itself
        return str(error)
    except Exception as error:
        log.exception("%s of %s failed", function, source)
        return f"{type(error).__name__}: {error}"
    return None
