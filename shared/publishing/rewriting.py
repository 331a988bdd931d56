"""A published file written anew with staged rows merged in, at the price of what is new."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import pyarrow as pa

from shared.publishing.merge import RULES, Merged, merge
from shared.publishing.parquet import RowGroups, ahead, write_rows
from shared.publishing.splice import splice
from shared.publishing.staging import spool
from shared.schema import Table


def rewrite(
    table: Table,
    old: IO[bytes] | None,
    staged: Sequence[pa.Table],
    sink: IO[bytes],
    alive: Callable[[], None] = lambda: None,
) -> pa.Table | None:
    """Write a file anew and return the rows that are new in it; `None`, and nothing written, if nothing changes.

    Row groups of which no row is replaced are copied as bytes; those that are touched, and small ones, are written
    anew together with the new rows, behind the others. `alive` is called before each row group that is read.
    """
    if old is None:
        with spool() as nothing:
            write_rows(table, [], nothing)
            return rewrite(table, nothing, staged, sink, alive)
    published = _Published(RowGroups(table, old), alive)
    merged = merge(RULES[table.name], published.parts, staged)
    if merged is None:
        return None
    kept = published.untouched(merged)
    rows = ahead(published.remaining(merged, kept))
    if kept:
        with spool() as fresh:
            write_rows(table, rows, fresh)
            splice(old, kept, fresh, sink)
    else:
        write_rows(table, rows, sink)
    return merged.new


@dataclass(frozen=True)
class _Published:
    """The file as it is."""

    groups: RowGroups
    alive: Callable[[], None]

    def parts(self, columns: Sequence[str]) -> Iterable[pa.Table]:
        return (self._read(number, columns) for number in range(len(self.groups)))

    def untouched(self, merged: Merged) -> list[int]:
        """The numbers of the row groups that can be left as they are."""
        if not self.groups.is_current:
            return []
        return [
            number
            for number in range(len(self.groups))
            if self.groups.is_full(number) and not merged.touches(self._read(number, merged.rule.identity))
        ]

    def remaining(self, merged: Merged, kept: Sequence[int]) -> Iterator[pa.Table]:
        """The rows of the file that is written anew, apart from the row groups that are kept."""
        for number in sorted(set(range(len(self.groups))) - set(kept)):
            yield merged.remaining(self._read(number))
        yield merged.new

    def _read(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        self.alive()
        return self.groups.read(number, columns)
