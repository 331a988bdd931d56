"""Row groups taken over from one Parquet file into another as the bytes they are.

pyarrow encodes anew whatever it writes, which for a large file costs many times what copying costs. A row group's
bytes stay valid wherever they lie, once the footer tells the new place; so a footer is read, corrected and written
here. It is one struct in Thrift's compact protocol.

Source: Apache Parquet's `parquet.thrift`, and Thrift's specification of its compact protocol.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any

MAGIC = b"PAR1"
ENDING = struct.Struct("<I4s")
COPIED_BYTES = 1024 * 1024

TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
INTEGERS = frozenset({4, 5, 6})
I16, I64 = 4, 6
LONGEST_STEP = 15  # between the numbers of two fields, to stand beside the type
LONG_LIST = 15  # from so many items on, the length stands behind the type

# Of the file, of a row group, of a column chunk, and of what the chunk tells of itself: the fields corrected here.
SCHEMA, ROWS, ROW_GROUPS = 2, 3, 4
COLUMNS, GROUP_ROWS, GROUP_OFFSET, ORDINAL = 1, 3, 5, 7
CHUNK_OFFSET, CHUNK, OFFSET_INDEX, COLUMN_INDEX = 2, 3, (4, 5), (6, 7)
COMPRESSED_SIZE, DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, BLOOM_FILTER = 7, 9, 10, 11, (14, 15)

Struct = dict[int, tuple[int, Any]]
"""Field number to type and value, in the order of the file."""


@dataclass(frozen=True)
class Footer:
    """What a Parquet file says of itself."""

    fields: Struct

    @property
    def schema(self) -> Any:
        return self.fields[SCHEMA]

    @property
    def row_groups(self) -> list[Struct]:
        return self.fields[ROW_GROUPS][1][1]


def splice(old: IO[bytes], kept: Sequence[int], fresh: IO[bytes], sink: IO[bytes]) -> int:
    """Write a file of the row groups `kept` of `old` and all those of `fresh`; returns its number of rows.

    Both files must have one schema. Indexes and filters beside the row groups are not taken over.
    """
    there, footer = read_footer(old), read_footer(fresh)
    taken = [(old, there.row_groups[number]) for number in kept] + [(fresh, group) for group in footer.row_groups]
    sink.write(MAGIC)
    at, groups = len(MAGIC), list[Struct]()
    for source, group in taken:
        begin, end = _span(group)
        _copy(source, begin, end, sink)
        groups.append(_moved(group, at - begin, len(groups)))
        at += end - begin
    rows = sum(group[GROUP_ROWS][1] for group in groups)
    text = encode({**footer.fields, ROWS: (I64, rows), ROW_GROUPS: (LIST, (STRUCT, groups))})
    sink.write(text + ENDING.pack(len(text), MAGIC))
    return rows


def read_footer(file: IO[bytes]) -> Footer:
    file.seek(-ENDING.size, os.SEEK_END)
    size, _ = ENDING.unpack(file.read(ENDING.size))
    file.seek(-ENDING.size - size, os.SEEK_END)
    return Footer(decode(file.read(size)))


def _span(group: Struct) -> tuple[int, int]:
    """Where the bytes of a row group begin and end."""
    spans = [_chunk_span(column[CHUNK][1]) for column in group[COLUMNS][1][1]]
    return min(begin for begin, _ in spans), max(end for _, end in spans)


def _chunk_span(chunk: Struct) -> tuple[int, int]:
    begin = min(chunk[page][1] for page in (DATA_PAGE, DICTIONARY_PAGE) if page in chunk)
    return begin, begin + chunk[COMPRESSED_SIZE][1]


def _moved(group: Struct, by: int, ordinal: int) -> Struct:
    """A row group as it is told of once its bytes lie `by` bytes further on."""
    columns = [_moved_column(column, by) for column in group[COLUMNS][1][1]]
    moved = _shifted({**group, COLUMNS: (LIST, (STRUCT, columns))}, (GROUP_OFFSET,), by)
    return {**moved, ORDINAL: (I16, ordinal)} if ORDINAL in moved else moved


def _moved_column(column: Struct, by: int) -> Struct:
    chunk = _shifted(column[CHUNK][1], (DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE), by)
    moved = {**column, CHUNK: (STRUCT, _without(chunk, BLOOM_FILTER))}
    # 0 is what writers put that leave it to the chunk itself
    moved = _shifted(moved, (CHUNK_OFFSET,) if column[CHUNK_OFFSET][1] else (), by)
    return _without(moved, (*OFFSET_INDEX, *COLUMN_INDEX))


def _shifted(fields: Struct, numbers: Iterable[int], by: int) -> Struct:
    return {**fields, **{n: (fields[n][0], fields[n][1] + by) for n in numbers if n in fields}}


def _without(fields: Struct, numbers: Iterable[int]) -> Struct:
    return {number: field for number, field in fields.items() if number not in numbers}


def _copy(source: IO[bytes], begin: int, end: int, sink: IO[bytes]) -> None:
    source.seek(begin)
    left = end - begin
    while left:
        piece = source.read(min(left, COPIED_BYTES))
        if not piece:
            raise EOFError(f"the file ends {left} bytes before its row group does")
        sink.write(piece)
        left -= len(piece)


def decode(data: bytes) -> Struct:
    """A struct in the compact protocol."""
    return _Reader(data).struct()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self) -> Struct:
        fields: Struct = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = (head & 15, self._value(head & 15))
        return fields

    def _value(self, kind: int) -> Any:
        if kind in INTEGERS:
            return self._integer()
        if kind == STRUCT:
            return self.struct()
        if kind == BINARY:
            return self._bytes(self._varint())
        if kind in (LIST, SET):
            return self._list()
        if kind in (TRUE, FALSE):
            return None  # the type says it all
        if kind in (BYTE, DOUBLE):
            return self._bytes(1 if kind == BYTE else 8)
        raise ValueError(f"the footer holds a field of type {kind}, which is none of Parquet's")

    def _list(self) -> tuple[int, list[Any]]:
        head = self._byte()
        count = head >> 4 if head >> 4 < LONG_LIST else self._varint()
        kind = head & 15
        of_flags = kind in (TRUE, FALSE)  # in a list each flag has a byte of its own
        return kind, [self._byte() if of_flags else self._value(kind) for _ in range(count)]

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def _varint(self) -> int:
        data, at = self._data, self._at
        value = shift = 0
        while (byte := data[at]) & 128:
            value |= (byte & 127) << shift
            shift += 7
            at += 1
        self._at = at + 1
        return value | byte << shift

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)


def encode(fields: Struct) -> bytes:
    """A struct in the compact protocol; the same bytes as it was read from."""
    out = bytearray()
    _put_struct(out, fields)
    return bytes(out)


def _put_struct(out: bytearray, fields: Struct) -> None:
    last = 0
    for number in sorted(fields):
        kind, value = fields[number]
        step = number - last
        if 0 < step <= LONGEST_STEP:
            out.append(step << 4 | kind)
        else:
            out.append(kind)
            _put_integer(out, number)
        _put_value(out, kind, value)
        last = number
    out.append(0)


def _put_value(out: bytearray, kind: int, value: Any) -> None:
    if kind in INTEGERS:
        _put_integer(out, value)
    elif kind == STRUCT:
        _put_struct(out, value)
    elif kind == BINARY:
        _put_varint(out, len(value))
        out += value
    elif kind in (LIST, SET):
        _put_list(out, *value)
    elif kind in (BYTE, DOUBLE):
        out += value


def _put_list(out: bytearray, kind: int, values: Sequence[Any]) -> None:
    if len(values) < LONG_LIST:
        out.append(len(values) << 4 | kind)
    else:
        out.append(LONG_LIST << 4 | kind)
        _put_varint(out, len(values))
    for value in values:
        if kind in (TRUE, FALSE):
            out.append(value)
        else:
            _put_value(out, kind, value)


def _put_integer(out: bytearray, value: int) -> None:
    _put_varint(out, value << 1 if value >= 0 else (-value << 1) - 1)


def _put_varint(out: bytearray, value: int) -> None:
    while value > 127:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
