"""NCRONTAB schedules, UTC, through cronsim made as strict as the NCrontab library of the real host."""

import re
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

MONTHS = frozenset(["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"])
WEEKDAYS = frozenset(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"])
NAMES_OF_FIELD = (frozenset(), frozenset(), frozenset(), frozenset(), MONTHS, WEEKDAYS)
ALLOWED = re.compile(r"[0-9A-Z*,/-]+")
SUNDAY_AS_7 = re.compile(r"(?<![/\d])7")
MONITORED_FROM = timedelta(minutes=1)


class Schedule:
    """An NCRONTAB expression of 6 fields, or 5 without the seconds.

    Raises:
        ValueError: the expression is not one, with what is wrong.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        fields = expression.upper().split()
        if len(fields) not in (5, 6):
            raise ValueError(f"{expression!r} is no NCRONTAB expression of 5 or 6 fields")
        _refuse_what_only_cronsim_knows(["0", *fields][-6:], expression)
        try:
            self.next_after(datetime.now(UTC))
        except (CronSimError, StopIteration) as error:
            raise ValueError(f"{expression!r}: {error or 'it never occurs'}") from error

    def next_after(self, moment: datetime) -> datetime:
        """The first occurrence later than `moment`."""
        occurrences = CronSim(self.expression, moment)
        # NCrontab wants day of month and day of week both to match; cron takes either
        occurrences.day_and = True
        return next(occurrences)

    def is_monitored(self) -> bool:
        """Whether the host keeps a schedule status: not where occurrences are less than a minute apart."""
        first = self.next_after(datetime.now(UTC))
        return self.next_after(first) - first >= MONITORED_FROM


def _refuse_what_only_cronsim_knows(fields: list[str], expression: str) -> None:
    for field, names in zip(fields, NAMES_OF_FIELD, strict=True):
        words = set(re.findall(r"[A-Z]+", field))
        if not ALLOWED.fullmatch(field) or words - names:
            raise ValueError(f"{expression!r}: NCRONTAB has no {field!r}")
    if SUNDAY_AS_7.search(fields[5]):
        raise ValueError(f"{expression!r}: NCRONTAB numbers the days of the week 0 (Sunday) to 6")
