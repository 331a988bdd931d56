"""The way in from the triggers: one call for each invocation."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from shared.app import App
from shared.errors import SettingsError
from shared.records import write_record
from shared.settings import load_settings
from shared.times import MILLISECOND

log = logging.getLogger("flowtrail")
# at INFO the storage and identity clients log every request with its headers, which the host sends on and bills
logging.getLogger("azure").setLevel(logging.WARNING)

LONGEST_ERROR = 2000


@cache
def the_app() -> App:
    """The app of this worker.

    Raises:
        SettingsError: its settings are wrong.
    """
    return App(load_settings(os.environ))


def check_settings() -> None:
    """Say once, when the worker starts, what is wrong with the settings; every function then refuses to run."""
    try:
        the_app()
    except SettingsError as error:
        log.critical("%s", error)


def run_timer(function: str, app: App | None = None) -> None:
    """Run a timer function."""
    tick(app or the_app(), function)


def tick(app: App, function: str) -> None:
    """Run a timer function and leave its heartbeat, so that a timer that froze can be told from one that rests."""
    from shared.state.version import ensure_current, refuse_newer  # noqa: PLC0415 - heavy, as is all of storage

    began = app.clock.now()
    refuse_newer(app.checkpoints)
    try:
        ensure_current(app)
        totals = _run(function, app)
    except BaseException as error:
        app.journal.heartbeat(function, failed_utc=app.clock.now(), error=str(error)[:LONGEST_ERROR])
        _summarize(app, function, began, "failed", getattr(error, "totals", None))
        raise
    else:
        app.journal.heartbeat(function, succeeded_utc=app.clock.now(), began_utc=began, error=None)
        _summarize(app, function, began, "succeeded", totals)
    finally:
        tell_how_it_is(app)


def _summarize(app: App, function: str, began: datetime, outcome: str, totals: dict[str, int] | None) -> None:
    """The one record of a timer's run: how it ended, how long it took and what it did."""
    duration_ms = (app.clock.now() - began) // MILLISECOND
    write_record(
        "heartbeat", {"function": function, "outcome": outcome, "duration_ms": duration_ms, **(totals or {})}
    )


def tell_how_it_is(app: App) -> None:
    """Log what the alerts watch; a report that fails does not fail what it reports on."""
    from shared.functions.report import report  # noqa: PLC0415 - only timers report

    try:
        report(app)
    except Exception:
        log.exception("The report of how the app is failed")


def run_message(function: str, body: str, dequeue_count: int | None, app: App | None = None) -> None:
    """Run a queue function over one message."""
    take(app or the_app(), function, body, dequeue_count or 1)


def take(app: App, function: str, body: str, dequeue_count: int) -> None:
    """Run a queue function, and leave its heartbeat."""
    from shared.state.version import ensure_current  # noqa: PLC0415 - heavy, as is all of storage

    ensure_current(app)
    try:
        _run(function, app, body, dequeue_count)
    except BaseException as error:
        app.journal.beat(function, failed_utc=app.clock.now(), error=str(error)[:LONGEST_ERROR])
        raise
    app.journal.beat(function, succeeded_utc=app.clock.now(), error=None)


@dataclass(frozen=True)
class Answer:
    """What an HTTP function gives back."""

    status: int
    body: str
    headers: Mapping[str, str]


def run_request(function: str, app: App | None = None) -> Answer:
    """The answer to a request; an app that can't run says why instead of failing."""
    from shared.state.version import refuse_newer  # noqa: PLC0415 - heavy, as is all of storage

    page = importlib.import_module(f"shared.functions.{function}")
    try:
        app = app or the_app()
        refuse_newer(app.checkpoints)
        status, body = page.run(app)
    except Exception as error:
        if not isinstance(error, SettingsError):
            log.exception("%s failed", function)
        status, body = page.refusal(error)
    return Answer(status, body, page.HEADERS)


def _run(function: str, *arguments: Any) -> Any:
    """Each function is a module of its own, imported when it first runs: none pays for what another needs."""
    return importlib.import_module(f"shared.functions.{function}").run(*arguments)
