"""What came of the cases, for the terminal and for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from local.bench.cases.day import STEPS_OF_EVENTS, STEPS_OF_RUNS
from local.bench.cases.fetching import LATENCY_S, THREADS
from local.bench.goals import GOALS, Goal, Outcomes, rate
from local.bench.measuring import APP, MEBIBYTE
from local.bench.running import Outcome, Result

INSTANCE_GB = 2
USD_PER_GB_S = 0.000026
MILLION = 1_000_000
PICTURE = "benchmarks.svg"
INTRO = """# Benchmarks

Written by `python3 dev.py bench --write`; nothing here is typed in. The data comes from a seed; each way runs in
fresh processes, in turns, in as many rounds as each case says; all figures are medians. **The ratios are the
result**: the CPU time of another way divided by Flowtrail's, in the same round, so above 1 Flowtrail is faster.
Seconds are those of one machine, and of whatever else it had to do. *Peak* is the most memory of a fresh process
above what it had before the work.

Staged files are Arrow files for Flowtrail and Parquet files for the others, as each reads them best; decoded logs
and content blobs are measured in both forms, and beside the plain ways as Parquet.

The plain ways do less: they neither nest actions nor hide values, keep no counts and merge nothing; for the log of
10,000 actions one that nests and hides stands beside them. Made-up text repeats more than real text, so that files
come out smaller than real ones; the ratios of time hold.

## To repeat it

```console
$ python3 dev.py bench                      # all cases, some ten minutes on two cores
$ python3 dev.py bench log-10000 audit-5    # some
$ python3 dev.py bench --quick              # all, small and once: to see that they run
$ python3 dev.py bench --write              # all, and this page anew
$ python3 dev.py bench --guard              # only whether the two hot paths are still far ahead
```

What the rivals need is pinned in `requirements-bench.txt` and installed under `.local/` by this command alone,
apart from the app's own packages: with pandas beside it Arrow starts slower.
"""
QUICK = """**This page is from a quick run**: small data, once. It shows that everything runs; sizes in the titles
and in the goals are those of a full run, so that no goal is decided here.
"""
GUARD = """## The guard

