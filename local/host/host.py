"""The host itself: indexes an app, listens for its triggers, invokes its functions."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from local.host.engines import Engine, choose_engine, index
from local.host.events import Event, EventStream
from local.host.functions import Function, FunctionInfo, QueueTrigger, TimerTrigger, resolve_functions
from local.host.http_listener import HttpListener
from local.host.invoker import Invocation, Invoker
from local.host.logs import write_logs
from local.host.manual import manual_input
from local.host.problems import HostStartError
from local.host.queue_listener import LEASE_S, QueueListener
from local.host.settings import HostOptions, load_options, load_settings
from local.host.timer_listener import TimerListener
from local.host.trigger_data import TriggerInput

STOP_GRACE_S = 8.0
WAKE_S = 0.05  # Windows delivers no Ctrl-C to a wait without an end

T = TypeVar("T")
log = logging.getLogger("host")


def index_app(app_dir: Path, *, direct: bool = False) -> list[FunctionInfo]:
    """Indexes an app as Azure does at its start; a process can index one app only.

    Raises:
        HostStartError: function_app.py cannot be imported, or a function is not declared correctly.
    """
    return asyncio.run(index(choose_engine(direct=direct), Path(app_dir).resolve()))


class Host:
    """Runs one app in this process; a process can run one app only.

    `settings` precede the process environment, and that precedes local.settings.json. `poll_s` is the pause after
    an empty queue; None backs off up to maxPollingInterval as Azure does.
    """

    def __init__(
        self,
        app_dir: Path,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        poll_s: float | None = 0.5,
        *,
        lease_s: float = LEASE_S,
        engine: Engine | None = None,
        receive_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.functions: list[Function] = []
        self.url = ""
        self._app_dir = Path(app_dir).resolve()
        self._port = port
        self._settings = settings
        self._poll_s = poll_s
        self._lease_s = lease_s
        self._engine = engine or choose_engine()
        self._events = EventStream(receive_event)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="host", daemon=True)
        self._stopping = asyncio.Event()
        self._listeners: list[asyncio.Task[None]] = []
        self._options = HostOptions()
        self._index_ms = 0
        self._invoker = Invoker(self._engine, self._events, None)
        self._http = HttpListener([], self._invoke, self.invoke)

    def start(self, *, listen: bool = True) -> None:
        """Indexes the app and starts its listeners; without `listen` functions only run through `invoke`.

        Raises:
            HostStartError: something is missing or wrong; lists everything.
        """
        write_logs(self._engine.running_function)
        self._thread.start()
        self._load()
        self._invoker = Invoker(self._engine, self._events, self._options.function_timeout_s)
        self._http = HttpListener(self.functions, self._invoke, self.invoke)
        self.url = f"http://127.0.0.1:{self._http.start(self._port)}"
        self._events.emit(
            "started",
            engine=self._engine.description,
            url=self.url,
            pid=os.getpid(),
            index_ms=self._index_ms,
            functions=[function.summary() for function in self.functions],
        )
        log.info("%d functions through %s at %s", len(self.functions), self._engine.description, self.url)
        if listen:
            self._on_loop(self._listen())

    def invoke(self, name: str, **overrides: Any) -> Invocation:
        """Runs a function by name, a disabled one too, and waits for it; overrides as in `manual_input`.

        Raises:
            LookupError: there is no function of that name.
            TypeError: there is no such override for its trigger.
        """
        function = next((f for f in self.functions if f.name == name), None)
        if not function:
            raise LookupError(name)
        return self._invoke(function, manual_input(function, overrides))

    def run(self, until: threading.Event | float | None = None) -> None:
        """Returns when the event is set, or after so many seconds."""
        event = until if isinstance(until, threading.Event) else threading.Event()
        deadline = time.monotonic() + until if isinstance(until, int | float) else None
        while not event.wait(WAKE_S):
            if deadline is not None and time.monotonic() >= deadline:
                return

    def stop(self, grace_s: float = STOP_GRACE_S) -> list[str]:
        """Stops listening and waits for invocations under way; returns the functions still running after that."""
        self._http.stop()
        unfinished = self._on_loop(self._wind_down(grace_s)) if self._thread.is_alive() else []
        for name in unfinished:
            log.error("still running %g s after the stop: given up", grace_s, extra={"function": name})
        if not unfinished:
            self._engine.stop()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._events.emit("stopped", invocations=self._events.invocations(), unfinished=unfinished)
        return unfinished

    def _load(self) -> None:
        problems: list[str] = []
        settings = load_settings(self._app_dir, self._settings)
        os.environ.update(settings)
        with _collected(problems):
            self._options = load_options(self._app_dir, settings)
        with _collected(problems):
            started = time.perf_counter()
            infos = self._on_loop(index(self._engine, self._app_dir))
            self._index_ms = round((time.perf_counter() - started) * 1000)
            self.functions = resolve_functions(infos, settings, self._options.route_prefix)
        if problems:
            raise HostStartError(problems)

    def _invoke(self, function: Function, given: TriggerInput) -> Invocation:
        return self._on_loop(self._invoker.invoke(function, given))

    async def _listen(self) -> None:
        for function in self.functions:
            if function.disabled:
                log.info("disabled", extra={"function": function.name})
            elif isinstance(function.trigger, TimerTrigger):
                self._spawn(TimerListener(function, function.trigger, self._invoker.invoke).run)
            elif isinstance(function.trigger, QueueTrigger):
                self._spawn(self._queue_listener(function).run)

    def _queue_listener(self, function: Function) -> QueueListener:
        return QueueListener(
            function,
            self._options.queues,
            self._invoker,
            self._events,
            poll_s=self._poll_s,
            lease_s=self._lease_s,
        )

    def _spawn(self, run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.get_running_loop().create_task(run(self._stopping))
        task.add_done_callback(_report_failure)
        self._listeners.append(task)

    async def _wind_down(self, grace_s: float) -> list[str]:
        self._stopping.set()
        if pending := [*self._listeners, *self._invoker.running()]:
            _, pending = await asyncio.wait(pending, timeout=grace_s)
        unfinished = self._invoker.running_functions()
        for task in pending:
            task.cancel()
        return unfinished

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@contextmanager
def _collected(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except HostStartError as error:
        problems.extend(error.problems)


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("a listener ended: %r", error, exc_info=error)
