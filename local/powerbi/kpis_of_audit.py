"""The KPIs of the audit trail, and of how well the app keeps up."""

from __future__ import annotations

from local.powerbi.kpi import COUNT, INSTANT, NOW, ONE_DECIMAL, Kpi
from shared.audit.operations import GROUPS


def _audit(name: str, words: str, dax: str, sql: str) -> Kpi:
    return Kpi("Audit Events", "Audit", name, words, dax, COUNT, sql)


def _events(name: str, words: str, operations: tuple[str, ...]) -> Kpi:
    """Events of some operations; both Power BI and this project compare names without regard to case."""
    dax = ", ".join(f'"{operation}"' for operation in operations)
    sql = ", ".join(f"'{operation.lower()}'" for operation in operations)
    return _audit(
        name,
        f"{words}: events of {', '.join(operations)}.",
        f"CALCULATE ( [Audit Event Count], KEEPFILTERS ( 'Audit Events'[Operation] IN {{ {dax} }} ) )",
        f"SELECT count(*) FROM fact_audit_event WHERE lower(operation) IN ({sql})",
    )


def _group(name: str, words: str, *groups: str) -> Kpi:
    dax = ", ".join(f'"{group}"' for group in groups)
    sql = ", ".join(f"'{group}'" for group in groups)
    return _audit(
        name,
        f"{words}: events of the group{'s' if len(groups) > 1 else ''} {', '.join(groups)}.",
        f"CALCULATE ( [Audit Event Count], KEEPFILTERS ( 'Audit Events'[Operation Group] IN {{ {dax} }} ) )",
        f"SELECT count(*) FROM fact_audit_event WHERE operation_group IN ({sql})",
    )


ADMIN_GROUPS = ("Administration", "App control", "Data policy", "Environment", "Environment group")
SHARING_GROUPS = tuple(group for group in GROUPS if group.endswith(" sharing"))
LAUNCHES = "KEEPFILTERS ( 'Audit Events'[Operation] = \"LaunchPowerApp\" )"
MINUTE = "INT ( ROUND ( CONVERT ( 'Audit Events'[Created (UTC)], DOUBLE ) * 86400000, 0 ) / 60000 )"
"""Rounded to milliseconds first: as a number of days a full minute can lie a little before itself."""

AUDIT = (
    _audit(
        "Audit Event Count",
        "Audit events.",
        "COUNTROWS ( 'Audit Events' )",
        "SELECT count(*) FROM fact_audit_event",
    ),
    _audit(
        "Active Users",
        "Different users in audit events.",
        "DISTINCTCOUNTNOBLANK ( 'Audit Events'[User ID] )",
        "SELECT count(DISTINCT user_id) FROM fact_audit_event",
    ),
    _events("App Launches", "Launches of apps, as the Center of Excellence kit counts them", ("LaunchPowerApp",)),
    _audit(
        "App Starts",
        "Starts of apps: several records of the same user, app and minute, as one start can leave, count once.",
        "COUNTROWS ( DISTINCT ( SELECTCOLUMNS ( CALCULATETABLE ( 'Audit Events', "
        f"{LAUNCHES} ), \"User\", 'Audit Events'[User ID], \"App\", 'Audit Events'[App ID], "
        f'"Minute", {MINUTE} ) ) )',
        "SELECT count(DISTINCT (user_id, app_id, date_trunc('minute', created_utc))) FROM fact_audit_event "
        "WHERE lower(operation) = 'launchpowerapp'",
    ),
    _audit(
        "App Users",
        "Different users who launched an app, as the Center of Excellence kit counts them.",
        f"CALCULATE ( DISTINCTCOUNTNOBLANK ( 'Audit Events'[User ID] ), {LAUNCHES} )",
        "SELECT count(DISTINCT user_id) FROM fact_audit_event WHERE lower(operation) = 'launchpowerapp'",
    ),
    _audit(
        "Apps in Use",
        "Different apps that were launched.",
        f"CALCULATE ( DISTINCTCOUNTNOBLANK ( 'Audit Events'[App ID] ), {LAUNCHES} )",
        "SELECT count(DISTINCT app_id) FROM fact_audit_event WHERE lower(operation) = 'launchpowerapp'",
    ),
    _events("Flows Created", "New cloud flows", ("CreateFlow",)),
    _events("Flows Edited", "Changed cloud flows", ("EditFlow",)),
    _events("Flows Deleted", "Deleted cloud flows", ("DeleteFlow",)),
    _events("Connections Created", "New or renewed connections", ("PutConnection",)),
    _events("Custom Connectors Created", "New or renewed custom connectors", ("CreateApi", "PutApi")),
    _group("Sharing Changes", "Access given or taken", *SHARING_GROUPS),
    _group("Gateway Changes", "Changes of gateways", "Gateway"),
    _events(
        "Policy Changes",
        "Changes of data policies",
        ("CreateDlpPolicy", "UpdateDlpPolicy", "DeleteDlpPolicy", "GovernanceApiPolicyOperation"),
    ),
    _events(
        "Policy Evaluations",
        "Apps and connections weighed against data policies",
        ("AppDlpEvaluationResultChange", "ConnectionDlpEvaluationResult"),
    ),
    _audit(
        "Admin Operations After Hours",
        "Events of administration, app control, data policies, environments and environment groups on a "
        "Saturday or "
        "Sunday, or before 06:00 or from 20:00 on, all UTC.",
        "CALCULATE ( [Audit Event Count], KEEPFILTERS ( 'Audit Events'[Operation Group] IN { "
        + ", ".join(f'"{group}"' for group in ADMIN_GROUPS)
        + " } ), FILTER ( 'Audit Events', WEEKDAY ( 'Audit Events'[Created (UTC)], 2 ) > 5 "
        "|| HOUR ( 'Audit Events'[Created (UTC)] ) < 6 || HOUR ( 'Audit Events'[Created (UTC)] ) >= 20 ) )",
        "SELECT count(*) FROM fact_audit_event WHERE operation_group IN ("
        + ", ".join(f"'{group}'" for group in ADMIN_GROUPS)
        + ") AND (isodow(created_utc) > 5 OR hour(created_utc) < 6 OR hour(created_utc) >= 20)",
    ),
    _audit(
        "First-Seen Users",
        "Users in the selected events who are in none of the model's events before the first selected day.",
        "VAR FirstDay = MIN ( 'Date'[Date] )\n"
        "VAR Before = CALCULATETABLE ( VALUES ( 'Audit Events'[User ID] ), ALL ( 'Audit Events' ), "
        "'Date'[Date] < FirstDay )\n"
        "RETURN COUNTROWS ( EXCEPT ( FILTER ( VALUES ( 'Audit Events'[User ID] ), "
        "'Audit Events'[User ID] <> BLANK () ), Before ) )",
        "SELECT count(*) FROM (SELECT user_id FROM fact_audit_event GROUP BY user_id "
        "HAVING user_id IS NOT NULL AND min(created_utc::DATE) BETWEEN $first AND $last)",
    ),
    _audit(
        "First-Seen Addresses",
        "Client addresses in the selected events that are in none of the model's before the first selected day.",
        "VAR FirstDay = MIN ( 'Date'[Date] )\n"
        "VAR Before = CALCULATETABLE ( VALUES ( 'Audit Events'[Client IP] ), ALL ( 'Audit Events' ), "
        "'Date'[Date] < FirstDay )\n"
        "RETURN COUNTROWS ( EXCEPT ( FILTER ( VALUES ( 'Audit Events'[Client IP] ), "
        "'Audit Events'[Client IP] <> BLANK () ), Before ) )",
        "SELECT count(*) FROM (SELECT client_ip FROM fact_audit_event GROUP BY client_ip "
        "HAVING client_ip IS NOT NULL AND min(created_utc::DATE) BETWEEN $first AND $last)",
    ),
    _group("Unknown Operations", "Operations that this app does not know, kept all the same", "Other"),
)


