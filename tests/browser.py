"""A headless Chromium for the tests of pages: the one of this machine, else one that npm brings.

`look(Look(url=page.as_uri(), dark=True))` opens a page and tells what was seen.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from local.desk import LOCAL
from local.packages import PackagesError, installed, node

PACKAGE = Path(__file__).with_suffix("")
TIMEOUT_S = 300.0
COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
USUAL_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
NAMED_BY = "FLOWTRAIL_CHROMIUM"
FONTS = """<?xml version="1.0"?>
<fontconfig>
  <dir>{folder}/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{folder}/cache</cachedir>
</fontconfig>
"""


@dataclass(frozen=True)
class Look:
    """A page to open, and how; `scripts` are files that run in it before `evaluate`, whatever its policy says."""

    url: str
    width: int = 1280
    height: int = 800
    dark: bool = False
    scripts: tuple[str, ...] = ()
    evaluate: str = ""
    screenshot: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Seen:
    """What a look gave; `problems` are errors and warnings of the console, `requests` all URLs asked for."""

    problems: list[str]
    requests: list[str]
    value: Any
    status: int
    html: str


@dataclass(frozen=True)
class Chromium:
    """A browser that was seen running, and the environment variables that it wants."""

    executable: str
    variables: Mapping[str, str] = field(default_factory=dict[str, str])


def look(*looks: Look) -> list[Seen]:
    """Open pages one after the other in one browser; skips the test where there is none to be had."""
    found = chromium()
    if isinstance(found, str):
        pytest.skip(found)
    return _seen(found, *looks)


def _seen(browser: Chromium, *looks: Look) -> list[Seen]:
    order = {"executable": browser.executable, "looks": [asdict(one) for one in looks]}
    done = _node("look.js", installed(PACKAGE), browser.variables, json.dumps(order))
    return [Seen(**one) for one in json.loads(done)]


@cache
def chromium() -> Chromium | str:
    """The browser, or the reason why there is none: looked for here, then brought by npm into `.local/`."""
    tried: list[str] = []
    for candidate in _candidates():
        if _runs(candidate):
            return candidate
        tried.append(candidate.executable)
    try:
        unpacked = _unpacked()
    except (PackagesError, subprocess.SubprocessError, OSError) as error:
        return _none(tried, f"npm's could not be had: {error}")
    return unpacked if _runs(unpacked) else _none([*tried, unpacked.executable], "npm's does not start here")


def _none(tried: list[str], why: str) -> str:
    return (
        f"NO PAGE WAS LOOKED AT: no Chromium here runs (tried: {', '.join(tried) or 'none found'}), and {why}. "
        f"Install one, or name it in {NAMED_BY}."
    )


def _candidates() -> Iterator[Chromium]:
    paths = (os.environ.get(NAMED_BY), *(shutil.which(command) for command in COMMANDS), *USUAL_PLACES)
    yield from (Chromium(path) for path in paths if path and Path(path).is_file())


def _runs(candidate: Chromium) -> bool:
    """Whether it shows a page: the wrapper of a package that is not there, for one, exists and doesn't run."""
    try:
        return _seen(candidate, Look("data:text/html,<p>here</p>"))[0].html.count("here") == 1
    except (PackagesError, OSError, subprocess.SubprocessError):
        return False


def _unpacked() -> Chromium:
    """The Chromium of the npm package @sparticuz/chromium, with the libraries that it brings along.

    Raises:
        PackagesError: npm failed, or the package has none for this machine.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise PackagesError("it is for Linux on x86-64 only")
    packages = installed(PACKAGE / "chromium")
    target = LOCAL / "packages" / f"{packages.name}-unpacked"
    if not target.is_dir():
        # unpacked aside and moved in whole: an interrupted run leaves nothing that looks finished
        with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as aside:
            prepared = Path(aside) / "prepared"
            prepared.mkdir()
            # its libraries come along only where it takes itself to be in a lambda function
            _node("unpack.js", packages, {"TMPDIR": str(prepared), "AWS_LAMBDA_JS_RUNTIME": "nodejs20.x"})
            (prepared / "fonts" / "fonts.conf").write_text(FONTS.format(folder=target / "fonts"), "utf-8")
            try:
                prepared.rename(target)
            except OSError:
                if not target.is_dir():  # else another process was quicker
                    raise
    libraries = {"FONTCONFIG_PATH": str(target / "fonts"), "LD_LIBRARY_PATH": str(target / "al2023" / "lib")}
    return Chromium(str(target / "chromium"), libraries)


def _node(script: str, packages: Path, variables: Mapping[str, str], text: str = "") -> str:
    done = subprocess.run(  # noqa: S603 - our own script
        [node().executable, PACKAGE / script, packages],
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        env={**os.environ, **variables},
        check=False,
    )
    if done.returncode:
        raise PackagesError(f"{script}: {done.stderr[-2000:]}")
    return done.stdout
