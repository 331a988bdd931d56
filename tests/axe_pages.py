"""Pages in a headless Chromium: what axe-core finds wrong with them, how wide they are, and pictures of them."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from browser import chromium

from local.packages import installed

AXE = Path(__file__).parent / "axe"
PHONE, DESK = 375, 1024
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-extensions",
)
DARK, LIGHT = 0, 1  # of Chromium's own setting
RUN_AXE = """
axe.run(document, {resultTypes: ["violations"]}).then((found) => parent.postMessage({
  name: window.name,
  wide: document.documentElement.scrollWidth,
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  problems: found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).slice(0, 3)}`),
}, "*"));
"""
COLLECT = """
const found = [];
addEventListener("message", (event) => {
  found.push(event.data);
  document.getElementById("found").textContent = JSON.stringify(found);
});
"""


def examined(pages: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each page on a dark phone and on a light desk: its `name`, how `wide` it became, and axe's `problems`."""
    axe = (installed(AXE) / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
    frames = "".join(
        f'<iframe name="{html.escape(name)} {width}" width="{width}" height="3000" title="{html.escape(name)}" '
        f'style="color-scheme:{scheme}" srcdoc="{html.escape(_with_scripts(page, axe, RUN_AXE))}"></iframe>'
        for name, page in pages.items()
        for width, scheme in ((PHONE, "dark"), (DESK, "light"))
    )
    outer = f'<!doctype html><pre id="found"></pre><script>{COLLECT}</script>{frames}'
    shown = _chromium(outer, "--virtual-time-budget=60000", "--dump-dom", dark=False)
    match = re.search(r'<pre id="found">(.*?)</pre>', shown, re.DOTALL)
    assert match, shown[:500]
    return json.loads(html.unescape(match[1]) or "[]")


def _with_scripts(page: str, *scripts: str) -> str:
    added = "".join("<script>" + script.replace("</script", "<\\/script") + "</script>" for script in scripts)
    return page.replace("</body>", f"{added}</body>")


def picture(page: str, path: Path, *, width: int, height: int, dark: bool = False) -> None:
    """A picture of a page; a frame gives it the width of a phone, for no window is that narrow."""
    framed = (
        '<!doctype html><body style="margin:0">'
        f'<iframe style="border:0" width="{width}" height="{height}" srcdoc="{html.escape(page)}"></iframe>'
    )
    _chromium(framed, f"--window-size={width},{height}", f"--screenshot={path}", dark=dark)


def _chromium(page: str, *options: str, dark: bool) -> str:
    found = chromium()
    if isinstance(found, str):
        pytest.skip(found)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "page.html"
        file.write_text(page, "utf-8")
        scheme = f"--blink-settings=preferredColorScheme={DARK if dark else LIGHT}"
        command: Sequence[str] = [found.executable, *FLAGS, f"--user-data-dir={folder}/profile", scheme, *options]
        done = subprocess.run(  # noqa: S603 - a browser over a page of our own
            [*command, file.as_uri()],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=True,
            env={**os.environ, **found.variables},
        )
    return done.stdout
