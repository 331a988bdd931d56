"""What the app costs, beside what else one could do.

    python3 dev.py bench [CASE…] [--quick] [--rounds N] [--write] [--guard]

Every case makes its data from a seed and runs each way in fresh processes, in turns. Without names all cases run.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from local.bench.catalogue import CASES
from local.bench.guarding import guard
from local.bench.machine import facts, load
from local.bench.measuring import APP
from local.bench.picture import profile
from local.bench.report import PICTURE, day, document, goals, lines_of, starting
from local.bench.running import Outcome, run_case
from local.desk import ROOT

DOCS = ROOT / "docs"
PAGE = DOCS / "benchmarks.md"


def main() -> int:
    options = _options()
    if options.guard:
        return guard(_say)
    machine = [*facts(ROOT / "requirements-bench.txt"), ("load at the start", load())]
    for name, value in machine:
        print(f"{name}: {value}")
    outcomes: dict[str, Outcome] = {}
    for name in options.cases or CASES:
        outcomes[name] = run_case(CASES[name], quick=options.quick, most_rounds=options.rounds, say=_say)
        print("\n".join(_shown(outcomes[name])), flush=True)
    print("\n".join(goals(outcomes)))
    if options.write:
        write(outcomes, machine, quick=options.quick)
    return 1 if any(outcome.failed for outcome in outcomes.values()) else 0


def _shown(outcome: Outcome) -> list[str]:
    more = {"cold-start": starting, "day": day}.get(outcome.case.name)
    with suppress(KeyError):
        return [*lines_of(outcome), *(more(outcome) if more else ())]
    return list(lines_of(outcome))


def write(outcomes: dict[str, Outcome], machine: list[tuple[str, str]], *, quick: bool) -> None:
    PAGE.write_text(document(outcomes, machine, quick=quick), "utf-8")
    steps = outcomes["day"].cost(APP).figures["steps"]
    (DOCS / PICTURE).write_text(profile(steps), "utf-8")
    print(f"Wrote {_relative(PAGE)} and {_relative(DOCS / PICTURE)}")


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="small and once: to see that all of it runs")
    parser.add_argument("--rounds", type=int, default=99, help="at most so many, where a case has more")
    parser.add_argument("--write", action="store_true", help=f"all cases, then {_relative(PAGE)} anew")
    parser.add_argument("--guard", action="store_true", help="only whether the hot paths are still far ahead")
    options = parser.parse_args()
    if unknown := [name for name in options.cases if name not in CASES]:
        parser.error(f"there is no case {', '.join(unknown)}")
    if options.write and options.cases:
        parser.error("--write takes all cases")
    return options


if __name__ == "__main__":
    sys.exit(main())
