#!/usr/bin/env python3
"""Flowtrail on a desk, with no Azure: one command, nothing to prepare.

    python3 dev.py demo             the whole app against a simulated tenant, from nothing to a report's tables
    python3 dev.py test [ARGS]      the tests (arguments go to pytest)
    python3 dev.py soak [ARGS]      the tests that take hours (arguments go to pytest)
    python3 dev.py start [ARGS]     run the app until Ctrl-C
    python3 dev.py invoke NAME      run one function once
    python3 dev.py powerbi          write the Power BI project, its KPIs and the data dictionary anew
    python3 dev.py bench [ARGS]     what the app costs, beside what else one could do
    python3 dev.py forget UPN       take a person's name out of a storage account (--storage, --apply)
    python3 dev.py move OLD NEW     copy the state tables of one storage account to another
    python3 dev.py lint             ruff and pyright
    python3 dev.py infra WHAT       check, build or what-if of the templates; the last two need the Azure CLI

Any Python from 3.11 starts it. The first run finds (or lets uv install) Python 3.13, fills .local/ with a virtual
environment, Node.js where there is none, and the storage emulator Azurite; later runs start at once. Nothing is
installed outside .local/. FLOWTRAIL_PYTHON names the interpreter to use instead of searching for one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent
LOCAL = ROOT / ".local"
UV_PYTHONS = LOCAL / "python"
REQUIREMENTS = (ROOT / "requirements.txt", ROOT / "requirements-dev.txt")
RIVALS = (ROOT / "requirements.txt", ROOT / "requirements-bench.txt")
FUZZER = (ROOT / "requirements.txt", ROOT / "requirements-fuzz.txt")
NODE_REQUIREMENTS = ROOT / "local" / "azurite" / "requirements.txt"
WINDOWS = os.name == "nt"
OLDEST = (3, 11)
PREFERRED = (3, 13)  # what the app runs on in Azure
PREFERRED_NAME = "3.13"

COMMANDS = ("demo", "test", "soak", "start", "invoke", "powerbi", "bench", "forget", "move", "lint", "infra")
TESTS: dict[str, tuple[str, ...]] = {"test": (), "soak": ("-m", "soak")}
PROBE = "import ensurepip, json, sys; print(json.dumps([sys.version_info[:3], sys._base_executable]))"
PROBE_TIMEOUT_S = 20
UV_INSTALL_TIMEOUT_S = 120
NO_NETWORK = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|NewConnectionError|NameResolutionError|"
    r"Failed to establish a new connection|Temporary failure in name resolution|getaddrinfo failed|ProxyError"
)
NO_SPACE = re.compile(r"No space left on device|ENOSPC|There is not enough space on the disk")


class SetupError(Exception):
    """The set-up cannot go on; the message is for the person at the keyboard."""


class Python(NamedTuple):
    """A Python interpreter that was seen running."""

    executable: str
    version: tuple[int, int, int]

    @property
    def name(self) -> str:
        return ".".join(map(str, self.version))


def main(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0
    if argv[0] not in COMMANDS:
        print(f"dev.py: there is no command {argv[0]}; it is one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        if sys.version_info < OLDEST:
            return start_over_with_a_newer_python(argv)
        return run_command(argv[0], list(argv[1:]))
    except SetupError as error:
        say(f"dev.py: {error}")
    except OSError as error:
        say(f"dev.py: {explain(str(error))}")
    except KeyboardInterrupt:
        say("\ninterrupted")
        return 130
    return 1


def run_command(command: str, args: list[str]) -> int:
    python = ready_environment()
    if command == "lint":
        return lint(python)
    if command not in ("powerbi", "forget", "move") and (command != "infra" or args == ["check"]):
        prepare_azurite(python, optional=command in ("start", "invoke"))
    if command == "bench" and "--guard" not in args:
        os.environ["FLOWTRAIL_BENCH_PYTHON"] = str(ready_apart(python, "bench", RIVALS))
    if command == "soak":
        os.environ["FLOWTRAIL_FUZZ_PYTHON"] = str(ready_apart(python, "fuzz", FUZZER))
    if command in TESTS:
        return become([str(python), "-m", "pytest", *TESTS[command], *args])
    return become([str(python), "-m", f"local.{command}", *args])


def lint(python: Path) -> int:
    checks = (
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["pyright", "--pythonpath", str(python)],
    )
    codes = [wait_for([str(python), "-m", *check]) for check in checks]
    return next(filter(None, codes), 0)


def start_over_with_a_newer_python(argv: Sequence[str]) -> int:
    python = search_preferred()
    if not python:
        here = ".".join(map(str, sys.version_info[:3]))
        raise SetupError(f"Python 3.11 or newer is needed; this is {here} ({sys.executable})")
    return become([python.executable, str(Path(__file__).resolve()), *argv])


def choose_python() -> Python:
    """The interpreter that FLOWTRAIL_PYTHON names, else a Python 3.13, else the one that runs this file."""
    if named := os.environ.get("FLOWTRAIL_PYTHON"):
        python = probe([named])
        if not python or python.version < OLDEST:
            raise SetupError(f"FLOWTRAIL_PYTHON={named} is no working Python 3.11 or newer with ensurepip")
    else:
        python = search_preferred() or install_preferred() or at_hand()
    if python.version[:2] != PREFERRED:
        how = ": functions are called directly, not through Azure's own worker library"
        older = python.version < PREFERRED
        say(f"not Python {PREFERRED_NAME}, which Azure runs the app on, but {python.name}{how if older else ''}")
    return python


def search_preferred() -> Python | None:
    found = (probe(candidate) for candidate in candidates())
    return next((python for python in found if python and python.version[:2] == PREFERRED), None)


def candidates() -> Iterator[list[str]]:
    """Commands that may start the preferred Python: a pyenv shim, for one, may exist and still not work."""
    if sys.version_info[:2] == PREFERRED:
        yield [sys.executable]
    if WINDOWS and shutil.which("py"):
        yield ["py", f"-{PREFERRED_NAME}"]
    yield from ([str(path)] for path in usual_places() if path.is_file())
    if uv := find_uv():
        found = output_of([uv, "python", "find", PREFERRED_NAME], PROBE_TIMEOUT_S)
        yield from ([line] for line in found.splitlines())


def usual_places() -> Iterator[Path]:
    name = "python.exe" if WINDOWS else f"python{PREFERRED_NAME}"
    yield from (Path(directory) / name for directory in os.get_exec_path())
    yield from UV_PYTHONS.glob(f"*/{'' if WINDOWS else 'bin/'}{name}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    # the last digit leaves out 3.13.0t, which has no global lock and hardly any wheels
    pattern = f"{PREFERRED_NAME}.*[0-9]/" + ("python.exe" if WINDOWS else "bin/python")
    yield from sorted(pyenv.glob(f"{'pyenv-win/' if WINDOWS else ''}versions/{pattern}"), reverse=True)


def find_uv() -> str | None:
    usual = (Path.home() / ".local" / "bin", Path.home() / ".cargo" / "bin")
    return shutil.which("uv") or shutil.which("uv", path=os.pathsep.join(map(str, usual)))


def install_preferred() -> Python | None:
    """Lets uv install it, once: not again while an environment of the Python at hand is in use."""
    uv = find_uv()
    if not uv or stamp_of(environment_of(sys.version_info[:2])).is_file():
        return None
    with step(f"Python {PREFERRED_NAME} through uv"):
        into = {"UV_PYTHON_INSTALL_DIR": str(UV_PYTHONS), "UV_PYTHON_INSTALL_BIN": "0"}
        output_of([uv, "python", "install", PREFERRED_NAME], UV_INSTALL_TIMEOUT_S, into)
    return search_preferred()


def at_hand() -> Python:
    if python := probe([sys.executable]):
        return python
    name = ".".join(map(str, sys.version_info[:2]))
    raise SetupError(
        f"this Python {name} cannot create virtual environments (no ensurepip): on Debian or Ubuntu "
        f"apt install python{name}-venv, or install Python {PREFERRED_NAME} or uv"
    )


def probe(command: list[str]) -> Python | None:
    """Runs a Python to see that it works and can make virtual environments."""
    shown = output_of([*command, "-c", PROBE], PROBE_TIMEOUT_S)
    try:
        version, executable = json.loads(shown)
        return Python(executable, tuple(version))
    except ValueError:
        return None


def output_of(command: list[str], timeout_s: float, env: dict[str, str] | None = None) -> str:
    """What a command prints, or nothing where it cannot run, fails or takes too long; `env` is added to ours."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=True,
            env={**os.environ, **(env or {})},
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def ready_environment() -> Path:
    """The environment's Python, after installing what the requirement files ask for."""
    wanted = requirements_hash()
    preferred = environment_of(PREFERRED)
    if is_ready(preferred, wanted) and not os.environ.get("FLOWTRAIL_PYTHON"):
        return python_in(preferred)
    python = choose_python()
    environment = environment_of(python.version[:2])
    if not is_ready(environment, wanted):
        with one_set_up_at_a_time():
            if not is_ready(environment, wanted):  # nor by another dev.py meanwhile
                set_up(environment, python, wanted)
    return python_in(environment)


