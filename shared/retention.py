"""How long data is kept, as the setting `RETENTION_DAYS` says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from shared.schema import TABLES

RAW = "raw"
LIMITED = (*(table.name for table in TABLES.values() if table.day_column), RAW)
"""What has days, so that old ones can be told from new ones."""
LEAST_DAYS = 30
"""Younger days still change: they are compared with their sources, and events come late."""
MOST_DAYS = 36_500
RULE = re.compile(r"([a-z_]+)\s*=\s*([0-9]{1,9})")


@dataclass(frozen=True)
class Retention:
    """Days to keep, by table; what is not named is kept for ever."""

    days: Mapping[str, int] = field(default_factory=dict[str, int])

    def first_day(self, what: str, today: date) -> date | None:
        """The oldest day to keep; `None`: all."""
        kept = self.days.get(what)
        return today - timedelta(days=kept) if kept else None

    def is_over(self, what: str, day: date | None, today: date) -> bool:
        first = self.first_day(what, today)
        return day is not None and first is not None and day < first


def parse_retention(text: str) -> Retention:
    """Rules like `fact_flow_action=400, raw=180`.

    Raises:
        ValueError: what is wrong, as a sentence that begins with the name of the setting.
    """
    days: dict[str, int] = {}
    for part in (part.strip() for part in re.split(r"[,;\n]", text)):
        rule = RULE.fullmatch(part)
        if part and (rule is None or rule[1] not in LIMITED):
            raise ValueError(
                f"has {part!r}; a rule looks like fact_flow_action=400, and can name {', '.join(LIMITED)}"
            )
        if rule and not LEAST_DAYS <= int(rule[2]) <= MOST_DAYS:
            raise ValueError(f"has {part!r}; a number of days is from {LEAST_DAYS} to {MOST_DAYS}")
        if rule and rule[1] in days:
            raise ValueError(f"names {rule[1]} more than once")
        if rule:
            days[rule[1]] = int(rule[2])
    return Retention(days)
