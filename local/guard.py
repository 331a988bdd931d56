"""Starts a program that cannot outlive the one that asked for it, even when that one is killed outright.

The guard is a small process between the two. Its standard input is a pipe that only the parent holds open: the
pipe closes when the parent ends, however it ends, and the guard then ends the child and everything it started.
The child's own standard input closes with it, which a program may take as the request to stop.

    python -m local.guard [--grace-s 10] -- CMD ARGS...
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

WINDOWS = sys.platform == "win32"
KILLED_EXIT_CODE = 137  # what a shell reports for a process ended by force
GRACE_S = 10.0
KILL = "kill"  # on the guard's standard input, instead of its end


@dataclass(frozen=True)
class Stopped:
    """How a guarded program ended: its exit code, and whether it had to be ended by force."""

    exit_code: int
    forced: bool


class Guarded:
    """The parent's handle on a guarded program."""

    def __init__(self, guard: "subprocess.Popen[str]", grace_s: float) -> None:
        self._guard = guard
        self._grace_s = grace_s

    @property
    def stdout(self) -> IO[str] | None:
        return self._guard.stdout

    @property
    def stderr(self) -> IO[str] | None:
        return self._guard.stderr

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    def poll(self) -> int | None:
        """The program's exit code, or None while it runs."""
        return self._guard.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        return self._guard.wait(timeout_s)

    def stop(self) -> Stopped:
        """Ends the program, politely first; returns when no process of it is left."""
        if self._guard.stdin:
            with contextlib.suppress(OSError):
                self._guard.stdin.close()
        code = self._guard.wait()
        return Stopped(code, forced=code == KILLED_EXIT_CODE)

    def kill(self) -> None:
        """Ends the program at once, as a crash would."""
        if self._guard.stdin:
            with contextlib.suppress(OSError, ValueError):
                self._guard.stdin.write(KILL)
        self.stop()


def start_guarded(
    cmd: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: int | IO[str] | None = None,
    stderr: int | IO[str] | None = None,
    grace_s: float = GRACE_S,
) -> Guarded:
    """Starts `cmd` under a guard; `grace_s` is how long a polite stop may take before force is used."""
    # isolated and without site-packages: a guard needs neither, and starts in 15 ms
    guard = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), "--grace-s", str(grace_s), "--"]
    process = subprocess.Popen(
        [*guard, *map(str, cmd)],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env=None if env is None else dict(env),
        cwd=cwd,
        encoding="utf-8",
        errors="replace",
    )
    return Guarded(process, grace_s)


class _Child:
    """The guarded program as the guard itself sees it: a process group of its own."""

    def __init__(self, cmd: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            cmd,
            stdin=subprocess.PIPE,
            start_new_session=not WINDOWS,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self.forced = False
        self._name = Path(cmd[0]).name
        self._ending = threading.Lock()

    def end(self, grace_s: float) -> None:
        with self._ending:
            self._ask()
            try:
                self.process.wait(grace_s)
            except subprocess.TimeoutExpired:
                print(f"{self._name} did not stop within {grace_s:g} s: killed", file=sys.stderr)
                self.forced = True
            self._kill_group()

    def kill(self) -> None:
        with self._ending:
            self.forced = True
            self._kill_group()

    def exit_code(self) -> int:
        code = self.process.wait()
        with self._ending:
            self._kill_group()
        return 128 - code if code < 0 else code

    def _ask(self) -> None:
        if self.process.stdin:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        with contextlib.suppress(OSError):
            self.process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))

    def _kill_group(self) -> None:
        if not WINDOWS:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        elif self.process.poll() is None:
            tree = ["taskkill", "/T", "/F", "/PID", str(self.process.pid)]
            subprocess.run(tree, check=False, capture_output=True)


def _guard(cmd: Sequence[str], grace_s: float) -> int:
    """Runs `cmd` until it ends or standard input does; returns its exit code."""
    # Ctrl-C reaches every process of the terminal's foreground group; when to stop is for the parent to say
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = _Child(cmd)
    except OSError as error:
        print(f"cannot start {cmd[0]}: {error.strerror}", file=sys.stderr)
        return 127

    def end_at_eof() -> None:
        if sys.stdin.read() == KILL:
            child.kill()
        else:
            child.end(grace_s)

    def end_at_signal(_signal: int, _frame: FrameType | None) -> None:
        threading.Thread(target=child.end, args=(grace_s,)).start()

    signal.signal(signal.SIGTERM, end_at_signal)
    threading.Thread(target=end_at_eof, daemon=True).start()
    code = child.exit_code()
    return KILLED_EXIT_CODE if child.forced else code


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local.guard", description=__doc__)
    parser.add_argument("--grace-s", type=float, default=GRACE_S, metavar="SECONDS")
    parser.add_argument("cmd", nargs="+")
    args = parser.parse_args(argv)
    return _guard(args.cmd, args.grace_s)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # a thread blocked on standard input must not hold up the exit
    os._exit(code)