def ready_apart(python: Path, name: str, files: Sequence[Path]) -> Path:
    """A Python that only one command needs: the app's rivals, beside which Arrow starts larger, or a fuzzer."""
    wanted = requirements_hash(files)
    environment = LOCAL / python.parent.parent.name.replace("venv-", f"venv-{name}-")
    if not is_ready(environment, wanted):
        found = probe([str(python)])
        if not found:
            raise SetupError(f"{python} does not run")
        with one_set_up_at_a_time():
            set_up(environment, found, wanted, files)
    return python_in(environment)


def set_up(environment: Path, python: Python, wanted: str, files: Sequence[Path] = REQUIREMENTS) -> None:
    # no stamp while anything is under way: what was interrupted is made anew
    if not stamp_of(environment).is_file() or not python_in(environment).exists():
        with step(f"virtual environment of Python {python.name}"):
            shutil.rmtree(environment, ignore_errors=True)
            call([python.executable, "-m", "venv", str(environment)], "creating the virtual environment")
    stamp_of(environment).unlink(missing_ok=True)
    with step("packages of " + " and ".join(path.name for path in files)):
        pip_install(python_in(environment), *files)
    stamp_of(environment).write_text(wanted, "utf-8")


def pip_install(python: Path, *requirements: Path) -> None:
    files = [part for path in requirements for part in ("-r", str(path))]
    flags = ["--quiet", "--disable-pip-version-check", "--no-input", "--retries", "2"]
    call([str(python), "-m", "pip", "install", *flags, *files], "pip install")


