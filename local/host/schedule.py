"""The schedules of timer triggers, UTC: NCRONTAB as the app reads it, and what only the host makes of it."""

from datetime import UTC, datetime, timedelta

from shared.schedules import read_schedule

MONITORED_FROM = timedelta(minutes=1)


class Schedule:
    """An NCRONTAB expression of 6 fields, or 5 without the seconds.

    Raises:
        ValueError: the expression is not one, with what is wrong.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        fields = expression.split()
        whole = " ".join(["0", *fields][-6:]) if len(fields) in (5, 6) else expression
        try:
            self._schedule = read_schedule(whole)
        except ValueError as error:
            raise ValueError(str(error).removeprefix("is ")) from None

    def next_after(self, moment: datetime) -> datetime:
        """The first occurrence later than `moment`."""
        return self._schedule.next_after(moment)

    def is_monitored(self) -> bool:
        """Whether the host keeps a schedule status: not where occurrences are less than a minute apart."""
        first = self.next_after(datetime.now(UTC))
        return self.next_after(first) - first >= MONITORED_FROM
