"""What is installed is pinned, and what production installs is enough."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import venv
from pathlib import Path

from local.desk import LOCAL, ROOT

AZURITE = "local/azurite/requirements.txt"
CHECKOV = "tests/infra/checkov/requirements.txt"
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[0-9][^ ;]*)(?: ; [^\\]+)? \\$")


def production_python() -> Path:
    """The Python of an environment that holds requirements.txt and nothing else; made once."""
    wanted = hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest()
    folder = LOCAL / f"venv-production-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = folder / "requirements.sha256"
    if not (stamp.is_file() and stamp.read_text() == wanted):
        venv.create(folder, clear=True, with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", ROOT / "requirements.txt"], check=True)  # noqa: S603 - our own file
        stamp.write_text(wanted)
    return python


def pinned(name: str) -> dict[str, list[str]]:
    pins: dict[str, list[str]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            match = PIN.match(line)
            assert match, line
            pins.setdefault(match["name"], []).append(match["version"])
    return pins


def test_everything_is_pinned_with_hashes() -> None:
    for name in (*(path.name for path in sorted(ROOT.glob("requirements*.txt"))), AZURITE, CHECKOV):
        assert pinned(name)
        blocks = (ROOT / name).read_text().split("\n")
        assert all(
            "--hash=sha256:" in blocks[at + 1]
            for at, line in enumerate(blocks)
            if line.endswith(" \\") and "==" in line
        )


def test_what_the_app_imports_is_required() -> None:
    known = set(pinned("requirements.txt"))
    assert {
        "azure-data-tables",
        "azure-functions",
        "azure-functions-runtime",
        "azure-identity",
        "azure-storage-blob",
        "azure-storage-queue",
        "msgspec",
        "pyarrow",
        "pybase64",
        "requests",
        "urllib3",
    } <= known


def test_what_is_heavy_or_only_for_tests_is_not() -> None:
    assert not {"numpy", "pandas", "aiohttp", "pytest", "duckdb", "cronsim"} & set(pinned("requirements.txt"))
