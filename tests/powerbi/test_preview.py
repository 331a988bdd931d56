"""The report's preview: the report's pages with the published numbers, in one file that fetches nothing."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from integration.stage import on_stage, small_world

from local.powerbi.context import left_by
from local.powerbi.kpis import KPIS
from local.powerbi.numbers import numbers
from local.powerbi.page import Kind
from local.powerbi.pages import PAGES
from local.powerbi.preview import content, html
from local.reconciliation import PublishedTables
from powerbi.test_numbers import ACTIONS, MONDAY, NOON, RUNS, TUESDAY, stage_rows
from shared.publishing.parquet import rows_of
from shared.publishing.staging import Destination
from shared.schema import DIM_FLOW, FACT_FLOW_ACTION, FACT_FLOW_SESSION

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def visual_of(pages: list[dict[str, Any]], title: str) -> dict[str, Any]:
    return next(visual for page in pages for visual in page["visuals"] if visual["title"] == title)


def test_visuals_show_what_was_worked_out_by_hand(account: str) -> None:
    with on_stage(small_world(sessions_per_environment=1, blobs=1), account) as stage:
        flow = {"flow_id": "a", "name": HOSTILE, "updated_utc": NOON}
        stage.app.staging.put(Destination(DIM_FLOW, None), [rows_of(DIM_FLOW, [flow])], ["flow"])
        stage_rows(stage, FACT_FLOW_SESSION, RUNS)
        stage_rows(stage, FACT_FLOW_ACTION, ACTIONS)
        stage.publish()
        pages = content(PublishedTables(stage.app), NOON)
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
