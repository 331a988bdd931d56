"""All cases by name, in the order in which they run."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from local.bench.cases import audit, day, fetching, logs, publishing, starting, state
from local.bench.measuring import Case

CASES: Mapping[str, Case] = MappingProxyType(
    {
        case.name: case
        for module in (starting, logs, audit, publishing, state, fetching, day)
        for case in module.CASES
    }
)
