"""Which action contains which, worked out from their times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MILLISECOND_NS = 1_000_000


@dataclass(frozen=True)
class Nesting:
    """Four columns as long as the log: nearest container, number of containers, contains none, own time."""

    parent_seq: list[int | None]
    depth: list[int]
    is_leaf: list[bool]
    self_ms: list[int | None]


def nest(starts_ns: Sequence[int | None], ends_ns: Sequence[int | None]) -> Nesting:
    """Nest actions by their times in nanoseconds since the epoch.

    A container starts no later, ends no earlier and lasts longer. An action without an end contains nothing;
    one without a start stands at the top. Times at full resolution matter: cut to milliseconds, an action
    would seem to contain the next one.
    """
    spans = [_span(start, end) for start, end in zip(starts_ns, ends_ns, strict=True)]
    nesting = Nesting([None] * len(spans), [0] * len(spans), [True] * len(spans), [None] * len(spans))
    inside_ns = [0] * len(spans)
    open_: list[tuple[int, int, int]] = []
    for start, end, seq in _outer_first(spans):
        while open_ and open_[-1][1] <= start:
            open_.pop()
        parent = next(
            (outer[2] for outer in reversed(open_) if outer[1] >= end and outer[:2] != (start, end)), None
        )
        if parent is not None:
            nesting.parent_seq[seq], nesting.depth[seq] = parent, nesting.depth[parent] + 1
            nesting.is_leaf[parent] = False
            inside_ns[parent] += end - start
        if end > start:
            open_.append((start, end, seq))
    nesting.self_ms[:] = map(_self_ms, ends_ns, spans, inside_ns)
    return nesting


def _span(start: int | None, end: int | None) -> tuple[int, int] | None:
    if start is None:
        return None
    return start, start if end is None or end < start else end


def _outer_first(spans: Sequence[tuple[int, int] | None]) -> list[tuple[int, int, int]]:
    """Start, end and position of the actions with a start; of those that start together the longest first."""
    timed = sorted((span[0], -span[1], seq) for seq, span in enumerate(spans) if span)
    return [(start, -minus_end, seq) for start, minus_end, seq in timed]


def _self_ms(end: int | None, span: tuple[int, int] | None, inside_ns: int) -> int | None:
    if span is None or end is None:
        return None
    return max(0, span[1] - span[0] - inside_ns) // MILLISECOND_NS
