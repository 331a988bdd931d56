"""All KPIs, each defined once."""

from __future__ import annotations

from local.powerbi.kpi import Kpi
from local.powerbi.kpis_of_audit import AUDIT, INGEST
from local.powerbi.kpis_of_runs import RUNS
from local.powerbi.kpis_of_savings import SAVINGS
from local.powerbi.kpis_of_work import ACTIONS, MACHINES

KPIS: tuple[Kpi, ...] = (*RUNS, *SAVINGS, *ACTIONS, *MACHINES, *AUDIT, *INGEST)
