"""Merging staged rows into the rows of a published file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from shared.schema import (
    DIM_ENVIRONMENT,
    DIM_FLOW,
    DIM_MACHINE,
    DIM_MACHINE_GROUP,
    DIM_USER,
    FACT_AUDIT_EVENT,
    FACT_FLOW_ACTION,
    FACT_FLOW_SESSION,
    Table,
)

SEPARATOR = "\x1f"
LONGEST_MS = 16


class Keep(StrEnum):
    """Which of several rows with one identity stays."""

    GREATEST = "the one with the greatest order"
    LEAST = "the one with the least order"
    LAST_SET = "all rows of the file that came last"


@dataclass(frozen=True)
class MergeRule:
    """`order` are the columns that rank rows of one identity: an instant, and text that decides between equals.

    `renewed` is the instant that decides among rows of the same rank: the latest stays. `caseless` is the column
    of the identity whose letters do not matter. `filled` is the column that is empty only in a row that stands
    for an empty set.
    """

    identity: tuple[str, ...]
    keep: Keep
    order: tuple[str, ...] = ()
    renewed: str | None = None
    caseless: str | None = None
    filled: str | None = None


def _newest(table: Table) -> MergeRule:
    return MergeRule(table.key, Keep.GREATEST, ("updated_utc",))


RULES: Mapping[str, MergeRule] = MappingProxyType(
    {
        FACT_FLOW_SESSION.name: MergeRule(FACT_FLOW_SESSION.key, Keep.GREATEST, ("ingested_utc",)),
        FACT_FLOW_ACTION.name: MergeRule(("session_id",), Keep.LAST_SET, filled="seq"),
        FACT_AUDIT_EVENT.name: MergeRule(
            FACT_AUDIT_EVENT.key,
            Keep.LEAST,
            ("content_created_utc", "content_id"),
            renewed="ingested_utc",
            caseless="operation",
        ),
        **{
            table.name: _newest(table)
            for table in (DIM_ENVIRONMENT, DIM_FLOW, DIM_MACHINE, DIM_MACHINE_GROUP, DIM_USER)
        },
    }
)
"""How each table merges, such that the order in which rows arrive does not matter.

