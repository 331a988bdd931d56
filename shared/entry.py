"""The way in from the triggers: one call for each invocation."""

from __future__ import annotations

import importlib
import logging
import os
from functools import cache
from typing import Any

from shared.app import App
from shared.errors import SettingsError
from shared.records import write_record
from shared.settings import load_settings

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
    """Run a timer function and leave its heartbeat, so that a timer that froze can be told from one that rests."""
    app = app or the_app()
    from shared.state.version import ensure_current, refuse_newer  # noqa: PLC0415 - heavy, as is all of storage

    began = app.clock.now()
    refuse_newer(app.checkpoints)
    try:
        ensure_current(app)
        _run(function, app)
    except BaseException as error:
        app.journal.heartbeat(function, failed_utc=app.clock.now(), error=str(error)[:LONGEST_ERROR])
        raise
    else:
        app.journal.heartbeat(function, succeeded_utc=app.clock.now(), began_utc=began, error=None)
        write_record("heartbeat", {"function": function})
    finally:
        tell_how_it_is(app)


def tell_how_it_is(app: App) -> None:
    """Log what the alerts watch; a report that fails does not fail what it reports on."""
    from shared.functions.report import report  # noqa: PLC0415 - only timers report

    try:
        report(app)
    except Exception:
        log.exception("The report of how the app is failed")


def run_message(function: str, body: str, dequeue_count: int | None, app: App | None = None) -> None:
    """Run a queue function over one message."""
    from shared.state.version import ensure_current  # noqa: PLC0415 - heavy, as is all of storage

    app = app or the_app()
    ensure_current(app)
    _run(function, app, body, dequeue_count or 1)


def run_request(function: str, app: App | None = None) -> tuple[int, str]:
    """HTTP status and body; an app that can't run says why instead of failing."""
    from shared.state.version import refuse_newer  # noqa: PLC0415 - heavy, as is all of storage

    try:
        app = app or the_app()
        refuse_newer(app.checkpoints)
        return _run(function, app)
    except Exception as error:
        if not isinstance(error, SettingsError):
            log.exception("%s failed", function)
        return _refusal(function, str(error))


def _refusal(function: str, reason: str) -> tuple[int, str]:
    if function == "status":
        from shared.functions.status import problem_page  # noqa: PLC0415 - only here

        return 503, problem_page(reason)
    from shared.functions.health import unhealthy  # noqa: PLC0415 - only here

    return unhealthy(reason)


def _run(function: str, *arguments: Any) -> Any:
    """Each function is a module of its own, imported when it first runs: none pays for what another needs."""
    return importlib.import_module(f"shared.functions.{function}").run(*arguments)
