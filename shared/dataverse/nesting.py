"""Which action contains which, worked out from their times."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

MILLISECOND_NS = 1_000_000
NOBODY = -1
SPANS_AT_ONCE = 65_536

Span = tuple[int, int, int]
"""Start and end in nanoseconds, and the position in the log."""

_TRUE = pa.array([True], pa.bool_())
_FALSE = pa.scalar(value=False, type=pa.bool_())
_ZERO = pa.scalar(0, pa.int64())
_A_MILLISECOND = pa.scalar(MILLISECOND_NS, pa.uint64())
_NONE, _NOBODY = pa.scalar(None, pa.int32()), pa.scalar(NOBODY, pa.int32())


@dataclass(frozen=True)
class Nesting:
    """Four columns as long as the log: nearest container, number of containers, contains none, own time."""

    parent_seq: pa.Array
    depth: pa.Array
    is_leaf: pa.Array
    self_ms: pa.Array


def nest(starts_ns: pa.Array, ends_ns: pa.Array) -> Nesting:
    """Nest actions by their times: 64-bit integers, in nanoseconds since the epoch.

    A container starts no later, ends no earlier and lasts longer. An action without an end contains nothing;
    one without a start stands at the top. Times at full resolution matter: cut to milliseconds, an action
    would seem to contain the next one.
    """
    count = len(starts_ns)
    in_order = pc.fill_null(pc.greater_equal(ends_ns, starts_ns), _FALSE)
    until_ns = pc.if_else(in_order, ends_ns, starts_ns)
    own_ns = array("Q")  # a span of centuries is more than a signed number of nanoseconds holds
    own_ns.frombytes(_numbers(pc.fill_null(pc.subtract(until_ns, starts_ns), _ZERO)).cast("B"))
    parents, depths, leaves = array("i", [NOBODY]) * count, array("i", [0]) * count, bytearray(b"\1") * count
    for seq, parent, length_ns in _contained(_together(starts_ns, until_ns)):
        parents[seq], depths[seq], leaves[parent] = parent, depths[parent] + 1, 0
        own_ns[parent] -= length_ns
    parent_seq = _column(pa.int32(), parents)
    own_ms = pc.divide(_column(pa.uint64(), own_ns), _A_MILLISECOND).cast(pa.int64())
    return Nesting(
        pc.if_else(pc.equal(parent_seq, _NOBODY), _NONE, parent_seq),
        _column(pa.int32(), depths),
        _column(pa.uint8(), leaves).cast(pa.bool_()),
        pc.if_else(pc.and_(starts_ns.is_valid(), ends_ns.is_valid()), own_ms, pa.scalar(None, pa.int64())),
    )


def _contained(spans: Iterable[Span]) -> Iterator[tuple[int, int, int]]:
    """Of spans, outer ones first, those in another: the position, that of the nearest such, and the length.

    What an earlier span in the same container covers already is left out of the length.

    A span hides those before it that end earlier, or are its equals: whatever comes and is in one of them is in it
    too, more closely. So of the open ones each ends before the one outside it, and the last is the container.
    """
    open_: list[Span] = []
    covered_until: list[int] = []  # of each open one
    for span in spans:
        start, end, seq = span
        while open_ and (open_[-1][1] <= start or open_[-1][1] < end or open_[-1][:2] == (start, end)):
            open_.pop()
            covered_until.pop()
        if open_:
            until = covered_until[-1]
            covered_until[-1] = max(end, until)
            yield seq, open_[-1][2], max(end, until) - max(start, until)
        if end > start:
            open_.append(span)
            covered_until.append(start)


def _together(starts_ns: pa.Array, until_ns: pa.Array) -> Iterator[Span]:
    """The spans that have a moment in common with another one; of those that start together the longest first."""
    order = _places_together(starts_ns, until_ns)
    for first in range(0, len(order), SPANS_AT_ONCE):
        places = order.slice(first, SPANS_AT_ONCE).cast(pa.int64())
        yield from zip(*map(_numbers, (starts_ns.take(places), until_ns.take(places), places)), strict=True)


def _places_together(starts_ns: pa.Array, until_ns: pa.Array) -> pa.Array:
    spans = pa.table({"start": starts_ns, "until": until_ns})
    order = pc.sort_indices(spans, sort_keys=[("start", "ascending"), ("until", "descending")])
    order = order.slice(0, len(order) - starts_ns.null_count)
    if len(order) == 0:
        return order
    reach = pc.cumulative_max(until_ns.take(order)).slice(0, len(order) - 1)
    apart = pc.less_equal(reach, starts_ns.take(order).slice(1))
    alone = pc.and_(pa.concat_arrays([_TRUE, apart]), pa.concat_arrays([apart, _TRUE]))
    return order.filter(pc.invert(alone))


def _numbers(column: pa.Array) -> memoryview[int]:
    """The 64-bit integers of a column without gaps, as they lie in memory."""
    first = column.offset
    return memoryview(column.buffers()[1] or b"").cast("q")[first : first + len(column)]


def _column(kind: pa.DataType, numbers: array[int] | bytearray) -> pa.Array:
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])
