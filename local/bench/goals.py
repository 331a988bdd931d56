"""What the app is meant to reach, and what a run of the cases says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local.bench.cases.audit import PLAIN as AUDIT_PLAIN
from local.bench.cases.audit import TO_PARQUET as AUDIT_TO_PARQUET
from local.bench.cases.fetching import LATENCY_S
from local.bench.cases.logs import LIMIT, PLAIN, TO_PARQUET
from local.bench.cases.publishing import DUCKDB, HOURLY, ONE_FILE
from local.bench.measuring import APP, MEBIBYTE
from local.bench.running import Outcome

Outcomes = Mapping[str, Outcome]
PAGES = ("health", "status")
SERVICE_BLOBS_PER_S = 33
BLOBS_IN_FLIGHT = 36  # what the collector allows
AT_LEAST, AT_MOST = "at least", "at most"


@dataclass(frozen=True)
class Goal:
    """`value` is in `unit`, and is reached `at least` or `at most` at `target`."""

    what: str
    bound: str
    target: float
    unit: str
    value: Callable[[Outcomes], float]

    def judged(self, outcomes: Outcomes) -> tuple[float, bool] | None:
        """The value and whether it is reached; `None` where its case, or one of its ways, did not run."""
        try:
            value = self.value(outcomes)
        except KeyError:
            return None
        return value, value >= self.target if self.bound == AT_LEAST else value <= self.target

    def missed_by(self, value: float) -> float:
        """How many times too little or too much."""
        return self.target / value if self.bound == AT_LEAST else value / self.target


def ratio(case: str, way: str) -> Callable[[Outcomes], float]:
    """How many times the CPU time of the app another way takes."""
    return lambda outcomes: outcomes[case].results[way].cpu_ratio


def against(case: str, limit: str) -> Callable[[Outcomes], float]:
    """How many times the CPU time of a limit the app takes."""
    return lambda outcomes: 1 / outcomes[case].results[limit].cpu_ratio


def between(case: str, one: str, other: str) -> Callable[[Outcomes], float]:
    """How many times the CPU time of one way another takes."""
    return lambda outcomes: outcomes[case].results[other].cpu_ratio / outcomes[case].results[one].cpu_ratio


def peak(case: str) -> Callable[[Outcomes], float]:
    return lambda outcomes: outcomes[case].cost(APP).peak_mib


def _in_flight(outcomes: Outcomes) -> float:
    """The peak as a part of what as many blobs as are under way at once weigh."""
    audit = outcomes["audit-5"]
    blob_mib = audit.size.bytes / audit.size.units * 500 / MEBIBYTE
    return audit.cost(APP).peak_mib / (blob_mib * BLOBS_IN_FLIGHT)


def rate(outcomes: Outcomes, threads: int) -> float:
    outcome = outcomes[f"fetch-{threads}"]
    return outcome.size.units / outcome.cost(APP).wall_s


def _share_of_ceiling(outcomes: Outcomes) -> float:
    return 100 * rate(outcomes, 16) / (16 / LATENCY_S)


def _core_share(outcomes: Outcomes) -> float:
    outcome = outcomes["fetch-16"]
    return outcome.cost(APP).cpu_s / outcome.size.units * SERVICE_BLOBS_PER_S


def _needless(outcomes: Outcomes) -> float:
    results = outcomes["cold-start"].results
    index = len({"pyarrow", "azure.storage.blob"} & set(results[APP].cost.figures["heavy"]))
    return index + sum("pyarrow" in results[f"first {name}"].cost.figures["heavy"] for name in PAGES)


def _requests_per_run(outcomes: Outcomes) -> float:
    outcome = outcomes["messages"]
    return outcome.cost(APP).figures["requests"] / outcome.size.units


GOALS = (
    Goal(
        "log of 10,000 actions, beside the plain way",
        AT_LEAST,
        6,
        "times",
        between("log-10000", TO_PARQUET, PLAIN),
    ),
    Goal(
        "log of 10,000 actions, beside simdjson's tape and the write",
        AT_MOST,
        2.5,
        "times",
        between("log-10000", LIMIT, TO_PARQUET),
    ),
    Goal("log of 512 MiB, beside the plain way", AT_LEAST, 7, "times", between("log-512-mib", TO_PARQUET, PLAIN)),
    Goal("log of 512 MiB, peak above idle", AT_MOST, 96, "MiB", peak("log-512-mib")),
    Goal("log of 100 actions, CPU", AT_MOST, 5, "ms", lambda outcomes: outcomes["log-100"].cost(APP).cpu_s * 1000),
    Goal("storage requests a run, in messages of twenty", AT_MOST, 3, "requests", _requests_per_run),
    Goal(
        "audit, 5 % wanted, beside the plain way",
        AT_LEAST,
        7,
        "times",
        between("audit-5", AUDIT_TO_PARQUET, AUDIT_PLAIN),
    ),
    Goal(
        "audit, peak beside the weight of 36 blobs, which are under way at once", AT_MOST, 1, "times", _in_flight
    ),
    Goal(
        "1,000 files into 5,000,000 rows, beside DuckDB's copy", AT_LEAST, 1, "times", ratio("publish-5m", DUCKDB)
    ),
    Goal("1,000 files into 5,000,000 rows, peak above idle", AT_MOST, 400, "MiB", peak("publish-5m")),
    Goal(
        "1,000 files into the last two hours of such a day, hourly grain, beside DuckDB's copy of the day",
        AT_LEAST,
        5,
        "times",
        between("publish-5m-recent", HOURLY, DUCKDB),
    ),
    Goal(
        "1,000 files into an empty day, beside reading one file",
        AT_MOST,
        3,
        "times",
        against("publish-empty", ONE_FILE),
    ),
    Goal("16 threads at 20 ms, of the rate that the latency allows", AT_LEAST, 85, "%", _share_of_ceiling),
    Goal("33 blobs a second, of one core", AT_MOST, 0.25, "cores", _core_share),
    Goal(
        "cold start: imports and indexing, CPU",
        AT_MOST,
        0.6,
        "s",
        lambda outcomes: outcomes["cold-start"].cost(APP).cpu_s,
    ),
    Goal("places where something heavy is imported and not needed", AT_MOST, 0, "places", _needless),
)