Audit events are delivered again by design; of all copies the one in the oldest blob stays, as it was last read.
Deliveries differ in the letters of an operation, of which only the known ones are spelled in one way.
"""

Published = Callable[[Sequence[str]], Iterable[pa.Table]]
"""Some columns of the published file, one row group at a time."""


@dataclass(frozen=True)
class Merged:
    """The rows that are new in a file, and which of its own they replace."""

    rule: MergeRule
    new: pa.Table
    _replaced: pa.Array

    def touches(self, part: pa.Table) -> bool:
        """Whether rows of the file are replaced; their identity is all that is looked at."""
        return pc.any(pc.is_in(_identities(self.rule, part), value_set=self._replaced)).as_py() is True

    def remaining(self, part: pa.Table) -> pa.Table:
        """The rows of the file that stay."""
        return _without(part, _identities(self.rule, part), self._replaced)


def merge(rule: MergeRule, published: Published, staged: Sequence[pa.Table]) -> Merged | None:
    """What staged rows change in a file; `None` if nothing.

    `staged` are tables in the order in which they were staged. Of the published rows only the columns that decide
    are read, row group by row group, so that memory holds one row group and what is staged, whatever the file's
    size.
    """
    new = _without_repeats(rule, staged)
    new = _without(new, _identities(rule, new), _losers(rule, new, published))
    return Merged(rule, _filled(rule, new), pc.unique(_identities(rule, new))) if new.num_rows else None


def together(rule: MergeRule, staged: Sequence[pa.Table]) -> pa.Table:
    """Staged tables as one, which merges as they do one by one."""
    return _last_sets(rule, staged) if rule.keep is Keep.LAST_SET else pa.concat_tables(list(staged))


@dataclass
class SetsSeen:
    """Notices a set that several staged files hold: then it matters which of them is given up first."""

    rule: MergeRule
    repeated: bool = False
    _seen: set[str | None] = field(default_factory=set[str | None])

    def add(self, parts: Sequence[pa.Table], united: pa.Table) -> None:
        """Take note of some files, and of what they are as one."""
        if self.rule.keep is not Keep.LAST_SET or self.repeated:
            return
        sets = set(pc.unique(united.column(self.rule.identity[0])).to_pylist())
        left_out = sum(part.num_rows for part in parts) - united.num_rows
        self.repeated = left_out > 0 or not self._seen.isdisjoint(sets)
        self._seen |= sets


def _without_repeats(rule: MergeRule, staged: Sequence[pa.Table]) -> pa.Table:
    """The staged rows with one row for each identity; for sets, with the rows of one file for each."""
    rows = together(rule, staged)
    if rule.keep is Keep.LAST_SET:
        return rows
    rows = rows.unify_dictionaries()
    rows = rows.take(_best_first(rule, rows))
    positions = pa.Table.from_pydict(
        {"identity": _identities(rule, rows), "at": pa.array(range(rows.num_rows), pa.int64())}
    )
    first = positions.group_by("identity").aggregate([("at", "min")]).column("at_min").combine_chunks()
    return rows.take(first.take(pc.sort_indices(first)))


def _best_first(rule: MergeRule, rows: pa.Table) -> pa.Array:
    """Where the rows are, such that the one that stays comes before the others of its identity."""
    order = _order(rule, rows)
    for name in _renewals(rule):
        order = order.append_column(name, rows.column(name))
    direction = "ascending" if rule.keep is Keep.LEAST else "descending"
    keys = [("order", direction), *((name, "descending") for name in _renewals(rule))]
    return pc.sort_indices(order, sort_keys=keys)


def _last_sets(rule: MergeRule, staged: Sequence[pa.Table]) -> pa.Table:
    """The staged rows, not copied where nothing is left out: usually no later file holds the same set."""
    (name,) = rule.identity
    kept: list[pa.Table] = []
    later = set[str]()
    for rows in reversed(staged):
        sets = {one or "" for one in pc.unique(rows.column(name)).to_pylist()}
        repeated = pa.array(sorted(sets & later), pa.string())
        kept.append(_without(rows, _identities(rule, rows), repeated) if len(repeated) else rows)
        later |= sets
    return pa.concat_tables(kept[::-1])


def _without(rows: pa.Table, identities: pa.Array, left_out: pa.Array) -> pa.Table:
    """Rows whose identity is not among some; the same table where none is, for a filter copies."""
    if not len(left_out):
        return rows
    found = pc.is_in(identities, value_set=left_out)
    return rows.filter(pc.invert(found)) if pc.any(found).as_py() else rows


def _filled(rule: MergeRule, rows: pa.Table) -> pa.Table:
    if rule.filled is None or not rows.column(rule.filled).null_count:
        return rows
    return rows.filter(pc.is_valid(rows.column(rule.filled)))


def _losers(rule: MergeRule, new: pa.Table, published: Published) -> pa.Array:
    """Identities of staged rows that a published row outranks."""
    losers = [pa.array([], pa.string())]
    if rule.keep is Keep.LAST_SET:
        return losers[0]
    identities, order = _identities(rule, new), _order(rule, new).column("order").combine_chunks()
    outranks = pc.less_equal if rule.keep is Keep.LEAST else pc.greater_equal
    for part in published(list(dict.fromkeys((*rule.identity, *rule.order, *_renewals(rule))))):
        there = _identities(rule, part)
        there_order = _order(rule, part).column("order").combine_chunks()
        at = pc.index_in(there, value_set=identities)
        staged_order = order.take(at)
        stays = pc.fill_null(outranks(there_order, staged_order), fill_value=False)
        for name in _renewals(rule):
            newer = pc.greater(new.column(name).combine_chunks().take(at), part.column(name).combine_chunks())
            equal = pc.equal(there_order, staged_order)
            stays = pc.and_not(stays, pc.fill_null(pc.and_(newer, equal), fill_value=False))
        losers.append(there.filter(stays))
    return pa.concat_arrays(losers)


def _renewals(rule: MergeRule) -> tuple[str, ...]:
    return (rule.renewed,) if rule.renewed else ()


def _identities(rule: MergeRule, rows: pa.Table) -> pa.Array:
    """One text for each row; an empty part of a key counts as empty text."""
    columns = [pc.fill_null(_texts(rows, name), "") for name in rule.identity]
    if rule.caseless:
        at = rule.identity.index(rule.caseless)
        columns[at] = pc.utf8_lower(columns[at])
    return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, SEPARATOR)


def _order(rule: MergeRule, rows: pa.Table) -> pa.Table:
    """One column, `order`, that ranks rows of one identity: milliseconds, or text that begins with them."""
    instant, *others = rule.order
    milliseconds = pc.fill_null(rows.column(instant).combine_chunks().cast(pa.int64()), 0)
    texts = [_texts(rows, name) for name in others]
    if not texts:
        return pa.Table.from_pydict({"order": milliseconds})
    digits = pc.utf8_lpad(milliseconds.cast(pa.string()), LONGEST_MS, "0")
    return pa.Table.from_pydict({"order": pc.binary_join_element_wise(digits, *texts, SEPARATOR)})


def _texts(rows: pa.Table, name: str) -> pa.Array:
    return rows.column(name).cast(pa.string()).combine_chunks()
