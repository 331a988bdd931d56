"""The Power Query side of the model: one parameter for the place, two for the time, two functions that read."""

from __future__ import annotations

from collections.abc import Iterable

from local.powerbi.model import M_TYPES, PARTITION_DATE, Lookup, ModelTable
from local.powerbi.work import ALL_OTHERS, COLUMNS, WorkByHand
from shared.schema import Column

PARAMETER = 'meta [IsParameterQuery = true, Type = "{}", IsParameterQueryRequired = true]'
OPTIONAL = PARAMETER.replace("Required = true", "Required = false")
WORK = WorkByHand()
PARAMETERS = {
    "ContainerUrl": (
        "Address of the container that the app publishes to.",
        f'"https://account.blob.core.windows.net/powerbi" {PARAMETER.format("Text")}',
    ),
    "RangeStart": (
        "Start of the time to load; the service sets it for each partition.",
        f"#datetime(2026, 1, 1, 0, 0, 0) {PARAMETER.format('DateTime')}",
    ),
    "RangeEnd": (
        "End of the time to load, itself not included.",
        f"#datetime(2031, 1, 1, 0, 0, 0) {PARAMETER.format('DateTime')}",
    ),
    "MinutesByHand": (
        "Minutes that a person takes for the work of one run.",
        f"{WORK.minutes} {PARAMETER.format('Number')}",
    ),
    "MinutesOfFlows": (
        "The same for flows that differ, as flow id = minutes; with semicolons between them.",
        f'"" {OPTIONAL.format("Text")}',
    ),
    "HourlyRate": (
        "What an hour of a person's work costs.",
        f"{WORK.hourly_rate} {PARAMETER.format('Number')}",
    ),
    "CostOfRun": (
        "What a run of a robot costs, in the same currency.",
        f"{WORK.cost_of_run} {PARAMETER.format('Number')}",
    ),
    "CostOfFailure": (
        "What a failed run costs on top of that, for somebody sees to it.",
        f"{WORK.cost_of_failure} {PARAMETER.format('Number')}",
    ),
}

FUNCTIONS = {
    "ReadFiles": (
        "Reads files with a declared list of columns: what an older file lacks is empty, what is new is left out.",
        """(files as list, schema as type) as table =>
	let
		Names = Table.ColumnNames(#table(schema, {})),
		InFile = List.RemoveItems(Names, {"partition_date"}),
		Read = (file as record) as table =>
			Table.AddColumn(
				Table.SelectColumns(Parquet.Document(file[Content]), InFile, MissingField.UseNull),
				"partition_date", each file[partition_date], type nullable datetime
			),
		Tables = List.Transform(files, each Table.SelectColumns(Read(_), Names)),
		Combined = if List.IsEmpty(Tables) then #table(schema, {}) else Table.Combine(Tables, schema),
		ToUtc = (value) =>
			if value is datetimezone then DateTimeZone.RemoveZone(DateTimeZone.ToUtc(value)) else value,
		Instants = List.Select(Names, each Text.EndsWith(_, "_utc"))
	in
		Table.TransformColumns(Combined, List.Transform(Instants, each {_, ToUtc, type nullable datetime}))""",
    ),
    "ReadDays": (
        "Reads the days in a time: the day's own file, or where there is none, those of its hours.",
        """(table as text, schema as type, from as datetime, to as datetime) as table =>
	let
		Source = AzureStorage.Blobs(ContainerUrl),
		Mine = Table.SelectRows(
			Source, each Text.StartsWith([Name], table & "/date=") and Text.EndsWith([Name], ".parquet")
		),
		Dated = Table.AddColumn(
			Mine, "partition_date",
			each DateTime.From(
				Date.FromText(Text.BetweenDelimiters([Name], "/date=", "/"), [Format = "yyyy-MM-dd"])
			),
			type datetime
		),
		InRange = Table.SelectRows(Dated, each [partition_date] >= from and [partition_date] < to),
		Current = (day as table) as table =>
			let
				Whole = Table.SelectRows(day, each Text.EndsWith([Name], "/part-0.parquet"))
			in
				if Table.IsEmpty(Whole) then day else Whole,
		Days = Table.Group(InRange, {"partition_date"}, {{"Files", Current, type table}}),
		Files = List.Combine(List.Transform(Days[Files], Table.ToRecords))
	in
		ReadFiles(Files, schema)""",
    ),
    "ReadWhole": (
        "Reads a table that is one file.",
        """(table as text, schema as type) as table =>
	let
		Source = AzureStorage.Blobs(ContainerUrl),
		Mine = Table.SelectRows(Source, each [Name] = table & "/" & table & ".parquet"),
		Undated = Table.AddColumn(Mine, "partition_date", each null, type nullable datetime)
	in
		ReadFiles(Table.ToRecords(Undated), schema)""",
    ),
}

