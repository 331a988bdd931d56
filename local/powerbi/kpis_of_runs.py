"""The KPIs of runs."""

from __future__ import annotations

from local.powerbi.kpi import COUNT, FINISHED_DAX, NOW, ONE_DECIMAL, PERCENT, TIMED_RUNS, TWO_DECIMALS, Kpi

LAST_DAY = "MIN ( MAX ( 'Date'[Date] ), UTCTODAY () )"
"""The table of days goes on to the end of the year, and so does a selection of which only the begin was chosen."""
LAST_DAY_SQL = f"least($last, {NOW}::DATE)"
FIRST_BEFORE_SQL = f"$first - (greatest($first, {LAST_DAY_SQL}) - $first + 1)::INTEGER"


def _runs(name: str, words: str, dax: str, format_: str, sql: str, folder: str = "Runs") -> Kpi:
    return Kpi("Runs", folder, name, words, dax, format_, sql)


def _outcome(name: str, outcome: str) -> Kpi:
    return _runs(
        name,
        f"Runs whose outcome is {outcome}.",
        f'CALCULATE ( [Run Count], KEEPFILTERS ( Runs[Outcome] = "{outcome}" ) )',
        COUNT,
        f"SELECT count(*) FROM fact_flow_session WHERE outcome = '{outcome}'",
    )


def _run_mode(mode: str) -> Kpi:
    return _runs(
        f"{mode} Runs",
        f"Runs in the mode {mode}.",
        f'CALCULATE ( [Run Count], KEEPFILTERS ( Runs[Run Mode] = "{mode}" ) )',
        COUNT,
        f"SELECT count(*) FROM fact_flow_session WHERE run_mode = '{mode}'",
        "Mix",
    )


def _run_time(name: str, words: str, dax: str, sql: str) -> Kpi:
    return _runs(
        name,
        f"{words} of the run times of finished runs, in seconds; a run time is end minus start.",
        f"DIVIDE ( CALCULATE ( {dax}, KEEPFILTERS ( {FINISHED_DAX} ) ), 1000 )",
        ONE_DECIMAL,
        f"SELECT {sql} / 1000 FROM {TIMED_RUNS}",
        "Run time",
    )


