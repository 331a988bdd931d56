"""The Power BI project: written anew it is the same, and everything in it refers to something that exists."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from pbi_parsers import dax
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from local.desk import ROOT
from local.powerbi.__main__ import generated, project_parts
from local.powerbi.kpis import KPIS
from local.powerbi.m import dates
from local.powerbi.model import AUDIT_EVENTS, RELATIONSHIPS, TABLES, table_named
from local.powerbi.page import HEIGHT, WIDTH, Kind
from local.powerbi.pages import PAGES
from local.powerbi.pbir import parsed
from powerbi.tmdl_reader import Member, expressions, read_table, relationships
from shared.schema import TABLES as PUBLISHED

DEFINITION = ROOT / "powerbi/Flowtrail.SemanticModel/definition"
REPORT = ROOT / "powerbi/Flowtrail.Report/definition"
BASE = "https://developer.microsoft.com/json-schemas/"
SCHEMAS = os.environ.get("FLOWTRAIL_PBIR_SCHEMAS")
DAX_COLUMN = re.compile(r"(?:'(?P<quoted>[^']+)'|\b(?P<bare>[A-Za-z_]\w*))\[(?P<column>[^\]]+)\]")
DAX_MEASURE = re.compile(r"(?<![\w'\]])\[(?P<name>[^\]]+)\]")
MODEL = {table.name: table for table in map(read_table, sorted((DEFINITION / "tables").glob("*.tmdl")))}
MEASURES = {name: table.name for table in MODEL.values() for name in table.of("measure")}
JSON_FILES = [path for path in project_parts() if path.suffix != ".tmdl"]


def test_the_committed_files_are_those_that_are_generated() -> None:
    """`python3 dev.py powerbi` writes them."""
    files = generated()
    committed = {path.relative_to(ROOT).as_posix() for path in project_parts()}
    assert committed == {path for path in files if path.startswith("powerbi/")}
    for path, text in files.items():
        assert (ROOT / path).read_text("utf-8") == text, path


def registry() -> Registry[Any]:
    resources: list[tuple[str, Resource[Any]]] = []
    root = Path(SCHEMAS or "")
    for path in (root / "fabric").rglob("*.json"):
        content = json.loads(path.read_text("utf-8-sig"))
        resource = Resource(contents=content, specification=DRAFT7)
        resources.append((BASE + path.relative_to(root).as_posix(), resource))
        if isinstance(content, dict) and content.get("$id"):
            resources.append((content["$id"], resource))
    return Registry().with_resources(resources)


@pytest.mark.skipif(not SCHEMAS, reason="FLOWTRAIL_PBIR_SCHEMAS names no folder of Microsoft's JSON schemas")
def test_every_json_is_valid_by_microsofts_schemas() -> None:
    known = registry()
    assert len(JSON_FILES) > 60
    for path in JSON_FILES:
        content = json.loads(path.read_text("utf-8"))
        schema = known.get_or_retrieve(content["$schema"]).value.contents
        errors = [error.message[:200] for error in Draft7Validator(schema, registry=known).iter_errors(content)]
        assert not errors, (path.name, content.get("name"), errors)


@pytest.mark.skipif(not SCHEMAS, reason="FLOWTRAIL_PBIR_SCHEMAS names no folder of Microsoft's JSON schemas")
def test_the_schemas_catch_a_fault() -> None:
    path = next(path for path in JSON_FILES if path.name == "visual.json")
    content = json.loads(path.read_text("utf-8"))
    known = registry()
    schema = known.get_or_retrieve(content["$schema"]).value.contents
    for fault in ({"surprise": 1}, {"position": {"x": "left"}}):
        assert list(Draft7Validator(schema, registry=known).iter_errors({**content, **fault}))


def fields(content: Any) -> Iterator[tuple[str, str, str]]:
    """Kind, table and name of every field that a file of the report refers to."""
    if isinstance(content, dict):
        for kind in ("Column", "Measure"):
            if isinstance(found := content.get(kind), dict) and "Property" in found:
                yield kind.lower(), found["Expression"]["SourceRef"]["Entity"], found["Property"]
        content = list(content.values())
    if isinstance(content, list):
        for one in content:
            yield from fields(one)


def test_every_field_of_the_report_is_in_the_model() -> None:
    found = [(path, *field) for path in REPORT.rglob("*.json") for field in fields(json.loads(path.read_text()))]
    assert len(found) > 150
    for path, kind, table, name in found:
        assert name in MODEL[table].of(kind), (path.parent.name, kind, table, name)


def test_every_kpi_is_a_measure_with_description_and_format() -> None:
    assert {kpi.name for kpi in KPIS} == set(MEASURES)
    assert max(Counter(kpi.name for kpi in KPIS).values()) == 1
    for kpi in KPIS:
        measure = MODEL[kpi.table].of("measure")[kpi.name]
        assert measure.description == kpi.words
        assert measure.properties["formatString"] == kpi.format
        assert measure.text.split() == kpi.dax.split()
        assert kpi.name not in MODEL[kpi.table].of("column")


def test_every_kpi_stands_in_the_document_once() -> None:
    text = (ROOT / "docs/kpis.md").read_text("utf-8")
    for kpi in KPIS:
        assert text.count(f"### {kpi.name}\n\n{kpi.words}\n") == 1


@pytest.mark.parametrize("kpi", KPIS, ids=lambda kpi: kpi.name)
def test_dax_refers_to_what_exists_and_parses(kpi: Any) -> None:
    code = re.sub(r'"(?:[^"]|"")*"', '""', kpi.dax)
    columns = list(DAX_COLUMN.finditer(code))
    for match in columns:
        table, name = match["quoted"] or match["bare"], match["column"]
        assert name in MODEL[table].of("column") or MEASURES.get(name) == table, (table, name)
    for match in DAX_MEASURE.finditer(code):
        assert match["name"] in MEASURES or match["name"].startswith("@"), match["name"]
    for match in re.finditer(r"\b(?:ROWS|VALUES|ALL|FILTER|REMOVEFILTERS) \( ('[^']+'|\w+) ?[,)]", code):
        name = match[1].strip("'")
        assert name in MODEL or name in re.findall(r"VAR (\w+) =", code), name
    assert dax.to_ast(kpi.dax) is not None


@pytest.mark.parametrize("code", ["SUM ( Runs[Duration (ms)]", "DIVIDE ( , ) )", "VAR x = 1", "1 + "])
def test_the_dax_parser_refuses_what_is_none(code: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - the library has a class for each fault and no common one
        dax.to_ast(code)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_model_has_the_columns_that_are_published(table: Any) -> None:
    read = MODEL[table.name]
    sources = {column.properties["sourceColumn"]: column for column in read.of("column").values()}
    day = {"partition_date"} if table.source.day_column else set()
    assert set(sources) == {*(column.name for column in table.columns), *day}
    for column in table.columns:
        assert sources[column.name].description
        assert sources[column.name].properties["summarizeBy"] == "none"
    (partition,) = read.of("partition").values()
    looked_up = (table.lookup.key, *table.lookup.columns) if table.lookup else ()
    read_columns = [*table.source.column_names, *sorted(day), *looked_up]
    assert re.findall(r"(\w+) = nullable", partition.text) == read_columns
    assert f'"{table.source.name}"' in partition.text
    assert bool(read.policy) == (table.source.day_column is not None)
    if read.policy:
        assert "incrementalPeriods: 10" in read.policy
        assert partition.text.strip() in "\n".join(line[4:] for line in read.policy.splitlines())


def test_every_published_table_is_in_the_model() -> None:
    assert {table.source.name for table in TABLES} == set(PUBLISHED)
    assert set(MODEL) == {*(table.name for table in TABLES), "Date", "Hour", "Work by Hand"}
    listed = (DEFINITION / "model.tmdl").read_text("utf-8")
    assert {line[10:].strip("'") for line in listed.splitlines() if line.startswith("ref table ")} == set(MODEL)
    assert "annotation __PBI_TimeIntelligenceEnabled = 0" in listed


def test_who_writes_the_project_anew_is_told_to_give_the_parameters_again() -> None:
    """Else the savings are those of the example, without a word."""
    guide = (ROOT / "docs/power-bi.md").read_text("utf-8")
    sections = [part for part in guide.split("\n#") if "dev.py powerbi`" in part or "publish the project" in part]
    publishing = next(part for part in sections if part.startswith("# Publishing again"))
    assert "ContainerUrl" in publishing
    assert len(sections) > 3
    assert all("(#publishing-again)" in part for part in sections if part is not publishing)


def test_the_dates_reach_as_far_back_as_the_longest_table() -> None:
    """Whatever number of months is written into the model: a row without its day is in no selection of days."""
    reach = re.compile(r"First = #date\(Date\.Year\(Date\.AddMonths\(Today, -(\d+)\)\), 1, 1\)")
    for tables in (TABLES, [*TABLES, replace(AUDIT_EVENTS, months=120)]):
        (months,) = reach.findall(dates(tables))
        assert int(months) > max(table.months for table in tables)
    (partition,) = MODEL["Date"].of("partition").values()
    assert partition.text.split() == dates(TABLES).split()


def is_hidden(member: Member) -> bool:
    return "isHidden" in member.properties


def test_the_star_has_one_way_through() -> None:
    """Each relationship ends in columns that exist, and no table reaches another on two active ways."""
    found = relationships(DEFINITION / "relationships.tmdl")
    assert len(found) == len(RELATIONSHIPS)
    for many, one, _ in found:
        for table, column in (many, one):
            assert column in MODEL[table].of("column"), (table, column)
    active = [(many[0], one[0]) for many, one, is_active in found if is_active]
    for table in MODEL:
        reached = Counter(_reached(table, active))
        assert not [name for name, count in reached.items() if count > 1], table


def _reached(table: str, active: list[tuple[str, str]]) -> Iterator[str]:
    for many, one in active:
        if many == table:
            yield one
            yield from _reached(one, active)


def test_keys_and_milliseconds_are_hidden() -> None:
    for one in RELATIONSHIPS:
        if one.many_column.endswith("_id"):
            assert is_hidden(MODEL[one.many].of("column")[table_named(one.many).column_name(one.many_column)])
    for table in MODEL.values():
        for name, column in table.of("column").items():
            assert is_hidden(column) or not name.endswith("(ms)"), name


def test_one_parameter_says_where_two_say_when_and_five_what_a_run_is_worth() -> None:
    found = expressions(DEFINITION / "expressions.tmdl")
    parameters = [name for name, text in found.items() if "IsParameterQuery = true" in text]
    assert parameters[:3] == ["ContainerUrl", "RangeStart", "RangeEnd"]
    assert parameters[3:] == ["MinutesByHand", "MinutesOfFlows", "HourlyRate", "CostOfRun", "CostOfFailure"]
    functions = {name: text for name, text in found.items() if name not in parameters}
    assert all("AzureStorage.Blobs(ContainerUrl)" in functions[name] for name in ("ReadDays", "ReadWhole"))
    sources = "".join(member.text for table in MODEL.values() for member in table.of("partition").values())
    assert "AzureStorage" not in sources


def test_visuals_are_inside_their_page_and_beside_each_other() -> None:
    for page in PAGES:
        for one in page.visuals:
            assert one.x >= 0
            assert one.x + one.width <= WIDTH
            assert one.y + one.height <= HEIGHT, (page.title, one.title)
            for other in page.visuals:
                apart = (
                    one.x + one.width <= other.x
                    or other.x + other.width <= one.x
                    or one.y + one.height <= other.y
                    or other.y + other.height <= one.y
                )
                assert apart or one is other, (page.title, one.title, other.title)


def test_every_visual_is_told_to_a_screen_reader() -> None:
    told = [json.loads(path.read_text("utf-8"))["visual"] for path in REPORT.rglob("visual.json")]
    for visual in told:
        (general,) = visual["visualContainerObjects"]["general"]
        text = general["properties"]["altText"]["expr"]["Literal"]["Value"].strip("'")
        assert text == text.strip()
        assert ": " in text or visual["visualType"] in ("slicer", "actionButton", "cardVisual"), text


SLICER_LEAVES_ALONE = {
    ("Actions and errors", "Actions"): {"Runs"},  # a module is chosen among actions, runs have many
    ("Ingest health", "Date"): {"Gaps"},  # the title of the table says that all are there
    ("Ingest health", "Ingest Runs"): {"Gaps", "Runs", "Audit Events"},  # they choose among the runs of functions
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.title)
def test_a_slicer_filters_what_stands_on_its_page(page: Any) -> None:
    """All tables whose measures or columns are shown, but for those that are named above with a reason."""
    ways = [(one.many, one.one) for one in RELATIONSHIPS if one.is_active]
    facts = {table.name for table in TABLES if table.source.day_column or table.name == "Gaps"}
    shown = {parsed(field)[1] for visual in page.visuals for field in visual.shows} & facts
    for visual in page.visuals:
        if visual.kind is Kind.SLICER:
            table = parsed(visual.by[0])[1]
            untouched = {name for name in shown if name != table and table not in set(_reached(name, ways))}
            assert untouched <= SLICER_LEAVES_ALONE.get((page.title, table), set()), (page.title, table)


def test_the_pages_that_are_asked_for_are_there() -> None:
    order = json.loads((REPORT / "pages/pages.json").read_text())["pageOrder"]
    titles = [json.loads((REPORT / f"pages/{name}/page.json").read_text())["displayName"] for name in order]
    assert titles == [
        "Overview",
        "Run details",
        "Actions and errors",
        "Machines",
        "Savings",
        "Audit",
        "Ingest health",
    ]
    details = json.loads((REPORT / f"pages/{order[1]}/page.json").read_text())
    assert details["pageBinding"]["type"] == "Drillthrough"
    names = [path.parent.name for path in REPORT.rglob("visual.json")]
    assert len(names) == len(set(names)) == sum(len(page.visuals) for page in PAGES)
    assert any(visual.kind is Kind.BACK for visual in PAGES[1].visuals)