def _ingest(name: str, words: str, dax: str, format_: str, sql: str) -> Kpi:
    return Kpi("Ingest Runs", "Ingest", name, words, dax, format_, sql)


INGEST = (
    _ingest(
        "Last Success (UTC)",
        "When a function last began a run that succeeded.",
        "CALCULATE ( MAX ( 'Ingest Runs'[At (UTC)] ), KEEPFILTERS ( 'Ingest Runs'[Status] = \"succeeded\" ) )",
        INSTANT,
        "SELECT max(at_utc) FROM fact_ingest WHERE status = 'succeeded'",
    ),
    _ingest(
        "Lag (min)",
        "Minutes from the end of the newest time that was read to now.",
        "VAR Newest = CALCULATE ( MAX ( 'Ingest Runs'[Window To (UTC)] ), "
        "KEEPFILTERS ( 'Ingest Runs'[Status] = \"succeeded\" ) )\n"
        "RETURN IF ( ISBLANK ( Newest ), BLANK (), CONVERT ( UTCNOW () - Newest, DOUBLE ) * 1440 )",
        ONE_DECIMAL,
        f"SELECT epoch({NOW} - max(window_to_utc)) / 60 FROM fact_ingest WHERE status = 'succeeded'",
    ),
    _ingest(
        "Rows per Run",
        "Mean number of rows that a function's run took.",
        "AVERAGE ( 'Ingest Runs'[Rows Written] )",
        ONE_DECIMAL,
        "SELECT avg(rows_written) FROM fact_ingest",
    ),
    _ingest(
        "Failed Rows",
        "Rows that could not be taken.",
        "SUM ( 'Ingest Runs'[Rows Failed] )",
        COUNT,
        "SELECT sum(rows_failed) FROM fact_ingest",
    ),
    _ingest(
        "Failed Ingest Runs",
        "Runs of functions that failed.",
        "CALCULATE ( COUNTROWS ( 'Ingest Runs' ), KEEPFILTERS ( 'Ingest Runs'[Status] = \"failed\" ) )",
        COUNT,
        "SELECT count(*) FROM fact_ingest WHERE status = 'failed'",
    ),
    Kpi(
        "Gaps",
        "Ingest",
        "Gap Count",
        "Times in which something was lost or may be missing; what is told of and kept here is not counted.",
        "CALCULATE ( COUNTROWS ( Gaps ), KEEPFILTERS ( NOT ( Gaps[Is Loss] == FALSE () ) ) )",
        COUNT,
        "SELECT count(*) FROM fact_gap WHERE is_loss IS NOT FALSE",
    ),
)
