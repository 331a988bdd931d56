"""The KPIs of what runs save, by the minutes and rates in the model's parameters."""

from __future__ import annotations

from local.powerbi.kpi import ONE_DECIMAL, PERCENT, TWO_DECIMALS, Kpi
from local.powerbi.work import ALL_OTHERS, WORK_TABLE

MINUTES = (
    f"COALESCE ( LOOKUPVALUE ( '{WORK_TABLE}'[Minutes], '{WORK_TABLE}'[Flow ID], Runs[Flow ID] ), "
    f"LOOKUPVALUE ( '{WORK_TABLE}'[Minutes], '{WORK_TABLE}'[Flow ID], \"{ALL_OTHERS}\" ) )"
)
HOURS_SQL = (
    f"SELECT sum(coalesce(own.minutes, (SELECT minutes FROM work_by_hand WHERE flow_id = '{ALL_OTHERS}'))) / 60 "
    "FROM fact_flow_session AS runs LEFT JOIN work_by_hand AS own USING (flow_id) WHERE runs.outcome = 'Succeeded'"
)


def _rate(column: str) -> str:
    return f"MAX ( '{WORK_TABLE}'[{column}] )"


def _savings(name: str, words: str, dax: str, format_: str, sql: str) -> Kpi:
    return Kpi("Runs", "Savings", name, words, dax, format_, sql)


SAVINGS = (
    _savings(
        "Hours Saved",
        "Hours that people would have taken for the work of the succeeded runs: each counts with the minutes of "
        "its flow in MinutesOfFlows, else with MinutesByHand.",
        f"DIVIDE ( SUMX ( VALUES ( Runs[Flow ID] ), [Succeeded Runs] * {MINUTES} ), 60 )",
        ONE_DECIMAL,
        HOURS_SQL,
    ),
    _savings(
        "Time Efficiency",
        "Share of the time by hand that succeeded runs were quicker than people; negative where they were slower.",
        "VAR OfRobots = DIVIDE ( CALCULATE ( SUM ( Runs[Duration (ms)] ), "
        'KEEPFILTERS ( Runs[Outcome] = "Succeeded" ) ), 3600000 )\n'
        "RETURN DIVIDE ( [Hours Saved] - OfRobots, [Hours Saved] )",
        PERCENT,
        f"SELECT (hours - robots) / hours FROM (SELECT ({HOURS_SQL}) AS hours, "
        "(SELECT sum(duration_ms) / 3600000 FROM fact_flow_session WHERE outcome = 'Succeeded') AS robots)",
    ),
    _savings(
        "Money Saved",
        "Hours saved at HourlyRate, less CostOfRun for each succeeded or failed run and CostOfFailure for each "
        "failed one; a cancelled run saves and costs nothing.",
        f"[Hours Saved] * {_rate('Hourly Rate')} "
        f"- ( [Succeeded Runs] + [Failed Runs] ) * {_rate('Cost of Run')} "
        f"- [Failed Runs] * {_rate('Cost of Failure')}",
        TWO_DECIMALS,
        f"SELECT coalesce(({HOURS_SQL}), 0) * max(hourly_rate) "
        "- (SELECT count(*) FROM fact_flow_session WHERE outcome IN ('Succeeded', 'Failed')) * max(cost_of_run) "
        "- (SELECT count(*) FROM fact_flow_session WHERE outcome = 'Failed') * max(cost_of_failure) "
        "FROM work_by_hand",
    ),
)