`dev.py bench --guard` compares the app with the plain way on a log of 10,000 actions and on content blobs of which
5 % are wanted: CPU time, the best of three rounds of fresh processes each. It fails where a ratio has fallen to
less than half of what was measured on a busy machine when its bound was set. `.ci/run` asks it, before the tests.
"""
WHY = """What stands in the way of those that are missed:
[Where the time goes](architecture.md#where-the-time-goes).
"""
PRICES = f"""Dollars are list prices as [deploy.md](deploy.md#what-it-costs) has them: {USD_PER_GB_S} a GB-second
of Flex Consumption, on demand, from published comparisons and *not confirmed* by Microsoft's own page. Assumed: an
instance of {INSTANCE_GB} GB, one step after the other, no free grant, no price of executions, Azurite and the
tenant on the same machine in place of services that are further away, and a poll that finds a whole day at once.
They say what the work costs, not what the timers cost that find none.
"""


def lines_of(outcome: Outcome) -> Iterator[str]:
    """A case as a table."""
    size = outcome.size
    yield f"### {outcome.case.title}"
    yield ""
    volume = f", {size.bytes / MEBIBYTE:,.1f} MiB" if size.bytes else ""
    rounds = f"{outcome.rounds} rounds" if outcome.rounds > 1 else "one round"
    told = f"{size.units:,} {outcome.case.unit}{volume}; {rounds}. {outcome.case.note}"
    yield f"`{outcome.case.name}`: {told.strip()}"
    yield ""
    yield f"| way | CPU | wall | CPU beside Flowtrail's | {outcome.case.unit} a second | MiB a second | peak |"
    yield "|---|---|---|---|---|---|---|"
    for result in outcome.results.values():
        yield _row(outcome, result)
    for way, reason in outcome.failed.items():
        yield f"| {way} | did not run: {reason} | | | | | |"
    yield ""


def _row(outcome: Outcome, result: Result) -> str:
    cost, size = result.cost, outcome.size
    speed = f"{size.bytes / MEBIBYTE / cost.wall_s:,.0f}" if size.bytes else ""
    return (
        f"| {result.way} | {_time(cost.cpu_s)} | {_time(cost.wall_s)} | {result.cpu_ratio:.2f} | "
        f"{size.units / cost.wall_s:,.0f} | {speed} | +{max(0.0, cost.peak_mib):,.0f} MiB |"
    )


def _time(seconds: float) -> str:
    return f"{seconds * 1000:,.2f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def goals(outcomes: Outcomes) -> Iterator[str]:
    yield "| goal | wanted | measured | |"
    yield "|---|---|---|---|"
    for goal in GOALS:
        judged = goal.judged(outcomes)
        if judged is None:
            yield f"| {goal.what} | {goal.bound} {goal.target:g} {goal.unit} | | not run |"
            continue
        value, reached = judged
        verdict = _verdict(goal, value, reached)
        yield f"| {goal.what} | {goal.bound} {goal.target:g} {goal.unit} | {value:,.2f} | {verdict} |"


def _verdict(goal: Goal, value: float, reached: bool) -> str:
    if reached:
        return "reached"
    return f"**missed**, {goal.missed_by(value):.2f} times off" if goal.target else "**missed**"


def fetching(outcomes: Outcomes) -> Iterator[str]:
    yield "| at a time | blobs a second | of what 20 ms allow | CPU each | CPU beside Flowtrail's: requests |"
    yield "|---|---|---|---|---|"
    for threads in THREADS:
        outcome = outcomes.get(f"fetch-{threads}")
        if outcome is None or APP not in outcome.results:
            continue
        speed, each = rate(outcomes, threads), outcome.cost(APP).cpu_s / outcome.size.units
        other = next((result.cpu_ratio for name, result in outcome.results.items() if name != APP), 0)
        share = speed / (threads / LATENCY_S)
        yield f"| {threads} | {speed:,.0f} | {share:.0%} | {each * 1000:.2f} ms | {other:.2f} |"


def starting(outcome: Outcome) -> Iterator[str]:
    yield "| process | CPU | wall | heavy modules that are there then |"
    yield "|---|---|---|---|"
    for result in outcome.results.values():
        heavy = ", ".join(result.cost.figures.get("heavy", ())) or "none"
        yield f"| {result.way} | {_time(result.cost.cpu_s)} | {_time(result.cost.wall_s)} | {heavy} |"


def day(outcome: Outcome) -> Iterator[str]:
    figures = outcome.cost(APP).figures
    steps: Mapping[str, Any] = figures["steps"]
    yield "| step | CPU | wall |"
    yield "|---|---|---|"
    for name, step in steps.items():
        yield f"| {name} | {_time(step['cpu_s'])} | {_time(step['wall_s'])} |"
    yield ""
    most_mib, requests = outcome.cost(APP).process_mib, figures["requests"]
    yield f"The process needed {most_mib:,.0f} MiB at most, and sent {requests:,.0f} storage requests."
    yield ""
    yield f"| | a core-second | a GiB-second of a {INSTANCE_GB} GiB instance | USD a million |"
    yield "|---|---|---|---|"
    yield _yield_of("runs, with their actions", outcome.size.units, steps, STEPS_OF_RUNS)
    yield _yield_of("audit events received", round(figures["events"]), steps, STEPS_OF_EVENTS)


def _yield_of(what: str, count: int, steps: Mapping[str, Any], names: Iterable[str]) -> str:
    cpu_s, wall_s = (sum(steps[name][unit] for name in names) for unit in ("cpu_s", "wall_s"))
    gb_s = wall_s * INSTANCE_GB
    return (
        f"| {what} | {count / cpu_s:,.0f} | {count / gb_s:,.0f} | {gb_s / count * USD_PER_GB_S * MILLION:,.2f} |"
    )


def document(outcomes: Outcomes, facts: Iterable[tuple[str, str]], *, quick: bool) -> str:
    """The page; one of a quick run says so."""
    machine = [f"| {name} | {value} |" for name, value in facts]
    parts = [
        INTRO,
        *([QUICK] if quick else []),
        "## On what\n",
        "| | |",
        "|---|---|",
        *machine,
        "",
        "## Goals\n",
        *goals(outcomes),
        "",
        WHY,
    ]
    parts += ["## Cold start\n", *starting(outcomes["cold-start"]), ""]
    parts += ["## Fetching\n", *fetching(outcomes), ""]
    parts += ["## The whole app\n", *day(outcomes["day"]), "", PRICES]
    parts += [f"![CPU seconds of each step of the day, by layer]({PICTURE})\n", GUARD, "## All cases\n"]
    for name, outcome in outcomes.items():
        if name not in ("cold-start", "day"):
            parts += lines_of(outcome)
    return "\n".join(parts).rstrip() + "\n"
