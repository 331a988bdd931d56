"""The KPIs of actions and machines."""

from __future__ import annotations

from local.powerbi.kpi import (
    COUNT,
    FINISHED_DAX,
    LEAF_ACTIONS,
    ONE_DECIMAL,
    PERCENT,
    TIMED_RUNS,
    TWO_DECIMALS,
    Kpi,
)


def _actions(name: str, words: str, dax: str, format_: str, sql: str) -> Kpi:
    return Kpi("Actions", "Actions", name, words, dax, format_, sql)


OF_RUN = "(SELECT max(ended_utc) - min(started_utc) AS span, sum(duration_ms) AS busy_ms, count(*) AS n FROM \
fact_flow_action WHERE depth = 0 AND ended_utc IS NOT NULL GROUP BY session_id)"

ACTIONS = (
    _actions(
        "Action Executions",
        "Actions executed, containers included.",
        "COUNTROWS ( Actions )",
        COUNT,
        "SELECT count(*) FROM fact_flow_action",
    ),
    _actions(
        "Failed Actions",
        "Executed actions with the status Failed, those handled by the flow included.",
        'CALCULATE ( [Action Executions], KEEPFILTERS ( Actions[Status] = "Failed" ) )',
        COUNT,
        "SELECT count(*) FROM fact_flow_action WHERE status = 'Failed'",
    ),
    _actions(
        "Action Error Rate",
        "Failed actions out of executed ones.",
        "DIVIDE ( [Failed Actions], [Action Executions] )",
        PERCENT,
        "SELECT count(*) FILTER (status = 'Failed') / count(*) FROM fact_flow_action",
    ),
    _actions(
        "Action Time (s)",
        "Time of leaf actions, in seconds; containers are left out, for they hold the time of what is in them.",
        "DIVIDE ( CALCULATE ( SUM ( Actions[Duration (ms)] ), KEEPFILTERS ( Actions[Is Leaf] = TRUE () "
        ") ), 1000 )",
        ONE_DECIMAL,
        f"SELECT sum(duration_ms) / 1000 FROM {LEAF_ACTIONS}",
    ),
    _actions(
        "Average Action Time (s)",
        "Mean time of a leaf action, in seconds.",
        "DIVIDE ( CALCULATE ( AVERAGE ( Actions[Duration (ms)] ), KEEPFILTERS ( Actions[Is Leaf] = TRUE () ) ), "
        "1000 )",
        TWO_DECIMALS,
        f"SELECT avg(duration_ms) / 1000 FROM {LEAF_ACTIONS}",
    ),
    _actions(
        "P95 Action Time (s)",
        "95th percentile, interpolated, of the times of leaf actions, in seconds.",
        "DIVIDE ( CALCULATE ( PERCENTILE.INC ( Actions[Duration (ms)], 0.95 ), "
        "KEEPFILTERS ( Actions[Is Leaf] = TRUE () ) ), 1000 )",
        TWO_DECIMALS,
        f"SELECT quantile_cont(duration_ms, 0.95) / 1000 FROM {LEAF_ACTIONS}",
    ),
    _actions(
        "Share of Run Time",
        "Time of leaf actions out of the run time of the finished runs selected whose log is in the model.",
        "VAR FirstRun = CALCULATE ( MIN ( Actions[Created (UTC)] ), ALL ( Actions ) )\n"
        f"RETURN DIVIDE ( [Action Time (s)] * 1000, CALCULATE ( SUM ( Runs[Duration (ms)] ), "
        f'KEEPFILTERS ( {FINISHED_DAX} ), KEEPFILTERS ( Runs[Log Status] = "loaded" ), '
        "KEEPFILTERS ( Runs[Created (UTC)] >= FirstRun ) ) )",
        PERCENT,
        f"SELECT (SELECT sum(duration_ms) FROM {LEAF_ACTIONS}) / (SELECT sum(duration_ms) FROM {TIMED_RUNS} "
        "AND log_status = 'loaded' AND created_utc >= (SELECT min(created_utc) FROM all_fact_flow_action))",
    ),
    _actions(
        "Average Gap Between Actions (s)",
        "Mean time from the end of a top-level action to the start of the next one of its run, in seconds.",
        "VAR OfRuns = ADDCOLUMNS (\n"
        "\tVALUES ( Actions[Run ID] ),\n"
        '\t"@Gaps (ms)", CALCULATE ( CONVERT ( MAX ( Actions[Ended (UTC)] ) - MIN ( Actions[Started (UTC)] ), '
        "DOUBLE ) * 86400000 - SUM ( Actions[Duration (ms)] ), Actions[Depth] = 0 ),\n"
        '\t"@Gaps", CALCULATE ( COUNT ( Actions[Ended (UTC)] ) - 1, Actions[Depth] = 0 )\n'
        ")\n"
        "VAR WithGaps = FILTER ( OfRuns, [@Gaps] > 0 )\n"
        "RETURN DIVIDE ( SUMX ( WithGaps, [@Gaps (ms)] ), SUMX ( WithGaps, [@Gaps] ) * 1000 )",
        TWO_DECIMALS,
        f"SELECT sum(epoch_ms(span) - busy_ms) / (sum(n - 1) * 1000) FROM {OF_RUN} WHERE n > 1",
    ),
)


def _hours(name: str, words: str, dax: str, format_: str, sql: str) -> Kpi:
    return Kpi("Machine Hours", "Machines", name, words, dax, format_, sql)


MACHINES = (
    _hours(
        "Busy Hours",
        "Hours in which machines had at least one run.",
        "DIVIDE ( SUM ( 'Machine Hours'[Busy (ms)] ), 3600000 )",
        ONE_DECIMAL,
        "SELECT sum(busy_ms) / 3600000 FROM fact_machine_hour",
    ),
    _hours(
        "Machine Utilisation",
        "Busy time out of the time there was: whole days from the first to the last with any machine "
        "time, for each "
        "machine that was busy in the selection.",
        "VAR Days = CALCULATE ( DATEDIFF ( MIN ( 'Machine Hours'[Date] ), MAX ( 'Machine Hours'[Date] "
        "), DAY ) + 1, "
        "REMOVEFILTERS ( Machines ) )\n"
        "RETURN DIVIDE ( SUM ( 'Machine Hours'[Busy (ms)] ), "
        "Days * 86400000 * DISTINCTCOUNTNOBLANK ( 'Machine Hours'[Machine ID] ) )",
        PERCENT,
        "SELECT sum(busy_ms) / ((max(hour_utc::DATE) - min(hour_utc::DATE) + 1) * 86400000 "
        "* count(DISTINCT machine_id)) FROM fact_machine_hour",
    ),
    _hours(
        "Machine Idle Share",
        "What machine utilisation leaves.",
        "IF ( ISBLANK ( [Machine Utilisation] ), BLANK (), 1 - [Machine Utilisation] )",
        PERCENT,
        "SELECT 1 - sum(busy_ms) / ((max(hour_utc::DATE) - min(hour_utc::DATE) + 1) * 86400000 "
        "* count(DISTINCT machine_id)) FROM fact_machine_hour",
    ),
    _hours(
        "Most Concurrent Runs",
        "Most runs that were active at once on one machine.",
        "MAX ( 'Machine Hours'[Max Concurrent] )",
        COUNT,
        "SELECT max(max_concurrent) FROM fact_machine_hour",
    ),
)
