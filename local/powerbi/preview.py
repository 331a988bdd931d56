"""A preview of the report as one page of HTML: the same pages, visuals and KPIs, over the published files.

What it lacks is what Power BI is for: choosing, filtering, drilling through.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from local.packages import installed
from local.powerbi.context import left_by, storage_column
from local.powerbi.kpi import INSTANT, PERCENT, Kpi
from local.powerbi.kpis import KPIS
from local.powerbi.model import DATE_TABLE, HOUR_TABLE, RELATIONSHIPS, ModelTable, table_named
from local.powerbi.numbers import Numbers, numbers
from local.powerbi.page import Kind, Page, Visual
from local.powerbi.pages import PAGES
from local.powerbi.pbir import parsed
from local.reconciliation import PublishedTables

PACKAGE = Path(__file__).resolve().parents[1] / "preview"
OVER_ALL_DAYS = "Control chart"
"""KPIs of this folder look at all selected days, whichever day they stand beside."""
MOST_BARS = 10
MOST_ROWS = 25
MOST_TEXT = 120
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
Json = dict[str, Any]
KPI = {kpi.name: kpi for kpi in KPIS}


def write_preview(tables: PublishedTables, target: Path, now: datetime | None = None) -> None:
    """Write the page.

    Raises:
        PackagesError: the charting library could not be installed.
    """
    target.write_text(html(content(tables, now or datetime.now(UTC)), charting_library()), "utf-8")


def charting_library() -> str:
    """The code of the library that draws the charts.

    Raises:
        PackagesError: it could not be installed.
    """
    return (installed(PACKAGE) / "node_modules" / "echarts" / "dist" / "echarts.min.js").read_text("utf-8")


def html(pages: Sequence[Json], chart: str) -> str:
    """The page as text; what came from data is inert in it, for it is JSON without a `<`."""
    data = json.dumps(pages, default=str).replace("<", "\\u003c")
    parts = {"chart": chart.replace("</script", "<\\/script"), "data": data}
    text = (PACKAGE / "page.html").read_text("utf-8")
    parts["style"] = (PACKAGE / "page.css").read_text("utf-8")
    parts["code"] = (PACKAGE / "page.js").read_text("utf-8")
    for name, part in parts.items():
        text = text.replace(f"/*{name}*/", part, 1)
    return text


def content(tables: PublishedTables, now: datetime) -> list[Json]:
    """The pages with the numbers that they show."""
    days = sorted({day for day in tables.read(table_named("Runs").source).column("start_date").to_pylist() if day})
    first, last = (days[0], days[-1]) if days else (now.date(), now.date())
    found = numbers(tables, now, first, last)
    return [_Shown(found, page, _chosen(found, page)).content() for page in PAGES]


def _chosen(found: Numbers, page: Page) -> Any:
    """The run that a drill-through page is about: the newest failed one whose log is there."""
    if not page.drill_through:
        return None
    rows = found.rows(
        "SELECT session_id FROM all_fact_flow_session "
        "ORDER BY (outcome = 'Failed' AND log_status = 'loaded') DESC, started_utc DESC NULLS LAST LIMIT 1"
    )
    return rows[0][0] if rows else ""


@dataclass(frozen=True)
class _Shown:
    """One page over the numbers; `chosen` is the value that it was drilled through with."""

    numbers: Numbers
    page: Page
    chosen: Any

    def content(self) -> Json:
        visuals = [self._visual(visual) for visual in self.page.visuals]
        return {"title": self.page.title, "visuals": visuals, "about": self.chosen}

    def _visual(self, visual: Visual) -> Json:
        place = {name: getattr(visual, name) for name in ("x", "y", "width", "height")}
        shown: Json = {"kind": str(visual.kind), "title": visual.title, **place}
        if visual.kind is Kind.CARDS:
            values = zip(visual.shows, self._measures([], [], visual.shows), strict=True)
            return {**shown, "cards": [(one[1:-1], _formatted(value, KPI[one[1:-1]])) for one, value in values]}
        if visual.kind is Kind.TABLE:
            return {**shown, **self._table(visual)}
        if visual.kind is Kind.MATRIX:
            return {**shown, **self._matrix(visual)}
        return {**shown, **self._chart(visual)} if visual.shows else shown

    def _chart(self, visual: Visual) -> Json:
        rows = [(value, *self._measures(visual.by, [value], visual.shows)) for value in self._values(visual.by[0])]
        rows = [row for row in rows if any(one for one in row[1:])]
        if visual.kind is Kind.BARS:
            rows = sorted(rows, key=lambda row: -(row[1] or 0))[:MOST_BARS]
        names = [one[1:-1] for one in visual.shows]
        series = [{"name": name, "values": [row[at + 1] for row in rows]} for at, name in enumerate(names)]
        return {"categories": [_label(row[0]) for row in rows], "series": series, "percent": _percents(names)}

    def _matrix(self, visual: Visual) -> Json:
        across = [str(hour) for hour in range(24)]
        cells = [[self._measures(visual.by, [day, hour], visual.shows)[0] for hour in across] for day in WEEKDAYS]
        return {"rows": WEEKDAYS, "across": across, "cells": cells}

    def _table(self, visual: Visual) -> Json:
        columns = [one for one in visual.shows if parsed(one)[0] == "Column"]
        measures = [one for one in visual.shows if parsed(one)[0] == "Measure"]
        rows: list[list[Any]] = []
        for row in self._rows(columns):
            values = self._measures(columns, row, measures)
            if not measures or any(values):
                shown = dict(zip([*columns, *measures], [*row, *values], strict=True))
                rows.append([shown[one] for one in visual.shows])
        at = visual.shows.index(visual.sorted_by)
        is_measure = visual.sorted_by in measures
        rows.sort(key=lambda row: (row[at] is None, -row[at] if is_measure and row[at] else row[at] or 0))
        heads = [parsed(one)[2] for one in visual.shows]
        texts = [
            [_formatted(value, KPI.get(head)) for value, head in zip(row, heads, strict=True)]
            for row in rows[:MOST_ROWS]
        ]
        return {"heads": heads, "texts": texts, "more": max(0, len(rows) - MOST_ROWS)}

    def _rows(self, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """The different values of columns of one table and those that it refers to."""
        names = [parsed(one)[1:] for one in columns]
        base = next((name for name, _ in names if table_named(name).source.name.startswith("fact")), names[0][0])
        joins = "".join(
            _join(base, other) for other in dict.fromkeys(table for table, _ in names) if other != base
        )
        picked = ", ".join(_picked(table_named(table), column) for table, column in names)
        source = table_named(base).source.name
        return self._left([]).rows(f"SELECT DISTINCT {picked} FROM {source} AS {_alias(base)} {joins}")

    def _values(self, by: str) -> list[Any]:
        """What a visual is divided by: every selected day, every hour, or the values that are there."""
        _, table, column = parsed(by)
        if table == DATE_TABLE:
            (first,), (last,) = self.numbers.rows("SELECT $first UNION ALL SELECT $last ORDER BY 1")
            return [date.fromordinal(day) for day in range(first.toordinal(), last.toordinal() + 1)]
        if table == HOUR_TABLE:
            return list(range(24))
        name, source = storage_column(table_named(table), column), table_named(table).source.name
        sql = f"SELECT DISTINCT {name} FROM {source} WHERE {name} IS NOT NULL ORDER BY 1"
        return [value for (value,) in self._left([]).rows(sql)]

    def _measures(self, columns: Sequence[str], values: Sequence[Any], measures: Sequence[str]) -> list[Any]:
        beside, whole = self._left(zip(columns, values, strict=True)), self._left([])
        return [_value(whole if KPI[one[1:-1]].folder == OVER_ALL_DAYS else beside, one) for one in measures]

    def _left(self, pairs: Iterable[tuple[str, Any]]) -> Numbers:
        """Leave what values of columns leave, together with the value that the page was opened for."""
        opened = [(self.page.drill_through, self.chosen)] if self.page.drill_through else []
        conditions: dict[str, list[str]] = {}
        parameters: dict[str, Any] = {}
        for number, (column, value) in enumerate([*opened, *pairs]):
            if value is None:
                continue
            parameters[f"v{number}"] = value
            for table, condition in left_by(*parsed(column)[1:], f"v{number}").items():
                conditions.setdefault(table, []).append(condition)
        return self.numbers.only({table: " AND ".join(found) for table, found in conditions.items()}, parameters)


def _value(found: Numbers, reference: str) -> Any:
    value = found.value(KPI[reference[1:-1]])
    return value if value is None or isinstance(value, datetime) else round(float(value), 4)


def _join(base: str, other: str) -> str:
    one = next(one for one in RELATIONSHIPS if (one.many, one.one) == (base, other) and one.is_active)
    source = table_named(other).source.name
    on = f"{_alias(base)}.{one.many_column} = {_alias(other)}.{one.one_column}"
    return f" LEFT JOIN all_{source} AS {_alias(other)} ON {on}"


def _picked(table: ModelTable, column: str) -> str:
    return f"{_alias(table.name)}.{storage_column(table, column)}"


def _alias(table: str) -> str:
    return "t_" + table.lower().replace(" ", "_")


def _percents(names: Iterable[str]) -> list[str]:
    return [name for name in names if KPI[name].format == PERCENT]


def _label(value: Any) -> str:
    return str(value)[:MOST_TEXT]


def _formatted(value: Any, kpi: Kpi | None) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if kpi is None or kpi.format == INSTANT:
        return _label(value)
    if kpi.format == PERCENT:
        return f"{value:.1%}"
    digits = len(kpi.format.partition(".")[2])
    return f"{value:,.{digits}f}"