DATES = """let
	Today = DateTime.Date(DateTimeZone.RemoveZone(DateTimeZone.UtcNow())),
	First = #date(Date.Year(Date.AddMonths(Today, -{months})), 1, 1),
	Last = Date.EndOfYear(Today),
	Days = List.Dates(First, Duration.Days(Last - First) + 1, #duration(1, 0, 0, 0)),
	Dates = Table.FromColumns({{Days}}, type table [Date = date]),
	Year = Table.AddColumn(Dates, "Year", each Date.Year([Date]), Int64.Type),
	Month = Table.AddColumn(Year, "Month", each Date.ToText([Date], [Format = "yyyy-MM"]), type text),
	WeekStart = Table.AddColumn(Month, "Week Start", each Date.StartOfWeek([Date], Day.Monday), type date),
	Number = Table.AddColumn(
		WeekStart, "Weekday Number", each Date.DayOfWeek([Date], Day.Monday) + 1, Int64.Type
	),
	Weekday = Table.AddColumn(
		Number, "Weekday", each Date.ToText([Date], [Format = "ddd", Culture = "en-US"]), type text
	)
in
	Weekday"""

HOURS = """let
	Hours = Table.FromColumns({{0..23}}, type table [Hour = Int64.Type])
in
	Hours"""

WORK_BY_HAND = f"""let
	Given = if MinutesOfFlows = null then "" else MinutesOfFlows,
	Pairs = List.Transform(Text.Split(Given, ";"), each Text.Split(_, "=")),
	Named = List.Transform(
		List.Select(Pairs, each List.Count(_) = 2),
		each {{Text.Lower(Text.Trim(_{{0}})), Number.FromText(Text.Trim(_{{1}}), "en-US")}}
	),
	Rows = List.Transform(
		Named & {{{{"{ALL_OTHERS}", MinutesByHand}}}}, each _ & {{HourlyRate, CostOfRun, CostOfFailure}}
	),
	Work = #table(
		type table [#"{COLUMNS[0]}" = text, {", ".join(f'#"{name}" = number' for name in COLUMNS[1:])}], Rows
	)
in
	Table.Distinct(Work, {{"{COLUMNS[0]}"}})"""


def source_of(table: ModelTable) -> str:
    """The query of a table. A dated one filters its rows by the day again, as Desktop wants it; none is lost."""
    if table.source.day_column is None:
        return f'let\n\tRows = ReadWhole("{table.source.name}", {type_of(table)})\nin\n\tRows'
    lookup, result = _looked_up(table.lookup) if table.lookup else ("", "InRange")
    return (
        f'let\n\tRows = ReadDays("{table.source.name}", {type_of(table)}, RangeStart, RangeEnd),\n'
        "\tInRange = Table.SelectRows(Rows, each [partition_date] >= RangeStart and [partition_date] < RangeEnd)"
        f"{lookup}\nin\n\t{result}"
    )


def _looked_up(lookup: Lookup) -> tuple[str, str]:
    """The steps that add the columns of a lookup, and the name of the last one."""
    taken = [column for column in lookup.source.columns if column.name in (lookup.key, *lookup.columns)]
    names = ", ".join(f'"{name}"' for name in lookup.columns)
    steps = (
        f',\n\tKnown = ReadWhole("{lookup.source.name}", {_table_type(map(_field, taken))}),\n'
        f'\tJoined = Table.NestedJoin(InRange, {{"{lookup.key}"}}, Known, {{"{lookup.key}"}}, "Known",'
        " JoinKind.LeftOuter),\n"
        f'\tLookedUp = Table.ExpandTableColumn(Joined, "Known", {{{names}}})'
    )
    return steps, "LookedUp"


def dates(tables: Iterable[ModelTable]) -> str:
    """Every day that some table holds, and those of a month before: a local run starts before it is created."""
    return DATES.format(months=max(table.months for table in tables) + 1)


def type_of(table: ModelTable) -> str:
    fields = list(map(_field, table.source.columns))
    if table.source.day_column is not None:
        fields.append(f"{PARTITION_DATE} = nullable datetime")
    return _table_type(fields)


def _field(column: Column) -> str:
    return f"{column.name} = nullable {M_TYPES[column.kind]}"


def _table_type(fields: Iterable[str]) -> str:
    return "type table [\n\t\t" + ",\n\t\t".join(fields) + "\n\t]"
