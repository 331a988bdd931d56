"""Runs cases: each way in fresh processes, in turns, so that a busy moment of the machine hits all of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from local.bench.measuring import Case, Cost, Size, Way
from local.desk import LOCAL, ROOT

FOLDER = LOCAL / "bench"
RIVALS_PYTHON = "FLOWTRAIL_BENCH_PYTHON"
LONGEST_S = 600.0


@dataclass(frozen=True)
class Result:
    """One way of a case: medians over its rounds, and how much the app is better (above 1) or worse than it.

    The ratio is that of each round, for what slows one process of a round slows the others too.
    """

    way: str
    cost: Cost
    cpu_ratio: float


@dataclass(frozen=True)
class Outcome:
    """What came of a case; `failed` are ways that could not run, with the reason."""

    case: Case
    size: Size
    rounds: int
    results: dict[str, Result]
    failed: dict[str, str]

    def cost(self, way: str) -> Cost:
        return self.results[way].cost


class WayFailed(RuntimeError):
    """A way ended with an error; the message is its last line."""


def run_case(case: Case, *, quick: bool, most_rounds: int, say: Callable[[str], None]) -> Outcome:
    ways = case.ways
    costs: dict[str, list[Cost]] = {way.name: [] for way in ways}
    failed: dict[str, str] = {}
    rounds = min(case.rounds, 1 if quick else most_rounds)
    with _prepared(case, quick=quick) as (folder, size):
        say(f"{case.title}: {size.units:,} {case.unit}")
        for number in range(rounds):
            for way in ways:
                if way.name in failed or number >= (way.rounds or rounds):
                    continue
                try:
                    costs[way.name].append(_cost(case, way, folder))
                except WayFailed as error:
                    failed[way.name] = str(error)
    return Outcome(case, size, rounds, _results(costs), failed)


def run_best(case: Case, names: tuple[str, ...], rounds: int) -> dict[str, float]:
    """The least CPU seconds of some ways, over a small size of the case."""
    with _prepared(case, quick=True) as (folder, _):
        return {name: min(_cost(case, case.way(name), folder).cpu_s for _ in range(rounds)) for name in names}


@contextmanager
def _prepared(case: Case, *, quick: bool) -> Iterator[tuple[Path, Size]]:
    folder = FOLDER / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        size = case.prepare(folder, quick)
        (folder / "size.json").write_text(json.dumps(asdict(size)))
        yield folder, size
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cost(case: Case, way: Way, folder: Path) -> Cost:
    python = os.environ.get(RIVALS_PYTHON, sys.executable) if way.is_rival else sys.executable
    command = [python, "-m", "local.bench.worker", case.name, way.name, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    if done.returncode:
        raise WayFailed((done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def _results(costs: dict[str, list[Cost]]) -> dict[str, Result]:
    """The first way is what the others are compared with, round by round."""
    own = next(iter(costs.values()), [])
    return {
        name: Result(
            name,
            _middle(found),
            median(one.cpu_s / max(mine.cpu_s, 1e-9) for one, mine in zip(found, own, strict=False)),
        )
        for name, found in costs.items()
        if found and own
    }


def _middle(costs: list[Cost]) -> Cost:
    names = ("wall_s", "cpu_s", "peak_mib", "process_mib")
    middles = {name: median(getattr(cost, name) for cost in costs) for name in names}
    return Cost(**middles, figures=_figures(costs))


def _figures(costs: list[Cost]) -> dict[str, Any]:
    """Numbers as medians; anything else from the first round."""
    return {
        name: median(cost.figures[name] for cost in costs) if isinstance(value, (int, float)) else value
        for name, value in costs[0].figures.items()
    }
