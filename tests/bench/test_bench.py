"""The bench measures what it says: the same data each time, and ways that come to the same rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import duckdb
import pyarrow as pa
import pytest

from local.bench.cases import audit, logs, publishing
from local.bench.catalogue import CASES
from local.bench.goals import AT_LEAST, AT_MOST, GOALS, Goal, between
from local.bench.guarding import LEAST
from local.bench.measuring import APP, Case, Cost, Size, Way, measured
from local.bench.picture import profile
from local.bench.report import goals, lines_of
from local.bench.running import Outcome, Result
from local.bench.sampling import LAYERS
from local.desk import ROOT
from shared.dataverse.action_log import read_actions
from shared.dataverse.actions import ActionTable
from shared.dataverse.values import ValueRules

COUNT = "SELECT count(*), bit_xor(hash(t)) FROM '{}' t"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def outcome(case: Case, **cpu_s: float) -> Outcome:
    """What it would be if each way had taken so many seconds; the first is the app."""
    own = next(iter(cpu_s.values()))
    results = {way: Result(way, Cost(s, s, 10, 100), s / own) for way, s in cpu_s.items()}
    return Outcome(case, Size(1000, 1 << 20), 1, results, {})


def test_the_same_seed_makes_the_same_data() -> None:
    assert logs.log_bytes(20) == logs.log_bytes(20)
    assert logs.log_bytes(20) != logs.log_bytes(20, seed=8)


def test_a_way_is_measured_after_all_is_ready(tmp_path: Path) -> None:
    done: list[str] = []

    def start(_folder: Path, stack: ExitStack) -> logs.Work:
        done.append("ready")
        stack.callback(done.append, "over")
        return lambda: done.append("work")

    cost = measured(Way("one", start, repeats=False), tmp_path)
    assert done == ["ready", "work", "over"]
    assert cost.wall_s >= 0


def test_the_app_and_the_plain_way_keep_the_same_events(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "EVENTS", 40)
    audit.CASES[1].prepare(tmp_path, True)
    kept = [way.start(tmp_path, stack)() for way in audit.CASES[1].ways if way.name in (APP, audit.PLAIN)]
    assert kept[0] == kept[1]
    assert kept[0]


def test_the_plain_way_that_does_the_same_work_comes_to_the_same_rows() -> None:
    actions = json.loads(logs.log_bytes(300))["actions"]
    actions[7]["endTime"] = actions[40]["startTime"]  # contains what is between
    actions[9]["inputs"] = {
        "Password": {"localizedName": "Password", "value": "x", "variableName": ""},
        "row": {"localizedName": "Row", "value": '{"token": "x", "id": [1]}', "variableName": "Row"},
        "text": {"localizedName": "Text", "value": "ä" * 5000, "variableName": ""},
    }
    actions[11]["outputs"] = {}
    table = ActionTable(logs._session(), ValueRules("full", logs.REDACT, logs.MAX_VALUE_CHARS))
    table.extend(read_actions([json.dumps({"actions": actions}).encode()]))
    table.finish()
    own = pa.concat_tables(list(table.rows())).to_pylist()
    plain = logs.plain_full_rows(actions)
    for name, of_plain in (("parent_seq", "parent"), ("depth", "depth"), ("is_leaf", "is_leaf")):
        assert [row[name] for row in own] == [row[of_plain] for row in plain]
    assert sum(row["depth"] for row in own) > 20
    for kind in ("inputs", "outputs"):
        assert [_value(row[kind]) for row in own] == [_value(row[kind]) for row in plain]


def _value(value: Any) -> Any:
    """The same with the JSON in texts read, however deep."""
    if isinstance(value, dict):
        return {name: _value(inner) for name, inner in value.items()}
    if not isinstance(value, str):
        return value
    try:
        return _value(json.loads(value))
    except ValueError:
        return value


def test_the_app_and_duckdb_publish_the_same_rows(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "FILES", 60)
    case = next(case for case in CASES.values() if case.name == "publish-100k")
    monkeypatch.setattr(publishing, "RUNS_PER_PART", 10)
    publishing._prepare(4_000, tmp_path, True)  # twenty runs
    files: dict[str, str] = {}
    for name, grain in ((APP, "day"), (publishing.HOURLY, "hour")):
        case.way(name).start(tmp_path, stack)()
        files[name] = f"{tmp_path}/{grain}-now/powerbi/{publishing.FOLDER}/*.parquet"
    case.way(publishing.DUCKDB).start(tmp_path, stack)()
    files[publishing.DUCKDB] = f"{tmp_path}/duckdb.parquet"
    found = {name: duckdb.connect().execute(COUNT.format(place)).fetchone() for name, place in files.items()}
    assert len(set(found.values())) == 1, found
    assert (found[APP] or (0,))[0] == 4_800  # two staged logs replace one each, four are new


def test_recent_logs_touch_few_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "FILES", 60)
    monkeypatch.setattr(publishing, "RUNS_PER_PART", 10)
    publishing._prepare_recent(100_000, tmp_path, True)
    files = f"{tmp_path}/{publishing.STAGED_PARQUET}/*.parquet"
    hours = duckdb.read_parquet(files).select(duckdb.SQLExpression("hour(created_utc AT TIME ZONE 'UTC')"))
    assert sorted(hours.distinct().fetchall()) == [(20,), (21,)]
    assert len(list((tmp_path / "hour" / "powerbi" / publishing.FOLDER).iterdir())) == 22


def test_a_goal_tells_by_how_much_it_is_missed() -> None:
    outcomes = {
        "log-10000": outcome(
            CASES["log-10000"], **{APP: 1.0, logs.TO_PARQUET: 2.0, logs.PLAIN: 6.0, logs.LIMIT: 1.0}
        )
    }
    fast = Goal("fast", AT_LEAST, 6, "times", between("log-10000", logs.TO_PARQUET, logs.PLAIN))
    assert fast.judged(outcomes) == (3.0, False)
    assert fast.missed_by(3.0) == 2.0
    assert Goal("small", AT_MOST, 6, "s", lambda _: 3.0).judged(outcomes) == (3.0, True)
    lines = list(goals(outcomes))
    assert (
        "| log of 10,000 actions, beside the plain way | at least 6 times | 3.00 | **missed**, 2.00 times off |"
        in lines
    )
    assert sum(line.endswith("| not run |") for line in lines) == len(GOALS) - 2


def test_a_way_that_did_not_run_is_told() -> None:
    found = Outcome(CASES["log-10"], Size(1), 1, {}, {"json, polars": "No module named 'polars'"})
    assert any("did not run: No module named 'polars'" in line for line in lines_of(found))


def test_the_picture_shows_each_step_as_long_as_it_took() -> None:
    steps = {
        "poll": {"cpu_s": 1.0, "layers": {LAYERS[0]: 3, LAYERS[2]: 1}},
        "publish": {"cpu_s": 2.0, "layers": {LAYERS[3]: 5}},
    }
    drawing = ET.fromstring(profile(steps))  # noqa: S314 - our own
    bars = [float(one.get("width", 0)) for one in drawing.iter() if one.get("height") == "22"]
    assert bars[0] == 3 * bars[1]
    assert bars[2] == 2 * (bars[0] + bars[1])


def test_the_guard_watches_cases_that_there_are() -> None:
    for name, way in LEAST:
        assert CASES[name].way(way)


def test_the_page_has_every_goal_and_names_no_machine() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    assert [goal.what for goal in GOALS if f"| {goal.what} |" not in text] == []
    assert not re.search(r"(?:^|\s)/(?:home|root|tmp|work|Users)/", text)
    assert (ROOT / "docs" / "benchmarks.svg").is_file()
