"""What docs/audit.md says is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from shared.app import ACTIVITY_REQUESTS_PER_MINUTE
from shared.audit import search_plan, submissions
from shared.audit.forgiveness import FIRST_PAUSE, LONGEST_PAUSE, PATIENCE
from shared.audit.operations import GROUPS, OTHER
from shared.clouds import CLOUDS
from shared.functions import poll_audit_content
from shared.settings import SETTINGS
from shared.state.journal import (
    BROUGHT_BY_SEARCH,
    FILLED_BY_SEARCH,
    LOSSES_OF_THE_FEED,
    RECORDS_UNREADABLE,
    SEARCH_INCOMPLETE,
)

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
QUOTED = set(re.findall(r"`([^`\n]+)`", PAGE))


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_every_group_is_in_it_and_no_other() -> None:
    first_cells = re.findall(r"^\| (`[^|]+) \|", section("Events and their groups"), re.MULTILINE)
    told = {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}
    assert told == {*GROUPS, OTHER}


def test_every_setting_of_the_audit_trail_is_in_it_and_none_that_is_not_there() -> None:
    known = {setting.name for setting in SETTINGS}
    told = {name for name in QUOTED if re.fullmatch(r"[A-Z]+(_[A-Z]+)+|CLOUD", name)}
    assert told <= known
    own = {name for name in known if name.startswith("AUDIT_") or name in ("CLOUD", "RAW_AUDIT")}
    assert own - {"AUDIT_WINDOW_HOURS"} <= told


def test_every_cloud_is_in_it() -> None:
    for name, cloud in CLOUDS.items():
        assert f"| `{name}` | `{cloud.activity_root}` | `{cloud.graph_root}` | `{cloud.authority}` |" in PAGE


def test_every_kind_of_gap_is_in_it() -> None:
    rows = re.compile(r"^\| `([a-z, ]+)` \|", re.MULTILINE)
    lost = LOSSES_OF_THE_FEED | {RECORDS_UNREADABLE}
    assert set(rows.findall(section("What can be lost, and how it is told"))) == lost
    of_search = {BROUGHT_BY_SEARCH, FILLED_BY_SEARCH, SEARCH_INCOMPLETE}
    told = section("What the feed does not have").partition("| kind in `gaps` |")[2]
    assert set(rows.findall(told)) == of_search


def test_its_figures_are_those_of_the_code() -> None:
    assert f"{ACTIVITY_REQUESTS_PER_MINUTE:,} requests a minute" in PAGE
    assert round(7 * 20_000 / ACTIVITY_REQUESTS_PER_MINUTE) == 72
    assert "72 minutes of" in PAGE
    assert poll_audit_content.DEADLINE_S == 8 * 60
    assert (FIRST_PAUSE.seconds, LONGEST_PAUSE.seconds, PATIENCE.days) == (600, 3600, 1)


def test_the_figures_of_the_search_are_those_of_the_code() -> None:
    text = section("What the feed does not have")
    assert submissions.SPACING.seconds == 9 * 60
    assert "one new query every nine minutes" in text
    assert search_plan.SIDE_BY_SIDE == 8
    assert "up to eight under way" in text
    assert search_plan.SETTLED.days == 8
    assert "eight days after its end" in text
    assert f"a multiple of {search_plan.ROUND:,} came" in text
    assert (search_plan.PAUSE.seconds, search_plan.MOST_TRIES) == (3600, 5)
    assert "asked anew after an hour, four times at most" in text
    assert search_plan.SHORTEST.seconds == 60
    assert f"as fewer than {search_plan.MOST_PIECES} queries wait" in text
    assert (search_plan.MOST_ABSENT, search_plan.MOST_ABSENT_PART) == (2, 0.05)
    assert "more than 5 % and more than two fewer" in text
