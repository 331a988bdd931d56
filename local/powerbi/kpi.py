"""A KPI: defined once, in words, in DAX for the model, and in SQL to be computed a second time."""

from __future__ import annotations

from dataclasses import dataclass

COUNT = "#,##0"
PERCENT = "0.0%"
ONE_DECIMAL = "#,##0.0"
TWO_DECIMALS = "#,##0.00"
INSTANT = "General Date"

FINISHED = "('Succeeded', 'Failed', 'Cancelled')"
FINISHED_DAX = 'Runs[Outcome] IN { "Succeeded", "Failed", "Cancelled" }'
LEAF_ACTIONS = "fact_flow_action WHERE is_leaf"
TIMED_RUNS = f"fact_flow_session WHERE outcome IN {FINISHED}"
NOW = "$now"
"""What stands in SQL for the moment of looking."""


@dataclass(frozen=True)
class Kpi:
    """A measure of the model. `sql` is one value over the published tables, each a view of its own name."""

    table: str
    folder: str
    name: str
    words: str
    dax: str
    format: str
    sql: str
