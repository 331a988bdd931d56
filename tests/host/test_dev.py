"""The launcher: what it prepares, what it says, and that it hands exit codes and Ctrl-C through."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = """
import sys, time
try:
    print(sys.version_info[:2], sys.argv[1:], flush=True)
    time.sleep(float(sys.argv[1]))
except KeyboardInterrupt:
    raise SystemExit(7)
raise SystemExit(int(sys.argv[2]))
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the launcher with nothing to install and a `start` that sleeps and exits as told."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "dev.py", root)
    (root / "local").mkdir()
    (root / "local" / "start.py").write_text(START, "utf-8")
    for name in ("requirements.txt", "requirements-dev.txt"):
        (root / name).touch()
    return root


@pytest.fixture(scope="module")
def run(tree: Path) -> Run:
    def run(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(tree / "dev.py"), *arguments]
        env = {**os.environ, "DataStorage": "given", **env}
        return subprocess.run(  # noqa: S603 - the program under test
            command, cwd=tree.parent, env=env, capture_output=True, text=True, timeout=120, check=False
        )

    return run


def test_help_and_unknown_commands(run: Run) -> None:
    assert "python3 dev.py demo" in run().stdout
    assert run("--help").returncode == 0
    unknown = run("deploy")
    assert unknown.returncode == 2
    assert "there is no command deploy" in unknown.stderr


def test_the_first_run_sets_up_and_the_second_starts_at_once(run: Run, tree: Path) -> None:
    first = run("start", "0", "5")
    assert first.returncode == 5
    assert first.stdout.endswith("['0', '5']\n")
    steps = [line.split(" ... ")[0] for line in first.stderr.splitlines() if " ... " in line]
    assert steps[0].startswith("virtual environment of Python 3.")
    assert steps[1:] == ["packages of requirements.txt and requirements-dev.txt"]
    second = run("start", "0", "0")
    assert (second.returncode, second.stdout) == (0, first.stdout.replace("'5'", "'0'"))
    assert " ... " not in second.stderr
    assert list((tree / ".local").glob("venv-*/requirements.sha256"))


def test_what_pip_says_is_shown_and_the_environment_is_made_anew(run: Run, tree: Path) -> None:
    requirements = tree / "requirements.txt"
    requirements.write_text("./no-such-directory\n", "utf-8")
    failed = run("start", "0", "0")
    assert failed.returncode == 1
    assert "pip install failed" in failed.stderr
    assert "no-such-directory" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list((tree / ".local").glob("venv-*/requirements.sha256"))
    requirements.write_text("", "utf-8")
    again = run("start", "0", "3")
    assert again.returncode == 3
    assert "virtual environment" in again.stderr


def test_a_missing_requirements_file_is_named(run: Run, tree: Path) -> None:
    (tree / "requirements-dev.txt").rename(tree / "away")
    try:
        assert "requirements-dev.txt is missing" in run("start").stderr
    finally:
        (tree / "away").rename(tree / "requirements-dev.txt")


@pytest.mark.parametrize("named", ["no-such-python", "dev.py"])
def test_a_python_that_does_not_work_is_named(run: Run, named: str) -> None:
    done = run("start", FLOWTRAIL_PYTHON=named)
    assert done.returncode == 1
    assert f"FLOWTRAIL_PYTHON={named} is no working Python" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_reaches_the_command_and_nothing_is_left(run: Run, tree: Path) -> None:
    run("start", "0", "0")
    launcher = subprocess.Popen(  # noqa: S603 - the program under test
        [sys.executable, str(tree / "dev.py"), "start", "60", "0"],
        env={**os.environ, "DataStorage": "given"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell starts what runs in its background deaf to Ctrl-C, and these tests may be just that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )
    assert launcher.stdout
    assert "60" in launcher.stdout.readline()
    os.killpg(launcher.pid, signal.SIGINT)
    _, errors = launcher.communicate(timeout=60)  # returns when no process holds the pipes any more
    assert launcher.returncode == 7
    assert "Traceback" not in errors
