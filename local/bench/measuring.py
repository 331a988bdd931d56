"""What a case is, and one way of it measured in the process at hand."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

MEBIBYTE = 1024 * 1024
LONG_ENOUGH_S = 0.3
MOST_REPEATS = 30
LINUX = sys.platform == "linux"

Work = Callable[[], Mapping[str, Any] | None]
"""What is measured; it may return figures of its own, and where it measures by itself `wall_s` and `cpu_s`."""
Start = Callable[[Path, ExitStack], Work]
"""Makes everything ready, imports included, which is not measured."""

APP = "Flowtrail"


@dataclass(frozen=True)
class Way:
    """One way to do a case's work. `is_rival`: it runs where the rivals' packages are."""

    name: str
    start: Start
    is_rival: bool = False
    repeats: bool = True
    rounds: int | None = None


@dataclass(frozen=True)
class Size:
    """How much a case works off: `units` of what it counts in, and the bytes that come in."""

    units: int
    bytes: int = 0


@dataclass(frozen=True)
class Case:
    """`prepare` makes the data, the same for each seed; the first way is the app's."""

    name: str
    title: str
    unit: str
    prepare: Callable[[Path, bool], Size]
    ways: tuple[Way, ...]
    rounds: int = 3
    note: str = ""

    def way(self, name: str) -> Way:
        return next(way for way in self.ways if way.name == name)


@dataclass(frozen=True)
class Cost:
    """Medians of one process: seconds, and the most memory above what it had when all was ready."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    process_mib: float
    figures: Mapping[str, Any] = field(default_factory=dict[str, Any])


def measured(way: Way, folder: Path) -> Cost:
    """Do the work once for the memory, then again until the time is told well enough."""
    with ExitStack() as stack:
        work = way.start(folder, stack)
        before_mib = _forget_peak()
        times = [_timed(work)]
        peak_mib = status_mib("VmHWM")
        while way.repeats and len(times) < MOST_REPEATS and sum(time[0] for time in times) < LONG_ENOUGH_S:
            times.append(_timed(work))
    wall_s, cpu_s = median(time[0] for time in times), median(time[1] for time in times)
    return Cost(wall_s, cpu_s, peak_mib - before_mib, peak_mib, times[0][2])


def _timed(work: Work) -> tuple[float, float, Mapping[str, Any]]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    figures = dict(work() or {})
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return figures.pop("wall_s", wall_s), figures.pop("cpu_s", cpu_s), figures


def _forget_peak() -> float:
    """Let the kernel count the peak from here; return what the process has now."""
    if LINUX:
        Path("/proc/self/clear_refs").write_text("5")
    return status_mib("VmRSS")


def status_mib(name: str) -> float:
    """A figure of this process as Linux tells it; elsewhere none is known."""
    if not LINUX:
        return float("nan")
    found = re.search(rf"{name}:\s+([0-9]+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def size_of(folder: Path) -> Size:
    """The size that `prepare` has noted."""
    return Size(**json.loads((folder / "size.json").read_text()))
