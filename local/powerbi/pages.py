"""The pages of the report: what each shows where. The report and its preview are both made from this."""

from __future__ import annotations

from local.powerbi.page import bars, cards, columns, combo, line, matrix, page, slicers, table

DAY = "Date[Date]"
RUN_ID = "Runs[Run ID]"

PAGES = (
    page(
        "Overview",
        (60, slicers(DAY, "Environments[Environment]", "Flows[Flow]", "Machines[Machine]")),
        (
            80,
            cards(
                "[Run Count]",
                "[Success Rate]",
                "[Failed Runs]",
                "[Median Run Time (s)]",
                "[P95 Run Time (s)]",
                "[Change of Runs]",
                "[Stuck Runs]",
            ),
        ),
        (
            220,
            (
                combo("Runs and error rate by day", DAY, "[Succeeded Runs]", "[Failed Runs]", "[Error Rate]"),
                bars("Failures by error", "Runs[Error Code]", "[Failed Runs]"),
                bars("Top failing actions", "Runs[Failed Action]", "[Failed Runs]"),
            ),
        ),
        (
            236,
            (
                line("Run time by day, in seconds", DAY, "[Median Run Time (s)]", "[P95 Run Time (s)]"),
                bars("Slowest actions, mean seconds", "Actions[Action Name]", "[Average Action Time (s)]"),
                matrix("Runs by hour and weekday (UTC)", "Date[Weekday]", "Hour[Hour]", "[Run Count]"),
            ),
        ),
    ),
    page(
        "Run details",
        (
            80,
            cards(
                "[Average Run Time (s)]",
                "[Average Queue Wait (s)]",
                "[Action Executions]",
                "[Failed Actions]",
                "[Action Time (s)]",
                "[Average Gap Between Actions (s)]",
            ),
        ),
        (
            100,
            (
                table(
                    "The run",
                    (
                        RUN_ID,
                        "Flows[Flow]",
                        "Machines[Machine]",
                        "Users[User]",
                        "Runs[Run Mode]",
                        "Runs[Status]",
                        "Runs[Started (UTC)]",
                        "Runs[Completed (UTC)]",
                        "Runs[Error Code]",
                        "Runs[Error Message]",
                        "Runs[Log Status]",
                    ),
                    "Runs[Started (UTC)]",
                ),
            ),
        ),
        (
            250,
            (
                table(
                    "Action log",
                    (
                        "Actions[Number]",
                        "Actions[Action Name]",
                        "Actions[Subflow]",
                        "Actions[Line]",
                        "Actions[Status]",
                        "Actions[Started (UTC)]",
                        "[Action Executions]",
                        "[Action Time (s)]",
                        "Actions[Inputs]",
                        "Actions[Outputs]",
                        "Actions[Error Message]",
                    ),
                    "Actions[Number]",
                ),
            ),
        ),
        (
            166,
            (
                columns("Time per action, in order, in seconds", "Actions[Number]", "[Action Time (s)]"),
                bars("Time by action, in seconds", "Actions[Action Name]", "[Action Time (s)]"),
            ),
        ),
        drill_through=RUN_ID,
    ),
    page(
        "Actions and errors",
        (60, slicers(DAY, "Environments[Environment]", "Flows[Flow]", "Actions[Module]")),
        (
            80,
            cards(
                "[Action Executions]",
                "[Failed Actions]",
                "[Action Error Rate]",
                "[Average Action Time (s)]",
                "[P95 Action Time (s)]",
                "[Share of Run Time]",
                "[Flaky Flow Days]",
            ),
        ),
        (
            240,
            (
                table(
                    "Actions",
                    (
                        "Actions[Action Name]",
                        "Actions[Module]",
                        "[Action Executions]",
                        "[Failed Actions]",
                        "[Action Error Rate]",
                        "[Average Action Time (s)]",
                        "[P95 Action Time (s)]",
                        "[Action Time (s)]",
                    ),
                    "[Action Time (s)]",
                ),
                line(
                    "Daily run time and its limits, in seconds",
                    DAY,
                    "[Average Run Time (s)]",
                    "[Average of Daily Run Times (s)]",
                    "[Upper Control Limit (s)]",
                    "[Lower Control Limit (s)]",
                ),
            ),
        ),
        (
            216,
            (
                table(
                    "Failed runs (drill through for their log)",
                    (
                        RUN_ID,
                        "Flows[Flow]",
                        "Runs[Started (UTC)]",
                        "Runs[Error Code]",
                        "Runs[Failed Action]",
                        "[Failed Runs]",
                    ),
                    "[Failed Runs]",
                ),
                bars("Failures by flow", "Flows[Flow]", "[Failed Runs]", "[Hours Between Failures]"),
            ),
        ),
    ),
    page(
        "Machines",
        (60, slicers(DAY, "Environments[Environment]", "Machine Groups[Machine Group]", "Machines[Machine]")),
        (
            80,
            cards(
                "[Machine Utilisation]",
                "[Machine Idle Share]",
                "[Busy Hours]",
                "[Most Concurrent Runs]",
                "[Machines That Ran]",
                "[Average Queue Wait (s)]",
                "[P95 Queue Wait (s)]",
            ),
        ),
        (
            220,
            (
                bars("Utilisation by machine", "Machines[Machine]", "[Machine Utilisation]"),
                line("Most runs at once by day", DAY, "[Most Concurrent Runs]"),
                line("Queue wait by day, in seconds", DAY, "[Average Queue Wait (s)]", "[P95 Queue Wait (s)]"),
            ),
        ),
        (
            236,
            (
                columns("Busy hours by day", DAY, "[Busy Hours]"),
                bars("Failures by machine", "Machines[Machine]", "[Failed Runs]"),
                columns(
                    "Attended, unattended and local runs by day",
                    DAY,
                    "[Attended Runs]",
                    "[Unattended Runs]",
                    "[Local Runs]",
                ),
            ),
        ),
    ),
    page(
        "Savings",
        (60, slicers(DAY, "Environments[Environment]", "Flows[Flow]", "Machines[Machine]")),
        (
            80,
            cards(
                "[Hours Saved]",
                "[Money Saved]",
                "[Time Efficiency]",
                "[Succeeded Runs]",
                "[Failed Runs]",
                "[Cancelled Runs]",
            ),
        ),
        (
            220,
            (
                columns("Hours saved by day, by the minutes in the parameters", DAY, "[Hours Saved]"),
                columns("Money saved by day, by the rates in the parameters", DAY, "[Money Saved]"),
            ),
        ),
        (
            236,
            (
                bars("Hours saved by flow", "Flows[Flow]", "[Hours Saved]"),
                table(
                    "Each flow",
                    (
                        "Flows[Flow]",
                        "[Succeeded Runs]",
                        "[Failed Runs]",
                        "[Hours Saved]",
                        "[Time Efficiency]",
                        "[Money Saved]",
                    ),
                    "[Hours Saved]",
                ),
            ),
        ),
    ),
    page(
        "Audit",
        (60, slicers(DAY, "Environments[Environment]", "Audit Events[Operation Group]", "Users[User]")),
        (
            80,
            cards(
                "[Audit Event Count]",
                "[Active Users]",
                "[App Launches]",
                "[App Starts]",
                "[App Users]",
                "[Sharing Changes]",
                "[Policy Changes]",
                "[Admin Operations After Hours]",
                "[First-Seen Users]",
            ),
        ),
        (
            220,
            (
                columns("Operations by day", DAY, "[Audit Event Count]"),
                columns("App launches and users by day", DAY, "[App Launches]", "[App Users]"),
                bars("Operations", "Audit Events[Operation]", "[Audit Event Count]"),
            ),
        ),
        (
            236,
            (
                bars("Actors", "Users[User]", "[Audit Event Count]"),
                columns(
                    "Flows, connections and connectors created or shared, by day",
                    DAY,
                    "[Flows Created]",
                    "[Connections Created]",
                    "[Custom Connectors Created]",
                    "[Sharing Changes]",
                ),
                table(
                    "Policy and gateway changes, by actor",
                    (
                        "Users[User]",
                        "[Policy Changes]",
                        "[Policy Evaluations]",
                        "[Gateway Changes]",
                        "[First-Seen Addresses]",
                    ),
                    "[Policy Changes]",
                ),
            ),
        ),
    ),
    page(
        "Ingest health",
        (60, slicers(DAY, "Ingest Runs[Function]", "Ingest Runs[Source]", "Ingest Runs[Status]")),
        (
            80,
            cards(
                "[Last Success (UTC)]",
                "[Lag (min)]",
                "[Failed Ingest Runs]",
                "[Failed Rows]",
                "[Gap Count]",
                "[Pending Logs]",
                "[Missing Logs]",
                "[Unreadable Logs]",
                "[Unknown Operations]",
            ),
        ),
        (
            220,
            (
                table(
                    "Each function and source",
                    (
                        "Ingest Runs[Function]",
                        "Ingest Runs[Source]",
                        "[Last Success (UTC)]",
                        "[Lag (min)]",
                        "[Rows per Run]",
                        "[Failed Ingest Runs]",
                    ),
                    "Ingest Runs[Function]",
                ),
                columns("Failed runs of functions by day", DAY, "[Failed Ingest Runs]"),
            ),
        ),
        (
            236,
            (
                table(
                    "Gaps of all times: what was lost, may be missing, or came another way",
                    (
                        "Gaps[Source]",
                        "Gaps[From (UTC)]",
                        "Gaps[To (UTC)]",
                        "Gaps[Is Loss]",
                        "Gaps[Kind]",
                        "Gaps[Subject]",
                        "Gaps[Reason]",
                    ),
                    "Gaps[From (UTC)]",
                ),
                bars("Action logs by state", "Runs[Log Status]", "[Run Count]"),
            ),
        ),
    ),
)
