"""The report and the project around it as PBIR and PBIP files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from local.powerbi.kpis import KPIS
from local.powerbi.page import HEIGHT, WIDTH, Kind, Page, Visual
from local.powerbi.pages import PAGES

SCHEMAS = "https://developer.microsoft.com/json-schemas/fabric"
PROJECT = "Flowtrail"
COLUMN = re.compile(r"(?P<table>[^\[]+)\[(?P<column>[^\]]+)\]")
MEASURE_TABLES: Mapping[str, str] = MappingProxyType({kpi.name: kpi.table for kpi in KPIS})
Json = dict[str, Any]


def project_files() -> Mapping[str, Json]:
    """Path below `powerbi/` to content."""
    report, model = f"{PROJECT}.Report", f"{PROJECT}.SemanticModel"
    definition = f"{report}/definition"
    return {
        f"{PROJECT}.pbip": {
            "$schema": f"{SCHEMAS}/pbip/pbipProperties/1.0.0/schema.json",
            "version": "1.0",
            "artifacts": [{"report": {"path": report}}],
            "settings": {"enableAutoRecovery": True},
        },
        f"{report}/.platform": _platform("Report"),
        f"{model}/.platform": _platform("SemanticModel"),
        f"{report}/definition.pbir": {
            "$schema": f"{SCHEMAS}/item/report/definitionProperties/2.0.0/schema.json",
            "version": "4.0",
            "datasetReference": {"byPath": {"path": f"../{model}"}},
        },
        f"{model}/definition.pbism": {
            "$schema": f"{SCHEMAS}/item/semanticModel/definitionProperties/1.0.0/schema.json",
            "version": "4.2",
            "settings": {},
        },
        f"{definition}/version.json": {
            "$schema": f"{SCHEMAS}/item/report/definition/versionMetadata/1.0.0/schema.json",
            "version": "2.0.0",
        },
        f"{definition}/report.json": _report(),
        f"{definition}/pages/pages.json": {
            "$schema": f"{SCHEMAS}/item/report/definition/pagesMetadata/1.1.0/schema.json",
            "pageOrder": [page.name for page in PAGES],
            "activePageName": PAGES[0].name,
        },
        **{f"{definition}/pages/{page.name}/page.json": _page(page) for page in PAGES},
        **dict(_visuals(definition)),
    }


def _platform(kind: str) -> Json:
    digits = _digest(f"{PROJECT} {kind}", 32)
    logical_id = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
    return {
        "$schema": f"{SCHEMAS}/gitIntegration/platformProperties/2.0.0/schema.json",
        "metadata": {"type": kind, "displayName": PROJECT},
        "config": {"version": "2.0", "logicalId": logical_id},
    }


def _report() -> Json:
    """Without a theme of its own: Power BI gives a new report its current one."""
    return {
        "$schema": f"{SCHEMAS}/item/report/definition/report/3.3.0/schema.json",
        "themeCollection": {},
        "settings": {
            "useStylableVisualContainerHeader": True,
            "exportDataMode": "AllowSummarized",
            "defaultDrillFilterOtherVisuals": True,
            "allowChangeFilterTypes": True,
            "useEnhancedTooltips": True,
            "useDefaultAggregateDisplayName": True,
        },
    }


def _page(page: Page) -> Json:
    content: Json = {
        "$schema": f"{SCHEMAS}/item/report/definition/page/2.1.0/schema.json",
        "name": page.name,
        "displayName": page.title,
        "displayOption": "FitToPage",
        "height": HEIGHT,
        "width": WIDTH,
    }
    return {**content, **_drill_through(page)} if page.drill_through else content


def _drill_through(page: Page) -> Json:
    name, field = "Filter" + _digest(page.title, 24), field_of(page.drill_through)
    filters = [{"name": name, "field": field, "type": "Categorical", "howCreated": "Drillthrough"}]
    parameter = {"name": f"Param_{name}", "boundFilter": name, "fieldExpr": field}
    return {
        "filterConfig": {"filters": filters},
        "pageBinding": {"name": "Pod", "type": "Drillthrough", "parameters": [parameter]},
        "visibility": "HiddenInViewMode",
    }


def _visuals(definition: str) -> Iterator[tuple[str, Json]]:
    for page in PAGES:
        for number, visual in enumerate(page.visuals):
            name = _digest(f"{page.title} {number} {visual.title}", 20)
            yield f"{definition}/pages/{page.name}/visuals/{name}/visual.json", _container(name, number, visual)


def _container(name: str, number: int, visual: Visual) -> Json:
    order = 1000 * (number + 1)
    return {
        "$schema": f"{SCHEMAS}/item/report/definition/visualContainer/2.9.0/schema.json",
        "name": name,
        "position": {
            "x": round(visual.x, 2),
            "y": round(visual.y, 2),
            "z": order,
            "height": round(visual.height, 2),
            "width": round(visual.width, 2),
            "tabOrder": order,
        },
        "visual": _visual(visual),
    }


def _visual(visual: Visual) -> Json:
    content: Json = {"visualType": str(visual.kind)}
    if roles := _roles(visual):
        content["query"] = {"queryState": {role: _projections(fields) for role, fields in roles.items()}}
        if visual.sorted_by:
            content["query"]["sortDefinition"] = _sort(visual.sorted_by)
    if objects := _objects(visual):
        content["objects"] = objects
    if around := _around(visual):
        content["visualContainerObjects"] = around
    return {**content, "drillFilterOtherVisuals": True}


def _roles(visual: Visual) -> dict[str, tuple[str, ...]]:
    roles: Mapping[Kind, dict[str, tuple[str, ...]]] = {
        Kind.TITLE: {},
        Kind.BACK: {},
        Kind.SLICER: {"Values": visual.by},
        Kind.CARDS: {"Data": visual.shows},
        Kind.TABLE: {"Values": visual.shows},
        Kind.MATRIX: {"Rows": visual.by[:1], "Columns": visual.by[1:], "Values": visual.shows},
        Kind.COMBO: {"Category": visual.by, "Y": visual.shows[:-1], "Y2": visual.shows[-1:]},
    }
    return roles.get(visual.kind, {"Category": visual.by, "Y": visual.shows})


def field_of(reference: str) -> Json:
    """The expression for `Table[Column]` or `[Measure]`."""
    kind, table, name = parsed(reference)
    return {kind: {"Expression": {"SourceRef": {"Entity": table}}, "Property": name}}


def parsed(reference: str) -> tuple[str, str, str]:
    """Kind, table and name that a reference means."""
    if match := COLUMN.fullmatch(reference):
        return "Column", match["table"], match["column"]
    name = reference[1:-1]
    return "Measure", MEASURE_TABLES[name], name


def _projections(fields: tuple[str, ...]) -> Json:
    found = ((reference, parsed(reference)) for reference in fields)
    return {
        "projections": [
            {"field": field_of(reference), "queryRef": f"{table}.{name}", "nativeQueryRef": name}
            for reference, (_, table, name) in found
        ]
    }


def _sort(reference: str) -> Json:
    direction = "Descending" if parsed(reference)[0] == "Measure" else "Ascending"
    return {"sort": [{"field": field_of(reference), "direction": direction}], "isDefaultSort": False}


def _objects(visual: Visual) -> Json:
    match visual.kind:
        case Kind.TITLE:
            run = {"value": visual.title, "textStyle": {"fontWeight": "bold", "fontSize": "20pt"}}
            return {"general": [{"properties": {"paragraphs": [{"textRuns": [run]}]}}]}
        case Kind.SLICER:
            mode = "Between" if visual.by == ("Date[Date]",) else "Dropdown"
            return {"data": [{"properties": {"mode": _text(mode)}}]}
        case Kind.BACK:
            return {"icon": [{"properties": {"shapeType": _text("back")}, "selector": {"id": "default"}}]}
        case Kind.MATRIX:
            return {"values": [_heat(visual.shows[0])]}
        case _:
            return {}


def _heat(measure: str) -> Json:
    """Cells coloured by their value, from white to blue."""
    gradient = {"min": {"color": _color("#FFFFFF")}, "max": {"color": _color("#118DFF")}}
    rule = {"FillRule": {"Input": field_of(measure), "FillRule": {"linearGradient2": gradient}}}
    _, table, name = parsed(measure)
    selector = {"data": [{"dataViewWildcard": {"matchingOption": 1}}], "metadata": f"{table}.{name}"}
    return {"properties": {"backColor": {"solid": {"color": {"expr": rule}}}}, "selector": selector}


def _color(value: str) -> Json:
    return {"Literal": {"Value": f"'{value}'"}}


def _around(visual: Visual) -> Json:
    around: Json = {"general": [{"properties": {"altText": _text(spoken(visual))}}]}
    if visual.kind is Kind.BACK:
        return {**around, "visualLink": [{"properties": {"show": _literal("true"), "type": _text("Back")}}]}
    if not visual.title or visual.kind in (Kind.TITLE, Kind.SLICER):
        return around
    return {**around, "title": [{"properties": {"show": _literal("true"), "text": _text(visual.title)}}]}


def spoken(visual: Visual) -> str:
    """What a screen reader says of a visual: its title and what it shows by what."""
    match visual.kind:
        case Kind.TITLE:
            return f"Title of the page: {visual.title}"
        case Kind.BACK:
            return "Back to the page before"
        case Kind.SLICER:
            return f"Choose by {visual.title}"
        case _:
            shows, by = (" and ".join(map(_bare, fields)) for fields in (visual.shows, visual.by))
            return f"{visual.title}: {shows}".removeprefix(": ") + (f", by {by}" if by else "")


def _bare(reference: str) -> str:
    return parsed(reference)[2]


def _text(value: str) -> Json:
    return _literal("'" + value.replace("'", "''") + "'")


def _literal(value: str) -> Json:
    return {"expr": {"Literal": {"Value": value}}}


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
