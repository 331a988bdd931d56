"""Programs in other processes, a tenant above all, so that what is measured in a process is the app's alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from local.desk import ROOT


@contextmanager
def tenant_of_its_own(sizes: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """A tenant with all of its past on one day, which makes up its rows and logs when they are asked for.

    The day ended long enough ago that a log which is not there by now never comes.
    """
    anchor = (datetime.now(UTC) - timedelta(hours=26)).isoformat()
    given = {**sizes, "history-days": 1, "live-s": 0, "anchor": anchor}
    arguments = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    with first_line_of("-m", "local.tenant", *arguments) as told:
        yield json.loads(told)


@contextmanager
def first_line_of(*arguments: str) -> Iterator[str]:
    """What a Python program says first, which then runs until the block ends and closes its standard input."""
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdout.readline()
        finally:
            process.stdin.close()