RUNS = (
    _runs(
        "Run Count",
        "All runs of desktop flows.",
        "COUNTROWS ( Runs )",
        COUNT,
        "SELECT count(*) FROM fact_flow_session",
    ),
    _runs(
        "Finished Runs",
        "Runs whose outcome is Succeeded, Failed or Cancelled.",
        f"CALCULATE ( [Run Count], KEEPFILTERS ( {FINISHED_DAX} ) )",
        COUNT,
        f"SELECT count(*) FROM {TIMED_RUNS}",
    ),
    _outcome("Succeeded Runs", "Succeeded"),
    _outcome("Failed Runs", "Failed"),
    _outcome("Cancelled Runs", "Cancelled"),
    _runs(
        "Success Rate",
        "Succeeded runs out of succeeded and failed ones; cancelled, skipped and unfinished runs count "
        "for neither.",
        "DIVIDE ( [Succeeded Runs], [Succeeded Runs] + [Failed Runs] )",
        PERCENT,
        "SELECT count(*) FILTER (outcome = 'Succeeded') / count(*) FILTER (outcome IN ('Succeeded', 'Failed')) "
        "FROM fact_flow_session",
    ),
    _runs(
        "Error Rate",
        "What success rate leaves: failed runs out of succeeded and failed ones.",
        "DIVIDE ( [Failed Runs], [Succeeded Runs] + [Failed Runs] )",
        PERCENT,
        "SELECT count(*) FILTER (outcome = 'Failed') / count(*) FILTER (outcome IN ('Succeeded', 'Failed')) "
        "FROM fact_flow_session",
    ),
    _run_time("Average Run Time (s)", "Mean", "AVERAGE ( Runs[Duration (ms)] )", "avg(duration_ms)"),
    _run_time("Median Run Time (s)", "Median", "MEDIAN ( Runs[Duration (ms)] )", "median(duration_ms)"),
    _run_time(
        "P95 Run Time (s)",
        "95th percentile, interpolated,",
        "PERCENTILE.INC ( Runs[Duration (ms)], 0.95 )",
        "quantile_cont(duration_ms, 0.95)",
    ),
    _run_time("Longest Run Time (s)", "Greatest", "MAX ( Runs[Duration (ms)] )", "max(duration_ms)"),
    _runs(
        "Average Queue Wait (s)",
        "Mean time that unattended runs waited for a machine, in seconds.",
        'DIVIDE ( CALCULATE ( AVERAGE ( Runs[Queue (ms)] ), KEEPFILTERS ( Runs[Run Mode] = "Unattended" '
        ") ), 1000 )",
        ONE_DECIMAL,
        "SELECT avg(queue_ms) / 1000 FROM fact_flow_session WHERE run_mode = 'Unattended'",
        "Queue",
    ),
    _runs(
        "P95 Queue Wait (s)",
        "95th percentile, interpolated, of the time that unattended runs waited for a machine, in seconds.",
        "DIVIDE ( CALCULATE ( PERCENTILE.INC ( Runs[Queue (ms)], 0.95 ), "
        'KEEPFILTERS ( Runs[Run Mode] = "Unattended" ) ), 1000 )',
        ONE_DECIMAL,
        "SELECT quantile_cont(queue_ms, 0.95) / 1000 FROM fact_flow_session WHERE run_mode = 'Unattended'",
        "Queue",
    ),
    _runs(
        "Hours Between Failures",
        "Run time of finished runs, in hours, for each failed run (mean time between failures, in time at work).",
        f"DIVIDE ( CALCULATE ( SUM ( Runs[Duration (ms)] ), KEEPFILTERS ( {FINISHED_DAX} ) ), "
        "[Failed Runs] * 3600000 )",
        TWO_DECIMALS,
        f"SELECT sum(duration_ms) / (count(*) FILTER (outcome = 'Failed') * 3600000) FROM {TIMED_RUNS}",
        "Reliability",
    ),
    _runs(
        "Days Since Last Failure",
        "Days from the end of the last failed run to the newest state of any run that the model holds.",
        "VAR LastFailure = CALCULATE ( MAX ( Runs[Completed (UTC)] ), "
        'KEEPFILTERS ( Runs[Outcome] = "Failed" ) )\n'
        "VAR Newest = CALCULATE ( MAX ( Runs[Ingested (UTC)] ), ALL ( Runs ) )\n"
        "RETURN IF ( ISBLANK ( LastFailure ), BLANK (), CONVERT ( Newest - LastFailure, DOUBLE ) )",
        ONE_DECIMAL,
        "SELECT epoch(max(ingested_utc) - max(completed_utc) FILTER (outcome = 'Failed')) / 86400 "
        "FROM fact_flow_session",
        "Reliability",
    ),
    _runs(
        "Flaky Flow Days",
        "Pairs of a flow and a day on which it both succeeded and failed.",
        "COUNTROWS ( FILTER ( SUMMARIZE ( Runs, Runs[Flow ID], Runs[Start Date] ), "
        "[Succeeded Runs] > 0 && [Failed Runs] > 0 ) )",
        COUNT,
        "SELECT count(*) FROM (SELECT 1 FROM fact_flow_session GROUP BY flow_id, start_date "
        "HAVING bool_or(outcome = 'Succeeded') AND bool_or(outcome = 'Failed'))",
        "Reliability",
    ),
    _runs(
        "Stuck Runs",
        "Runs that still run or wait, created more than 24 hours before the newest state that the model holds; "
        "those that were deleted at the source are left out.",
        "VAR Newest = CALCULATE ( MAX ( Runs[Ingested (UTC)] ), ALL ( Runs ) )\n"
        'RETURN CALCULATE ( [Run Count], KEEPFILTERS ( Runs[Outcome] IN { "Running", "Waiting" } ), '
        "KEEPFILTERS ( Runs[Created (UTC)] < Newest - 1 ), "
        "KEEPFILTERS ( ISBLANK ( Runs[Deleted At Source (UTC)] ) ) )",
        COUNT,
        "SELECT count(*) FROM fact_flow_session WHERE outcome IN ('Running', 'Waiting') "
        "AND created_utc < (SELECT max(ingested_utc) - INTERVAL 1 DAY FROM fact_flow_session) "
        "AND deleted_at_source_utc IS NULL",
        "Reliability",
    ),
    _runs(
        "Average of Daily Run Times (s)",
        "Center line of the control chart: mean over the selected days of each day's average run time, "
        "in seconds.",
        "IF ( ISBLANK ( [Average Run Time (s)] ), BLANK (), "
        "AVERAGEX ( ALLSELECTED ( 'Date'[Date] ), [Average Run Time (s)] ) )",
        ONE_DECIMAL,
        f"SELECT avg(of_day) FROM (SELECT avg(duration_ms) / 1000 AS of_day FROM {TIMED_RUNS} GROUP BY "
        f"start_date)",
        "Control chart",
    ),
    _runs(
        "Upper Control Limit (s)",
        "Center line plus three (population) standard deviations of the daily average run times, in seconds.",
        "IF ( ISBLANK ( [Average Run Time (s)] ), BLANK (), [Average of Daily Run Times (s)] "
        "+ 3 * STDEVX.P ( ALLSELECTED ( 'Date'[Date] ), [Average Run Time (s)] ) )",
        ONE_DECIMAL,
        "SELECT avg(of_day) + 3 * stddev_pop(of_day) FROM "
        f"(SELECT avg(duration_ms) / 1000 AS of_day FROM {TIMED_RUNS} GROUP BY start_date)",
        "Control chart",
    ),
    _runs(
        "Lower Control Limit (s)",
        "Center line minus three (population) standard deviations of the daily average run times; never below 0.",
        "IF ( ISBLANK ( [Average Run Time (s)] ), BLANK (), MAX ( 0, [Average of Daily Run Times (s)] "
        "- 3 * STDEVX.P ( ALLSELECTED ( 'Date'[Date] ), [Average Run Time (s)] ) ) )",
        ONE_DECIMAL,
        "SELECT greatest(0, avg(of_day) - 3 * stddev_pop(of_day)) FROM "
        f"(SELECT avg(duration_ms) / 1000 AS of_day FROM {TIMED_RUNS} GROUP BY start_date)",
        "Control chart",
    ),
    _runs(
        "Runs per Day, 7 Days",
        "Runs started in the seven days that end with the last selected one, today at the latest, divided by "
        "seven; none for days to come.",
        f"VAR LastDay = {LAST_DAY}\n"
        "RETURN IF ( MIN ( 'Date'[Date] ) > LastDay, BLANK (), DIVIDE ( CALCULATE ( [Run Count], "
        "DATESINPERIOD ( 'Date'[Date], LastDay, -7, DAY ) ), 7 ) )",
        ONE_DECIMAL,
        "SELECT count(*) / 7 FROM fact_flow_session "
        f"WHERE start_date BETWEEN {LAST_DAY_SQL} - 6 AND {LAST_DAY_SQL}",
        "Trend",
    ),
    _runs(
        "Runs Before",
        "Runs started in the days before the selected ones, as many days as are selected up to today.",
        f"VAR FirstDay = MIN ( 'Date'[Date] )\n"
        f"VAR Days = DATEDIFF ( FirstDay, MAX ( FirstDay, {LAST_DAY} ), DAY ) + 1\n"
        "RETURN CALCULATE ( [Run Count], DATESBETWEEN ( 'Date'[Date], FirstDay - Days, FirstDay - 1 ) )",
        COUNT,
        f"SELECT count(*) FROM fact_flow_session WHERE start_date BETWEEN {FIRST_BEFORE_SQL} AND $first - 1",
        "Trend",
    ),
    _runs(
        "Change of Runs",
        "Runs in the selected days against those in as many days before, as a share of the latter; days to come "
        "do not count.",
        "DIVIDE ( [Run Count] - [Runs Before], [Runs Before] )",
        PERCENT,
        "SELECT (count(*) FILTER (start_date BETWEEN $first AND $last) - count(*) FILTER (start_date < $first)) "
        "/ count(*) FILTER (start_date < $first) FROM fact_flow_session "
        f"WHERE start_date BETWEEN {FIRST_BEFORE_SQL} AND $last",
        "Trend",
    ),
    _run_mode("Attended"),
    _run_mode("Unattended"),
    _run_mode("Local"),
    _runs(
        "Flows That Ran",
        "Different desktop flows with a run.",
        "DISTINCTCOUNTNOBLANK ( Runs[Flow ID] )",
        COUNT,
        "SELECT count(DISTINCT flow_id) FROM fact_flow_session",
        "Mix",
    ),
    _runs(
        "Machines That Ran",
        "Different machines with a run.",
        "DISTINCTCOUNTNOBLANK ( Runs[Machine ID] )",
        COUNT,
        "SELECT count(DISTINCT machine_id) FROM fact_flow_session",
        "Mix",
    ),
    _runs(
        "Users That Ran",
        "Different owners of runs.",
        "DISTINCTCOUNTNOBLANK ( Runs[User ID] )",
        COUNT,
        "SELECT count(DISTINCT user_id) FROM fact_flow_session",
        "Mix",
    ),
    _runs(
        "Pending Logs",
        "Runs whose action log is still awaited.",
        'CALCULATE ( [Run Count], KEEPFILTERS ( Runs[Log Status] = "pending" ) )',
        COUNT,
        "SELECT count(*) FROM fact_flow_session WHERE log_status = 'pending'",
        "Logs",
    ),
    _runs(
        "Missing Logs",
        "Finished runs whose action log never came or can't be had: any state but loaded, pending and disabled.",
        f"CALCULATE ( [Run Count], KEEPFILTERS ( {FINISHED_DAX} ), "
        'KEEPFILTERS ( Runs[Log Status] IN { "absent", "too_large", "unreadable", "forbidden" } ) )',
        COUNT,
        f"SELECT count(*) FROM {TIMED_RUNS} AND log_status IN ('absent', 'too_large', 'unreadable', 'forbidden')",
        "Logs",
    ),
    _runs(
        "Unreadable Logs",
        "Runs whose action log came and could not be decoded.",
        'CALCULATE ( [Run Count], KEEPFILTERS ( Runs[Log Status] = "unreadable" ) )',
        COUNT,
        "SELECT count(*) FROM fact_flow_session WHERE log_status = 'unreadable'",
        "Logs",
    ),
)
