"""Locked npm packages of the tools on a desk, installed under `.local/` when they are first needed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from local.azurite import Node, find_node
from local.desk import LOCAL
from local.npm import NpmError, install_locked

LOCKED = ("package.json", "package-lock.json")


class PackagesError(RuntimeError):
    """Packages could not be installed; the message says what to do."""


def node() -> Node:
    """The Node.js to run them with.

    Raises:
        PackagesError: there is none.
    """
    found = find_node()
    if found is None:
        raise PackagesError("Node.js 20 or newer with npm is needed; dev.py installs one if there is none")
    return found


def installed(package: Path) -> Path:
    """The folder with the `node_modules` of a package; installed now unless that was done before.

    Raises:
        PackagesError: there is no Node, or npm failed.
    """
    wanted = hashlib.sha256(b"".join((package / name).read_bytes() for name in LOCKED)).hexdigest()
    target = LOCAL / "packages" / f"{package.name}-{wanted[:12]}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # prepared aside and moved in whole: an interrupted installation is never taken for a finished one
    with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as aside:
        prepared = Path(aside) / "prepared"
        prepared.mkdir()
        for name in LOCKED:
            shutil.copyfile(package / name, prepared / name)
        try:
            install_locked(node().npm, prepared)
        except NpmError as error:
            raise PackagesError(str(error)) from error
        try:
            prepared.rename(target)
        except OSError:
            if not target.is_dir():  # else somebody else was quicker
                raise
    return target
