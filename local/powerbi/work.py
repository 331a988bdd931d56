"""What a run is worth: the minutes that its work takes by hand, and what people and robots cost.

Nobody but the owner of a process knows these numbers, so they are parameters of the model; their defaults are an
example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

WORK_TABLE = "Work by Hand"
ALL_OTHERS = "*"
COLUMNS = ("Flow ID", "Minutes", "Hourly Rate", "Cost of Run", "Cost of Failure")


@dataclass(frozen=True)
class WorkByHand:
    """Money in any one currency; `minutes_of_flows` are the flows, by id, that differ from `minutes`."""

    minutes: float = 10
    hourly_rate: float = 30
    cost_of_run: float = 0
    cost_of_failure: float = 0
    minutes_of_flows: Mapping[str, float] = field(default_factory=dict[str, float])

    def rows(self) -> Iterator[tuple[str, float, float, float, float]]:
        """The rows of the model's table: one for each such flow, and one for all others."""
        for flow_id, minutes in {**self.minutes_of_flows, ALL_OTHERS: self.minutes}.items():
            yield flow_id, minutes, self.hourly_rate, self.cost_of_run, self.cost_of_failure
