"""Working through all sources of a function side by side, each on its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from shared.app import App
from shared.errors import Conflict, FlowtrailError, SourcesFailed
from shared.state.journal import IngestRecord

log = logging.getLogger("flowtrail")

SIDE_BY_SIDE = 8


@dataclass
class Tally:
    """What one source gave in one run; `finished` turns false where the deadline came first."""

    window_from_utc: datetime | None = None
    window_to_utc: datetime | None = None
    rows_read: int = 0
    rows_written: int = 0
    rows_failed: int = 0
    finished: bool = True


def each_source(app: App, function: str, sources: Mapping[str, Callable[[Tally], None]]) -> None:
    """Run every source; note each in the ingest log; one that fails neither stops nor delays the others.

    Raises:
        SourcesFailed: some failed, after the others were done.
    """
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        errors = pool.map(partial(_one, app, function), sources, sources.values())
    failures = {source: error for source, error in zip(sources, errors, strict=True) if error}
    if failures:
        raise SourcesFailed(function, failures, len(sources))


def _one(app: App, function: str, source: str, work: Callable[[Tally], None]) -> str | None:
    tally, began, began_s = Tally(), app.clock.now(), app.clock.monotonic()
    error = _error(function, source, work, tally)
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
        )
    )
    return error


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
