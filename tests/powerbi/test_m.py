"""The model's queries, by Microsoft's own language service for Power Query."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from local.desk import ROOT
from local.packages import installed, node
from powerbi.tmdl_reader import expressions, read_table

SYMBOLS = os.environ.get("FLOWTRAIL_POWERQUERY_SYMBOLS")
DEFINITION = ROOT / "powerbi/Flowtrail.SemanticModel/definition"
CHECK = ROOT / "local/powerquery/check.js"
pytestmark = pytest.mark.skipif(
    not SYMBOLS, reason="FLOWTRAIL_POWERQUERY_SYMBOLS names no list of the Power Query library's symbols"
)
FAULTS = {
    "a syntax error": "let Source = in Source",
    "an unknown function": "Table.SelectRow(#table({}, {}), each true)",
    "an unknown name": "let Source = Sauce in Source",
    "too few arguments": "Table.AddColumn(#table({}, {}))",
    "a name used twice": "let A = 1, A = 2 in A",
}


def queries() -> dict[str, str]:
    """Every query of the model, as the files have it."""
    tables = map(read_table, sorted((DEFINITION / "tables").glob("*.tmdl")))
    partitions = {table.name: part.text for table in tables for part in table.of("partition").values()}
    return {**expressions(DEFINITION / "expressions.tmdl"), **partitions}


@cache
def problems_of(names: tuple[str, ...], texts: tuple[tuple[str, str], ...]) -> dict[str, list[str]]:
    packages = installed(CHECK.parent)
    script = Path(shutil.copy(CHECK, packages))
    asked = {"symbols": SYMBOLS, "names": names, "queries": dict(texts)}
    command = [node().executable, script]
    found = subprocess.run(  # noqa: S603 - our own script
        command, input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=300
    )
    assert not found.returncode, found.stderr[-2000:]
    return json.loads(found.stdout)


def problems(texts: dict[str, str]) -> dict[str, list[str]]:
    names = tuple(expressions(DEFINITION / "expressions.tmdl"))
    return problems_of(names, tuple(texts.items()))


def test_every_query_is_in_order() -> None:
    texts = queries()
    assert len(texts) == 11 + 14
    assert all(text.strip() for text in texts.values())
    assert {name: found for name, found in problems(texts).items() if found} == {}


def test_the_check_sees_faults() -> None:
    found = problems(FAULTS)
    assert all(found.values()), found
