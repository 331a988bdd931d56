"""A guarded program ends with its parent, politely where it lets itself be asked."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from host_support import eventually

from local.guard import KILLED_EXIT_CODE, Guarded, Stopped, start_guarded

ROOT = Path(__file__).resolve().parents[2]

BEAT = """
import pathlib, signal, subprocess, sys, time
path, stubborn, grandchild = pathlib.Path(sys.argv[1]), "stubborn" in sys.argv, "grandchild" in sys.argv
if stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if grandchild:
    subprocess.Popen([sys.executable, __file__, str(path) + ".grandchild"])
while True:
    path.write_text(str(time.time()))
    time.sleep(0.02)
"""
READER = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a handler of Python's own is gone again before the process is
pathlib.Path(sys.argv[1]).touch()
sys.stdin.read()
"""
PARENT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from local.guard import start_guarded
guarded = start_guarded([sys.executable, *sys.argv[2:]], grace_s=1)
time.sleep(100)
"""


@pytest.fixture
def beat(tmp_path: Path) -> Callable[..., list[str | Path]]:
    """The command line of a program that keeps writing to `tmp_path / "beat"` as long as it lives."""
    (tmp_path / "beat.py").write_text(BEAT, "utf-8")
    return lambda *options: [sys.executable, tmp_path / "beat.py", tmp_path / "beat", *options]


def beats(path: Path, patience_s: float = 1.5) -> bool:
    """Whether the program that writes to `path` is alive; a busy machine may keep it from a beat for a while."""
    before = path.read_text("utf-8") if path.exists() else ""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        time.sleep(0.05)
        if path.exists() and path.read_text("utf-8") != before:
            return True
    return False


def start(command: list[str | Path], grace_s: float = 60) -> Guarded:
    return start_guarded(command, grace_s=grace_s)


def test_the_exit_code_is_the_programs_own() -> None:
    guarded = start([sys.executable, "-c", "raise SystemExit(7)"])
    assert guarded.wait(10) == 7
    assert guarded.stop() == Stopped(7, forced=False)


def test_a_program_that_does_not_exist_is_an_exit_code_too(capfd: pytest.CaptureFixture[str]) -> None:
    assert start(["no-such-program"]).wait(10) == 127
    assert "cannot start no-such-program" in capfd.readouterr().err


def test_the_program_sees_the_end_of_its_standard_input(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    guarded = start([sys.executable, "-c", READER, ready])
    eventually(ready.exists)
    assert guarded.stop() == Stopped(0, forced=False)


def test_a_stop_ends_the_whole_group(tmp_path: Path, beat: Callable[..., list[str | Path]]) -> None:
    guarded = start(beat("grandchild"))
    eventually((tmp_path / "beat.grandchild").exists)
    assert not guarded.stop().forced
    assert not beats(tmp_path / "beat")
    assert not beats(tmp_path / "beat.grandchild")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no signal to be deaf to")
def test_a_forced_stop_is_told(
    tmp_path: Path, beat: Callable[..., list[str | Path]], capfd: pytest.CaptureFixture[str]
) -> None:
    guarded = start(beat("stubborn"), grace_s=0.3)
    eventually((tmp_path / "beat").exists)
    assert guarded.stop() == Stopped(KILLED_EXIT_CODE, forced=True)
    assert "did not stop within 0.3 s" in capfd.readouterr().err
    assert not beats(tmp_path / "beat")


@pytest.mark.parametrize("options", [(), ("stubborn", "grandchild")])
def test_nothing_survives_a_parent_that_is_killed(
    tmp_path: Path, beat: Callable[..., list[str | Path]], options: tuple[str, ...]
) -> None:
    command = [sys.executable, "-c", PARENT, str(ROOT), *map(str, beat(*options)[1:])]
    parent = subprocess.Popen(command)  # noqa: S603 - this file's own program
    eventually(lambda: beats(tmp_path / "beat"))
    parent.kill()
    parent.wait()
    eventually(lambda: not beats(tmp_path / "beat"))
    assert not beats(tmp_path / "beat.grandchild")


@pytest.mark.skipif(sys.platform == "win32", reason="no signal can be sent to one process there")
def test_ctrl_c_is_left_to_the_parent(tmp_path: Path, beat: Callable[..., list[str | Path]]) -> None:
    guarded = start(beat())
    eventually((tmp_path / "beat").exists)
    os.kill(guarded.guard_pid, signal.SIGINT)
    assert beats(tmp_path / "beat")
    guarded.stop()
    assert not beats(tmp_path / "beat")
