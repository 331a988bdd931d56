"""Writes down what the published tables look like, as a promise to the reports that are built on them.

    python -m local.released_schema

Run at each release. Tests then hold every later version to it: columns may come, none may go or change its type.
"""

from __future__ import annotations

import json
from typing import Any

from local.desk import ROOT
from shared.schema import TABLES, Table, arrow_schema

PATH = ROOT / "docs" / "released-schema.json"


def described() -> dict[str, Any]:
    """Every table by name: its key, what its files are named after, and the type of each column."""
    return {name: _described(table) for name, table in TABLES.items()}


def _described(table: Table) -> dict[str, Any]:
    return {
        "key": list(table.key),
        "day_column": table.day_column,
        "columns": {field.name: str(field.type) for field in arrow_schema(table)},
    }


def broken(released: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What a report that was built on the released tables would miss."""
    problems = [f"{name} is gone" for name in released if name not in now]
    for name, before in released.items():
        after = now.get(name, before)
        problems += [f"{name}: {what} changed" for what in ("key", "day_column") if before[what] != after[what]]
        for column, kind in before["columns"].items():
            if (found := after["columns"].get(column, "gone")) != kind:
                problems.append(f"{name}.{column} was {kind} and is {found}")
    return problems


def main() -> None:
    PATH.write_text(json.dumps(described(), indent=2) + "\n", "utf-8", newline="\n")


if __name__ == "__main__":
    main()
