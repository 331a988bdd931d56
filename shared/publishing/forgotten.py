"""People whose data was deleted on request: their names never reach a published table again.

What is kept of them is a list of hashes, in the table `checkpoints`, partition `forgotten`: enough to know a name
again when a source sends it once more, not enough to read it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from shared.publishing.parquet import encoded
from shared.schema import DIM_USER, FACT_AUDIT_EVENT, Kind, Table
from shared.state.checkpoints import Checkpoints
from shared.state.names import FORGOTTEN

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")
KIND = "forgotten"
INSIDE = r"\w.+'#@%-"
WORD = re.compile(rf"\w[{INSIDE}]*\w")
ENDS = "'#"
"""What may follow a name within a word: a genitive, the fragment of an address."""
ESCAPED = "nrtbf"
LEAST_CHARS = 5


@dataclass(frozen=True)
class Forgotten:
    """`pseudonyms` maps the hash of each name to what stands for it; `lengths` are those of the names."""

    pseudonyms: Mapping[str, str] = field(default_factory=dict[str, str])
    lengths: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.pseudonyms)

    def with_names(self, names: Iterable[str], pseudonym: str) -> Forgotten:
        names = list(names)
        added = {digest(name): pseudonym for name in names}
        return Forgotten({**added, **self.pseudonyms}, self.lengths | {len(name) for name in names})

    def pseudonym_of(self, name: str) -> str | None:
        return self.pseudonyms.get(digest(name)) if len(name.lower()) in self.lengths else None

    def text(self, text: str) -> str:
        """The text with every forgotten name replaced, each where it stands as a word of its own."""
        return self._long_words.sub(self._word, text) if self else text

    @cached_property
    def _long_words(self) -> re.Pattern[str]:
        """Words that are as long as the shortest name: most texts hold none, which spares looking at each word."""
        return re.compile(rf"\w[{INSIDE}]{{{min(self.lengths) - 2},}}\w")

    def _word(self, match: re.Match[str]) -> str:
        word, before = match[0], match.string[match.start() - 1 : match.start()]
        if found := self._begin(word):
            return found
        if before == "\\" and word[0] in ESCAPED and (found := self._begin(word[1:])):
            return word[0] + found  # in JSON text a line break is an escape that ends in a letter
        return word

    def _begin(self, word: str) -> str | None:
        ends = [len(word), *(at for at, letter in enumerate(word) if letter in ENDS)]
        for end in ends:
            if found := self.pseudonym_of(word[:end]):
                return found + word[end:]
        return None

    def values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same values, texts without forgotten names."""
        return {name: self.text(value) if type(value) is str else value for name, value in values.items()}

    def record(self, record: Record) -> Record:
        """A dataclass likewise."""
        if not self:
            return record
        texts = {one.name: getattr(record, one.name) for one in fields(record)}
        return replace(record, **self.values(texts))

    def rows(self, table: Table, rows: pa.Table) -> tuple[pa.Table, pa.Array]:
        """The rows without forgotten names, and for each whether anything of it was replaced."""
        touched = pa.repeat(pa.scalar(value=False), rows.num_rows)
        for column in table.columns if self else ():
            if column.kind in (Kind.TEXT, Kind.LABEL):
                rows, changed = self._column(rows, column.name)
                touched = touched if changed is None else pc.or_(touched, changed)
        rows, changed = _without_traces(table, rows)
        return encoded(table, rows), touched if changed is None else pc.or_(touched, changed)

    def _column(self, rows: pa.Table, name: str) -> tuple[pa.Table, pa.Array | None]:
        texts = rows.column(name).cast(pa.string()).combine_chunks()
        distinct: Sequence[str | None] = pc.unique(texts).to_pylist()
        changes = {text: new for text in distinct if text and (new := self.text(text)) != text}
        if not changes:
            return rows, None
        values = [changes.get(text or "", text) for text in texts.to_pylist()]
        return _with(rows, name, pa.array(values, pa.string())), pc.is_in(texts, pa.array([*changes], pa.string()))


