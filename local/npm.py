"""Installing locked npm packages: by npm alone, from the lock file alone.

Standard library only, so that dev.py can use it before the virtual environment has anything in it.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

INSTALL_TIMEOUT_S = 600.0
LONGEST_OUTPUT = 2000
QUIET = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


class NpmError(RuntimeError):
    """npm did not do it; the message says what it said."""


def install_locked(npm: Sequence[str], folder: Path, *options: str) -> None:
    """Install what the lock file in a folder names into its `node_modules`; `npm` is the command that runs npm.

    Raises:
        NpmError: it took too long, or failed.
    """
    try:
        run = subprocess.run(
            [*npm, "ci", *QUIET, *options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise NpmError(f"npm did not finish within {INSTALL_TIMEOUT_S:.0f} s") from late
    if run.returncode:
        raise NpmError(f"npm could not install the packages:\n{run.stdout[-LONGEST_OUTPUT:]}")
