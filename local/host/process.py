"""The host in a process of its own, for tests and launchers: a process can run one app only."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self

from local.guard import Guarded, Stopped, start_guarded
from local.host.events import Event

ROOT = Path(__file__).resolve().parents[2]
STOP_GRACE_S = 12.0
LOG_LINES_SHOWN = 20


class HostProcessError(RuntimeError):
    """The host did not start, ended too early or did not answer; the message holds its last log lines."""


class HostProcess:
    """`python -m local.host --events`, guarded: it ends with this process, however this one ends.

    `env` is added to this process's environment. Options such as `direct=True` or `lease_s=5` are those of the
    command line. `on_log` receives each log line; without it they are only kept in `logs`.
    """

    def __init__(
        self,
        app_dir: Path,
        env: Mapping[str, str] | None = None,
        *,
        on_log: Callable[[str], None] | None = None,
        python: Path | str = sys.executable,
        **options: Any,
    ) -> None:
        self.logs: list[str] = []
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._on_log = on_log
        self._command = [python, "-m", "local.host", "--app", Path(app_dir).resolve(), "--events", "--stop-at-eof"]
        self._command += _flags({"port": 0, "poll_s": 0.5, **options})
        self._env = {**os.environ, "PYTHONUTF8": "1", **(env or {})}
        self._process: Guarded | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def events(self) -> list[Event]:
        with self._changed:
            return list(self._events)

    @property
    def url(self) -> str:
        return self.wait_started()["url"]

    def start(self) -> None:
        self._process = start_guarded(
            self._command,
            env=self._env,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            grace_s=STOP_GRACE_S,
        )
        self._read(self._process.stdout, self._add_event)
        self._read(self._process.stderr, self._add_log)

    def wait_started(self, timeout_s: float = 60) -> Event:
        """Waits until the app is indexed and served.

        Raises:
            HostProcessError: the host did not start, with what it said.
        """
        return self.wait_for(lambda event: event["event"] == "started", timeout_s)

    def wait_for(self, wanted: Callable[[Event], bool], timeout_s: float = 60) -> Event:
        """The first event, past or future, that is wanted.

        Raises:
            HostProcessError: the host ended, or the time passed, without one.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                if found := next(filter(wanted, self._events), None):
                    return found
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0 or self._ended():
                    raise HostProcessError(self._without_event())
                self._changed.wait(min(remaining_s, 0.2))

    def invoke(self, name: str, body: str | None = None, **overrides: Any) -> dict[str, Any]:
        """Runs a function and waits for it; returns ok, result, error and duration_ms.

        Raises:
            HostProcessError: there is no such function or override, or no answer.
        """
        document = json.dumps({"input": body, **overrides}).encode()
        request = urllib.request.Request(  # noqa: S310 - the host's own loopback address
            f"{self.url}/admin/functions/{name}", document, {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request) as response:  # noqa: S310 - as above
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise HostProcessError(f"{name}: {error.code} {error.read().decode()}") from error
        except OSError as error:
            raise HostProcessError(f"{name}: {error}\n{self._last_logs()}") from error

    def stop(self) -> Stopped | None:
        """Ends the host, invocations under way first; None where it never ran."""
        if not self._process:
            return None
        stopped = self._process.stop()
        for thread in self._threads:
            thread.join(5)
        return stopped

    def kill(self) -> None:
        """Ends the host at once, as a crash would: nothing under way is finished or given back."""
        if self._process:
            self._process.kill()
        self.stop()

    def _read(self, stream: IO[str] | None, add: Callable[[str], None]) -> None:
        def read() -> None:
            for line in stream or ():
                add(line.rstrip("\n"))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _add_event(self, line: str) -> None:
        with self._changed:
            self._events.append(json.loads(line))
            self._changed.notify_all()

    def _add_log(self, line: str) -> None:
        self.logs.append(line)
        if self._on_log:
            self._on_log(line)

    def _ended(self) -> bool:
        return not self._process or not any(thread.is_alive() for thread in self._threads)

    def _without_event(self) -> str:
        code = self._process.poll() if self._process else None
        state = "is running" if code is None else f"ended with exit code {code}"
        return f"the awaited event did not come; the host {state}\n{self._last_logs()}"

    def _last_logs(self) -> str:
        return "\n".join(self.logs[-LOG_LINES_SHOWN:])


def _flags(options: Mapping[str, Any]) -> list[str]:
    """Command-line flags: True for a bare one, None or False for none."""
    flags: list[str] = []
    for name, value in options.items():
        if value is not None and value is not False:
            flag = "--" + name.replace("_", "-")
            flags += [flag] if value is True else [flag, str(value)]
    return flags