def requirements_hash(files: Sequence[Path] = REQUIREMENTS) -> str:
    digest = hashlib.sha256()
    for path in files:
        if not path.is_file():
            raise SetupError(f"{path.name} is missing beside dev.py")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def environment_of(version: Sequence[int]) -> Path:
    return LOCAL / f"venv-{version[0]}.{version[1]}"


def python_in(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if WINDOWS else "bin/python")


def site_packages_of(environment: Path) -> Path:
    version = environment.name.partition("-")[2]
    return environment / ("Lib/site-packages" if WINDOWS else f"lib/python{version}/site-packages")


def stamp_of(environment: Path) -> Path:
    return environment / "requirements.sha256"


def is_ready(environment: Path, wanted: str) -> bool:
    stamp = stamp_of(environment)
    return stamp.is_file() and stamp.read_text("utf-8") == wanted and python_in(environment).exists()


@contextlib.contextmanager
def one_set_up_at_a_time() -> Iterator[None]:
    LOCAL.mkdir(exist_ok=True)
    with (LOCAL / "set-up.lock").open("w") as file:
        told = False
        while not try_lock(file.fileno()):
            if not told:
                say("waiting for another dev.py to finish its set-up")
            told = True
            time.sleep(0.5)
        yield  # closing the file unlocks it


def try_lock(descriptor: int) -> bool:
    # each module exists on its own system only
    try:
        if WINDOWS:
            msvcrt: Any = __import__("msvcrt")
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl: Any = __import__("fcntl")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True  # a file system without locks
    return True


def prepare_azurite(python: Path, *, optional: bool) -> None:
    """Installs Azurite and, where there is none, Node.js; where `optional`, a failure is only told."""
    # on Windows the names of environment variables are in capitals
    given = any(name.upper().split("__")[0] == "DATASTORAGE" for name in os.environ)
    if optional and given:
        return
    try:
        install_azurite_and_node(python)
    except SetupError as error:
        if not optional:
            raise
        say(f"without Azurite, so a DataStorage must be given: {error}")


def install_azurite_and_node(python: Path) -> None:
    sys.path.insert(0, str(ROOT))
    from local import azurite  # noqa: PLC0415 - only readable once the Python is new enough

    site_packages = site_packages_of(python.parent.parent)
    node = azurite.find_node(site_packages)
    if node and azurite.is_installed():
        return
    with one_set_up_at_a_time():
        if not node:
            with step("Node.js (no version 20 or newer with npm is on PATH)"):
                pip_install(python, NODE_REQUIREMENTS)
            node = azurite.find_node(site_packages)
        with step("Azurite, the storage emulator"):
            try:
                azurite.install_azurite(node=node)
            except azurite.AzuriteError as error:
                raise SetupError(explain(str(error))) from error


def become(command: list[str]) -> int:
    """Hands the terminal, the signals and the exit code over to the command."""
    os.chdir(ROOT)
    sys.stdout.flush()
    sys.stderr.flush()
    if not WINDOWS:
        os.execv(command[0], command)  # noqa: S606 - nothing is left of this process to be an orphan's parent
    return wait_for(command)


def wait_for(command: list[str]) -> int:
    process = subprocess.Popen(command, cwd=ROOT)
    while True:
        # Ctrl-C reaches the command as well, which then ends in its own way
        with contextlib.suppress(KeyboardInterrupt):
            return process.wait()


def call(command: list[str], what: str) -> None:
    """Runs a step of the set-up quietly; shows the end of its output if it fails."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        tail = "\n".join(f"  {line}" for line in done.stdout.strip().splitlines()[-12:])
        raise SetupError(explain(f"{what} failed:\n{tail}"))


def explain(text: str) -> str:
    if NO_SPACE.search(text):
        return f"{text}\nThe disk is full."
    if NO_NETWORK.search(text):
        return f"{text}\nThe network was not reached: the first run needs PyPI and the npm registry."
    return text


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """One line per step: what it is, then how long it took."""
    say(f"{text} ... ", end="")
    started = time.monotonic()
    try:
        yield
    except BaseException:
        say("failed")
        raise
    say(f"{time.monotonic() - started:.1f} s")


def say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
