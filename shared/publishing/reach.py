"""Which days of runs reach into which days of machine time, remembered in both directions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from shared.errors import Conflict
from shared.state.checkpoints import Checkpoints
from shared.times import parse_day

MOST_CONFLICTS = 10
ACTIVE_DAYS = "runs-active-on"
CREATED_DAYS = "machine-hours-from"
DELETED = "runs-deleted"
BEFORE = "before"


@dataclass(frozen=True)
class Reach:
    """Runs are filed by the day of their creation, machine hours by their own: a run may reach other days.

    What was reached once stays remembered, for a run that is corrected later leaves hours to be counted anew
    where it no longer is.
    """

    checkpoints: Checkpoints

    def note(self, created: date, active: Iterable[date]) -> set[date]:
        """Remember that runs created on a day were active on others; return all days they ever were active on."""
        others = set(active) - {created}
        for day in others:
            self._add(CREATED_DAYS, day, {created})
        return {created, *self._add(ACTIVE_DAYS, created, others)}

    def created_days(self, active: date) -> list[date]:
        """Days whose runs may have been active on a day, itself included."""
        return sorted({active, *self._add(CREATED_DAYS, active, set())})

    def note_deletion(self, before: date) -> None:
        """Remember, first of all, that the runs created before a day are about to be deleted."""
        known = self.checkpoints.load(DELETED, BEFORE)
        if before.isoformat() > str(known.values.get("day") or ""):
            self.checkpoints.save(known, {"day": before.isoformat()})

    def lacks_runs(self, created: Iterable[date]) -> bool:
        """Whether runs of some days were deleted ever; a replay may have brought back a part of them."""
        before = str(self.checkpoints.load(DELETED, BEFORE).values.get("day") or "")
        return any(day.isoformat() < before for day in created)

    def _add(self, kind: str, source: date, days: set[date]) -> set[date]:
        for _ in range(MOST_CONFLICTS):
            known = self.checkpoints.load(kind, source.isoformat())
            there = {parse_day(text) for text in str(known.values.get("days") or "").split()}
            if days <= there:
                return there
            listed = " ".join(sorted(day.isoformat() for day in there | days))
            try:
                self.checkpoints.save(known, {"days": listed})
            except Conflict:
                continue
            return there | days
        raise Conflict(f"{kind} {source} was changed by somebody else {MOST_CONFLICTS} times in a row")
