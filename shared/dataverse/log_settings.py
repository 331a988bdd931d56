"""What an environment's settings say of action logs: where to look for one, and whether any is to be expected.

The settings govern runs that a cloud flow starts; local runs always write the file. Changing them moves no log
that is there already, so they decide only where to look first. Source: Power Automate docs, "Configure desktop
flow logs".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from shared.dataverse.sessions import Outcome, Session

STATUSES = ("Enabled", "OnFailure", "Disabled")
VERSIONS = ("v1", "v2", "both")
V1, V2, BOTH = VERSIONS
SETTLE = timedelta(minutes=2)
SURE = timedelta(hours=1)
GRACE = timedelta(hours=24)
FAILING = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """The settings of one environment; `None` where it does not say.

    `ttl_minutes` is how long rows of `flowlogs` live, 0 for ever; `columns` are those to read of them, none where
    there is no such table; `custom_url` tells that logs go to a place of the customer's, where they can't be read.
    """

    status: str | None = None
    version: str | None = None
    ttl_minutes: int | None = None
    custom_url: bool = False
    columns: tuple[str, ...] = ()

    def generations(self, session: Session) -> tuple[str, ...]:
        """Where to look for a run's log, in this order; the first that has one is all of it.

        Where both are written, the table is preferred: it holds more. The sum would count every action twice.
        """
        if session.run_mode == "Local" or not self.columns:
            return (V1,)
        return (V2, V1) if self.version in (V2, BOTH) else (V1, V2)

    def expects(self, generation: str, session: Session) -> bool:
        """Whether the settings of today let this run write a log of this generation."""
        if session.run_mode == "Local":
            return generation == V1
        if self.status == "Disabled" or (self.status == "OnFailure" and session.outcome != Outcome.FAILED):
            return False
        return generation == V1 if self.version is None else self.version in (generation, BOTH)

    def expects_any(self, session: Session) -> bool:
        return any(self.expects(generation, session) for generation in (V1, V2))

    def expired(self, session: Session, age: timedelta) -> bool:
        """Whether the log of a run of this age was in the table and has been thrown away by the service."""
        in_table = self.version == V2 and self.expects(V2, session)
        return in_table and bool(self.ttl_minutes) and age > timedelta(minutes=self.ttl_minutes or 0)
