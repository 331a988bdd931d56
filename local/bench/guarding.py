"""Whether the hot paths are still far ahead of the plain ways: ratios of CPU time, the best of several rounds."""

from __future__ import annotations

from collections.abc import Callable

from local.bench.cases.audit import PLAIN as AUDIT_PLAIN
from local.bench.cases.logs import PLAIN
from local.bench.catalogue import CASES
from local.bench.measuring import APP
from local.bench.running import run_best

ROUNDS = 3
LEAST = {("log-10000", PLAIN): 1.4, ("audit-5", AUDIT_PLAIN): 1.3}
"""Less than half of the least that was measured on a busy machine, 3.1 and 2.7; a quiet one shows 4.2 and 5.0."""


def guard(say: Callable[[str], None]) -> int:
    """The exit code: 1 if a ratio is below its bound."""
    fallen = 0
    for (name, plain), least in LEAST.items():
        best = run_best(CASES[name], (APP, plain), ROUNDS)
        ratio = best[plain] / best[APP]
        say(f"{name}: {ratio:.1f} times as fast as the plain way, {least:g} at least")
        fallen += ratio < least
    return int(fallen > 0)
