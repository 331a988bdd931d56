"""A few answers that Power BI would give, read back from the published tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from local.reconciliation import PublishedTables
from shared.schema import FACT_AUDIT_EVENT, FACT_FLOW_ACTION, FACT_FLOW_SESSION

MOST = 5


def answers(tables: PublishedTables) -> Iterator[str]:
    yield from _runs(tables.read(FACT_FLOW_SESSION))
    yield from _actions(tables.read(FACT_FLOW_ACTION))
    yield from _events(tables.read(FACT_AUDIT_EVENT))


def _runs(runs: pa.Table) -> Iterator[str]:
    outcomes = dict(_counts(runs, ["outcome"]))
    succeeded, failed = outcomes.get(("Succeeded",), 0), outcomes.get(("Failed",), 0)
    if succeeded + failed:
        yield f"Success rate: {succeeded / (succeeded + failed):.1%} of {succeeded + failed:,} runs"
    by_code = _counts(runs.filter(pc.equal(runs.column("outcome"), "Failed")), ["error_code"])
    yield from _list("Failures by error", ((code or "no code", f"{count:,}") for (code,), count in by_code))


def _actions(actions: pa.Table) -> Iterator[str]:
    failed = actions.filter(pc.equal(actions.column("status"), "Failed"))
    failing = _counts(failed, ["module", "system_action"])
    yield from _list("Top failing actions", ((f"{module}.{name}", f"{n:,}") for (module, name), n in failing))
    leaves = actions.filter(actions.column("is_leaf"))
    times = leaves.group_by(["module", "system_action"]).aggregate(
        [("duration_ms", "mean"), ("duration_ms", "count")]
    )
    slowest = times.sort_by([("duration_ms_mean", "descending")]).slice(0, MOST).to_pylist()
    yield from _list(
        "Slowest actions, on average",
        (
            (f"{row['module']}.{row['system_action']}", f"{row['duration_ms_mean'] / 1000:.1f} s")
            for row in slowest
            if row["duration_ms_mean"] is not None
        ),
    )


def _events(events: pa.Table) -> Iterator[str]:
    yield from _list(
        "Audit events by operation", ((name, f"{n:,}") for (name,), n in _counts(events, ["operation"]))
    )


def _counts(rows: pa.Table, columns: list[str]) -> list[tuple[tuple[str, ...], int]]:
    """How often each combination of values comes, the most frequent first."""
    counted = Counter(tuple(row.values()) for row in rows.select(columns).to_pylist())
    return counted.most_common()


def _list(title: str, items: Iterator[tuple[str, str]]) -> Iterator[str]:
    shown = [pair for pair, _ in zip(items, range(MOST), strict=False)]
    if shown:
        yield f"{title}: " + ", ".join(f"{name} {value}" for name, value in shown)