@dataclass(frozen=True)
class ForgottenPeople:
    """The list as it is stored; who publishes asks for it anew each time."""

    checkpoints: Checkpoints

    def load(self) -> Forgotten:
        stored = self.checkpoints.all(KIND)
        lengths = frozenset(int(place.values["length"]) for place in stored.values())
        return Forgotten({name: str(place.values["pseudonym"]) for name, place in stored.items()}, lengths)

    def add(self, names: Iterable[str], pseudonym: str, now: datetime) -> None:
        for name in names:
            place = self.checkpoints.load(KIND, digest(name))
            if not place.values:
                self.checkpoints.save(place, {"pseudonym": pseudonym, "length": len(name), "since_utc": now})

    def applied(self, table: Table, tables: Sequence[pa.Table]) -> Sequence[pa.Table]:
        """Staged rows as they may be published."""
        forgotten = self.load()
        return [forgotten.rows(table, rows)[0] for rows in tables] if forgotten else tables


def digest(name: str) -> str:
    return hashlib.sha256(f"flowtrail forgets {name.lower()}".encode()).hexdigest()[:32]


def new_pseudonym() -> str:
    """Random, so that nothing leads from it to the name but the list."""
    return FORGOTTEN + secrets.token_hex(4)


def names_of(identifier: str) -> set[str]:
    """The forms in which a name appears: as it is, in addresses, and in the paths of personal sites.

    Raises:
        ValueError: it is too short, or no single word, to be told apart from other text.
    """
    name = identifier.strip().lower()
    if len(name) < LEAST_CHARS or not WORD.fullmatch(name):
        raise ValueError(f"{identifier!r} is not a name of one word with {LEAST_CHARS} characters at least")
    return {name, name.replace("@", "%40"), re.sub(r"[@.]", "_", name)} if "@" in name else {name}


def _without_traces(table: Table, rows: pa.Table) -> tuple[pa.Table, pa.Array | None]:
    """Rows about forgotten people without what else would lead to them: addresses, display names."""
    if table not in (FACT_AUDIT_EVENT, DIM_USER):
        return rows, None
    users = rows.column("user_id").cast(pa.string()).combine_chunks()
    theirs = pc.fill_null(pc.starts_with(users, FORGOTTEN), fill_value=False)
    if not pc.any(theirs).as_py():
        return rows, None
    return _nameless(rows, users, theirs) if table is DIM_USER else _placeless(rows, theirs)


def _nameless(rows: pa.Table, users: pa.Array, theirs: pa.Array) -> tuple[pa.Table, pa.Array]:
    names, ids = (rows.column(name).combine_chunks() for name in ("display_name", "entra_object_id"))
    changed = pc.and_(theirs, pc.or_(pc.is_valid(ids), pc.fill_null(pc.not_equal(names, users), fill_value=True)))
    rows = _with(rows, "display_name", pc.if_else(theirs, users, names))
    return _with(rows, "entra_object_id", pc.if_else(theirs, pa.scalar(None, pa.string()), ids)), changed


def _placeless(rows: pa.Table, theirs: pa.Array) -> tuple[pa.Table, pa.Array]:
    addresses = rows.column("client_ip").cast(pa.string()).combine_chunks()
    changed = pc.and_(theirs, pc.is_valid(addresses))
    details = [
        text.replace(address, "") if text and address and is_theirs else text
        for text, address, is_theirs in zip(
            rows.column("details").to_pylist(), addresses.to_pylist(), theirs.to_pylist(), strict=True
        )
    ]
    rows = _with(rows, "details", pa.array(details, pa.string()))
    return _with(rows, "client_ip", pc.if_else(theirs, pa.scalar(None, pa.string()), addresses)), changed


def _with(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return pa.Table.from_pydict({**{one: rows.column(one) for one in rows.column_names}, name: values})
