"""The report's preview: the report's pages with the published numbers, in one file that fetches nothing."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from browser import Look, Seen, look
from integration.stage import bare_world, on_stage

from local.azurite import Azurite
from local.powerbi.context import left_by
from local.powerbi.kpis import KPIS
from local.powerbi.numbers import numbers
from local.powerbi.page import Kind
from local.powerbi.pages import PAGES
from local.powerbi.preview import charting_library, content, html
from local.reconciliation import PublishedTables
from powerbi.test_numbers import ACTIONS, EVENTS, MONDAY, NOON, RUNS, TUESDAY, journal, stage_rows
from shared.publishing.parquet import rows_of
from shared.publishing.staging import Destination
from shared.schema import DIM_FLOW, FACT_AUDIT_EVENT, FACT_FLOW_ACTION, FACT_FLOW_SESSION

OWN_ACCOUNT = "account0000"  # which no test is given
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def visual_of(pages: list[dict[str, Any]], title: str) -> dict[str, Any]:
    return next(visual for page in pages for visual in page["visuals"] if visual["title"] == title)


@pytest.fixture(scope="module")
def pages(azurite: Azurite) -> list[dict[str, Any]]:
    """The content of the page over rows made by hand."""
    with on_stage(bare_world(), azurite.connection_string_of(OWN_ACCOUNT)) as stage:
        flow = {"flow_id": "a", "name": HOSTILE, "updated_utc": NOON}
        stage.app.staging.put(Destination(DIM_FLOW, None), [rows_of(DIM_FLOW, [flow])], ["flow"])
        for table, rows in ((FACT_FLOW_SESSION, RUNS), (FACT_FLOW_ACTION, ACTIONS), (FACT_AUDIT_EVENT, EVENTS)):
            stage_rows(stage, table, rows)
        journal(stage)
        stage.publish()
        return content(PublishedTables(stage.app), NOON)


def test_visuals_show_what_was_worked_out_by_hand(pages: list[dict[str, Any]]) -> None:
    assert [page["title"] for page in pages] == [page.title for page in PAGES]
    trend = visual_of(pages, "Runs and error rate by day")
    assert trend["categories"] == [str(MONDAY), str(TUESDAY)]
    assert [series["values"] for series in trend["series"]] == [[1, 1], [1, 0], [0.5, 0]]
    limits = visual_of(pages, "Daily run time and its limits, in seconds")
    assert [series["values"] for series in limits["series"]] == [[150, 350], [250, 250], [550, 550], [0, 0]]
    slowest = visual_of(pages, "Utilisation by machine")
    assert slowest["series"][0]["values"] == sorted(slowest["series"][0]["values"], reverse=True)
    log = visual_of(pages, "Action log")
    assert [row[0] for row in log["texts"]] == ["0"]  # of run 2, the newest that failed
    failed = visual_of(pages, "Failed runs (drill through for their log)")
    assert [row[:2] for row in failed["texts"]] == [["run-2", HOSTILE]]
    heat = visual_of(pages, "Runs by hour and weekday (UTC)")
    assert heat["cells"][0][8] == 1
    assert heat["cells"][1][10] == 2
    page = html(pages, "chart")
    assert HOSTILE not in page
    assert "onerror" in page  # inert, inside the JSON
    assert page.count("<script") == page.count("</script>") == 3
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert data
    assert json.loads(data[1])[0]["title"] == "Overview"


def test_the_page_says_what_it_is_and_fetches_nothing() -> None:
    page = html([], "chart")
    assert "preview of the Power BI report" in page
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|@import|\bsrc=|<link", page)
    assert "innerHTML" not in page
    assert not re.search(r"/\*(chart|data|style|code)\*/", page)


def test_a_preview_of_nothing() -> None:
    class Nothing(PublishedTables):
        def __init__(self) -> None:
            pass

        def names(self) -> list[str]:
            return []

    pages = content(Nothing(), datetime.now(UTC))
    assert len(pages) == len(PAGES)
    assert numbers(Nothing(), NOON, TUESDAY, TUESDAY).value(KPIS[0]) == 0


def test_a_choice_reaches_every_table_that_the_model_lets_it_reach() -> None:
    assert set(left_by("Flows", "Flow", "v")) == {
        "dim_flow",
        "fact_flow_session",
        "fact_flow_action",
        "fact_audit_event",
    }
    assert set(left_by("Date", "Date", "v")) == {
        "fact_flow_session",
        "fact_flow_action",
        "fact_audit_event",
        "fact_machine_hour",
        "fact_ingest",
    }
    assert set(left_by("Runs", "Run ID", "v")) == {"fact_flow_session", "fact_flow_action"}


def test_every_kind_of_visual_is_drawn() -> None:
    """`page.js` knows charts by what they hold; every other kind is named in it."""
    kinds = {visual.kind for page in PAGES for visual in page.visuals}
    assert kinds == set(Kind)
    code = html([], "chart")
    assert all(kind in code for kind in (Kind.TITLE, Kind.SLICER, Kind.CARDS, Kind.BACK, Kind.BARS, Kind.COMBO))


WIDE, PHONE = 1400, 390
WHAT_IS_SEEN = """({
  pages: [...document.querySelectorAll("section")].map((page) => page.querySelector("h2").textContent),
  links: [...document.querySelectorAll("nav a")].every((one) => document.querySelector(one.getAttribute("href"))),
  charts: [...document.querySelectorAll(".chart")].map((chart) => ({
    title: chart.parentElement.querySelector("h3").textContent,
    shapes: chart.querySelectorAll("svg path").length,
    texts: [...chart.querySelectorAll("svg text")].map((text) => text.textContent),
    colors: [...chart.querySelectorAll("svg text")].map((text) => getComputedStyle(text).fill),
    width: chart.clientWidth, height: chart.clientHeight,
  })),
  empty: [...document.querySelectorAll(".nothing")].map((one) => one.previousElementSibling.textContent),
  cards: [...document.querySelectorAll(".card")].map((card) => card.innerText),
  cut: [...document.querySelectorAll(".card, .slicer, h2")].filter((one) => one.scrollHeight > one.clientHeight + 1
    || one.scrollWidth > one.clientWidth + 1).map((one) => one.innerText),
  outside: [...document.querySelectorAll(".visual, h2")].filter((one) => {
    const [own, page] = [one.getBoundingClientRect(), one.closest("section").getBoundingClientRect()];
    return own.width && (own.left < page.left || own.right > page.right + 1 || own.bottom > page.bottom + 1);
  }).map((one) => one.innerText),
  paper: getComputedStyle(document.querySelector("section")).backgroundColor,
  ink: getComputedStyle(document.body).color,
  scrolls: document.documentElement.scrollWidth > innerWidth,
})"""


@pytest.fixture(scope="module")
def looks(pages: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    """What is seen of it in light and dark, on a wide screen and on a phone."""
    target = tmp_path_factory.mktemp("report") / "report.html"
    target.write_text(html(pages, charting_library()), "utf-8")
    wanted = [(WIDE, False), (WIDE, True), (PHONE, False), (PHONE, True)]
    uri = target.as_uri()
    return look(*[Look(uri, width=width, dark=dark, evaluate=WHAT_IS_SEEN) for width, dark in wanted])


def test_the_page_complains_of_nothing_and_asks_nobody(looks: list[Seen]) -> None:
    for seen in looks:
        assert seen.problems == []
        assert len(seen.requests) == 1


def test_every_page_and_every_chart_is_drawn(looks: list[Seen]) -> None:
    charts = [visual.title for page in PAGES for visual in page.visuals if visual.by and visual.shows]
    for seen in looks:
        assert seen.value["pages"] == [page.title for page in PAGES]
        assert seen.value["links"]
        drawn = {chart["title"] for chart in seen.value["charts"]}
        assert set(charts) <= drawn | set(seen.value["empty"])
        assert len(drawn) > 20
        for chart in seen.value["charts"]:
            assert chart["shapes"] > 2, chart
            assert any(chart["texts"]), chart
            assert min(chart["width"], chart["height"]) > 80, chart
        assert seen.value["cards"]
        assert all("\n" in card for card in seen.value["cards"]), "a card without a number or a name"


def test_nothing_is_cut_off_and_nothing_scrolls_sideways(looks: list[Seen]) -> None:
    for seen in looks:
        assert seen.value["cut"] == []
        assert seen.value["outside"] == []
        assert not seen.value["scrolls"]


def test_light_and_dark_can_be_read(looks: list[Seen]) -> None:
    """The contrast that the accessibility guidelines ask for: 4.5 for text."""
    papers = {seen.value["paper"] for seen in looks}
    assert len(papers) == 2
    for seen in looks:
        colors = {color for chart in seen.value["charts"] for color in chart["colors"]} | {seen.value["ink"]}
        assert {color: found for color in colors if (found := contrast(color, seen.value["paper"])) < 4.5} == {}


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it, of two colours like rgb(1, 2, 3)."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(color: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
