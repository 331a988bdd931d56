"""Forgetting a person in the data storage account, safely beside the running app."""

from __future__ import annotations

import gzip
import re
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from shared.audit.events import read_event
from shared.audit.feed import ContentBlob
from shared.audit.reading import as_array
from shared.errors import Conflict, Unreadable
from shared.publishing.counts import counts_of
from shared.publishing.derived import DERIVED
from shared.publishing.forgotten import Forgotten, ForgottenPeople, names_of, new_pseudonym
from shared.publishing.merge import RULES, merge
from shared.publishing.parquet import RowGroups, read_rows, write_rows
from shared.publishing.published import copy_of
from shared.publishing.publisher import lock_name
from shared.publishing.staging import Destination, Staging, destination_of, spool
from shared.schema import DIM_USER, FACT_AUDIT_EVENT, FACT_FLOW_SESSION
from shared.state.blobs import BlobItem, Lease
from shared.state.checkpoints import Checkpoints
from shared.state.entities import Entity, Operation, Write
from shared.state.names import FORGOTTEN, Container, StateTable
from shared.state.register import Register
from shared.state.storage import Storage
from shared.state.version import refuse_newer

READERS = 16
MOST_PASSES = 3
PATIENCE_S = 660.0
PAUSE_S = 1.0
NAMED = (StateTable.FLOWS, StateTable.MACHINES)
STATE = (StateTable.FLOW_SESSIONS, *NAMED)


@dataclass(frozen=True)
class Findings:
    """How many rows, records and files hold something of a person, by the place where they lie."""

    counts: Counter[str] = field(default_factory=Counter[str])

    def add(self, where: str, number: int = 1) -> None:
        if number:
            self.counts[where] += number

    @property
    def to_rewrite(self) -> int:
        """What is rewritten here; staged rows are replaced when the app publishes them."""
        return sum(number for where, number in self.counts.items() if not where.startswith("staged"))


class Forgetting:
    """Without `apply` it only counts.

    First the names enter the list that publishing obeys, then everything that is stored is rewritten, each
    published file under the lease and the ETag that `publish_day` works with.
    """

    def __init__(self, storage: Storage, upn: str, also: Sequence[str] = (), *, apply: bool = False) -> None:
        self.storage = storage
        self.blobs = storage.blobs
        self.apply = apply
        checkpoints = Checkpoints(storage.table(StateTable.CHECKPOINTS))
        refuse_newer(checkpoints)
        self.people = ForgottenPeople(checkpoints)
        self.register = Register(storage.table(StateTable.FLOW_SESSIONS))
        self.names = {form for name in (upn, *also) for form in names_of(name)}
        self.upn = upn.strip().lower()
        self.forgotten = Forgotten()
        self.is_known = False
        self.findings = Findings()

    def run(self) -> Findings:
        """All of it; with `apply` again, until nothing is found any more. The first findings are returned."""
        self._know()
        first = self._pass()
        left = first.to_rewrite if self.apply else 0
        for _ in range(MOST_PASSES):
            if not left or not (left := self._pass().to_rewrite):
                return first
        raise Conflict("The app keeps writing what is being forgotten. Run the command again.")

    def _know(self) -> None:
        """Find the other ids of the person, and put all names on the list: from now on the app obeys it.

        Where a person is on the list already, some names may be known by their hashes only.
        """
        known = self.people.load()
        before = next(filter(None, map(known.pseudonym_of, sorted(self.names))), None)
        self.is_known, pseudonym = before is not None, before or new_pseudonym()
        self.names |= self._object_ids() | self._user_keys({self.upn, pseudonym})
        if self.apply:
            self.people.add(sorted(self.names), pseudonym, datetime.now(UTC))
            self._wait_for_publishers()
        self.forgotten = (known if self.is_known else Forgotten()).with_names(self.names, pseudonym)

    def _object_ids(self) -> set[str]:
        rows = [row for _, rows in self._tables(DIM_USER.name, ["user_id", "entra_object_id"]) for row in rows]
        ids = (row["entra_object_id"] for row in rows if row["user_id"] == self.upn and row["entra_object_id"])
        return {form for one in ids for form in names_of(one)}

    def _user_keys(self, person: set[str]) -> set[str]:
        """Alternative ids that the audit log uses for this person, and for nobody else."""
        users: dict[str, set[str]] = {}
        for _, rows in self._tables(FACT_AUDIT_EVENT.name, ["user_id", "user_key"]):
            for row in rows:
                users.setdefault(row["user_key"] or "", set()).add(row["user_id"])
        theirs = (key for key, of in users.items() if of <= person and not key.startswith(FORGOTTEN))
        return {form for key in theirs for form in _forms(key)}

    def _tables(self, folder: str, columns: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        for item in self.blobs.list(Container.POWERBI, f"{folder}/"):
            place = destination_of(item.name)
            with copy_of(self.blobs, item.name) as (file, etag):
                if place and etag:
                    rows = read_rows(place.table, file, columns)
                    yield item.name, rows.group_by(columns).aggregate([]).to_pylist()

    def _wait_for_publishers(self) -> None:
        """One that began before the list was written knows nothing of it; what it works on is still staged."""
        for place in Staging(self.blobs).waiting():
            with self._leased(place):
                continue

    @contextmanager
    def _leased(self, place: Destination) -> Iterator[Lease]:
        until = time.monotonic() + PATIENCE_S
        with ExitStack() as stack:
            while True:
                try:
                    lease = stack.enter_context(self.blobs.leased(Container.STAGING, lock_name(place)))
                    break
                except Conflict:
                    if time.monotonic() > until:
                        raise
                    time.sleep(PAUSE_S)
            yield lease

    def _pass(self) -> Findings:
        self.findings = Findings()
        self._state()
        self._published()
        self._staged()
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(self._raw, self.blobs.list(Container.RAW, "audit/")))
            list(pool.map(self._unreadable, self.blobs.list(Container.RAW, "unreadable/")))
        return self.findings

    def _state(self) -> None:
        for table in NAMED:  # small, and their names are free text
            for entity in self.storage.table(table).all():
                if self.forgotten.values(entity.properties) != dict(entity.properties):
                    self._replace(table, entity)
        runs = self.storage.table(StateTable.FLOW_SESSIONS)
        for name in sorted(self.names):
            for entity in runs.query("user_id eq @name", {"name": name}):
                self._replace(StateTable.FLOW_SESSIONS, entity)

    def _replace(self, table: StateTable, entity: Entity) -> None:
        self.findings.add(f"table {table}")
        if not self.apply:
            return
        texts = self.forgotten.values(entity.properties)
        with suppress(Conflict):  # the next pass looks at it again
            self.storage.table(table).write(
                Operation(Write.REPLACE, entity.partition, entity.row, texts, entity.etag)
            )

    def _published(self) -> None:
        for item in self.blobs.list(Container.POWERBI):
            place = destination_of(item.name)
            if place is None or place.table.name in DERIVED or not self._published_holds(item, place):
                continue
            if self.apply:
                with suppress(Conflict), self._leased(place) as lease:  # the next pass looks at it again
                    self._rewrite(item.name, place, lease)

    def _staged(self) -> None:
        staging = Staging(self.blobs)
        for place, items in staging.waiting().items():
            for item in items:
                with suppress(Conflict):  # published meanwhile: the next pass finds it there
                    self._holds("staged", place, staging.read(place, [item]))

    def _published_holds(self, item: BlobItem, place: Destination) -> bool:
        with copy_of(self.blobs, item.name) as (file, etag):
            return bool(etag) and self._holds("published", place, _groups(place, file))

    def _holds(self, kind: str, place: Destination, parts: Iterable[pa.Table]) -> bool:
        """Whether a file holds something; its rows are counted."""
        number = sum(self._counted(place, rows) for rows in parts)
        self.findings.add(f"{kind} {place.table.name}", number)
        return number > 0

    def _counted(self, place: Destination, rows: pa.Table) -> int:
        """How many rows hold something. Runs are cleared in the register too, or they would come back."""
        cleared, touched = self._touched(place, rows)
        number = pc.sum(touched).as_py() or 0
        if number and self.apply and place.table is FACT_FLOW_SESSION:
            self._register(cleared.filter(touched).to_pylist())
        return number

    def _touched(self, place: Destination, rows: pa.Table) -> tuple[pa.Table, pa.Array]:
        """The rows as they are to be; a cheap search first, for most hold nothing."""
        if not any(self._may_hold(column) for column in rows.itercolumns()):
            return rows, pa.repeat(pa.scalar(value=False), rows.num_rows)
        return self.forgotten.rows(place.table, rows)

    def _may_hold(self, column: Any) -> bool:
        if str(column.type) not in ("string", "dictionary<values=string, indices=int32, ordered=0>"):
            return False
        if self.is_known:
            return True
        texts = pc.unique(column.cast(pa.string()))
        return any(pc.any(pc.match_substring(texts, name, ignore_case=True)).as_py() for name in self.names)

    def _rewrite(self, name: str, place: Destination, lease: Lease) -> None:
        """Write a file anew unless somebody else did meanwhile; the next pass looks again."""
        with copy_of(self.blobs, name) as (old, etag), spool() as new:
            if etag is None:
                return
            write_rows(place.table, self._rewritten(place, _groups(place, old), lease), new)
            notes = counts_of(place.table, new)
            new.seek(0)
            self.blobs.put(Container.POWERBI, name, new, if_match=etag, notes=notes)

    def _rewritten(self, place: Destination, groups: Iterable[pa.Table], lease: Lease) -> Iterator[pa.Table]:
        if place.day is None:
            rows = pa.concat_tables([self._touched(place, rows)[0] for rows in groups])
            merged = merge(RULES[place.table.name], lambda _: (), [rows])  # two names became one member
            yield merged.new if merged else rows
            return
        for rows in groups:
            lease.renew()
            yield self._touched(place, rows)[0]

    def _register(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            known = self.register.get(row["environment_id"], row["created_utc"].date(), row["session_id"])
            if known:
                self.register.update([known.session], lambda run, now: self.forgotten.record(now or run))

    def _raw(self, item: BlobItem) -> None:
        """Replace the names in the records of a blob; the address from which the person came goes with them."""
        body = _unpacked(self.blobs.get(Container.RAW, item.name) or b"")
        if not self._names_in(body):
            return
        before = _records(body)
        if not before:
            self._unreadable(item)
            return
        after = [self._record(raw) for raw in before]
        changed = sum(one != other for one, other in zip(before, after, strict=True))
        self.findings.add("records in raw", changed)
        if self.apply and changed:
            with suppress(Conflict):  # the next pass looks at it again
                packed = gzip.compress(as_array(after), 6, mtime=0)
                self.blobs.put(Container.RAW, item.name, packed, if_match=item.etag)

    def _record(self, raw: bytes) -> bytes:
        text = raw.decode("utf-8", "replace")
        cleared = self.forgotten.text(text)
        if cleared == text:
            return raw
        blob = ContentBlob("", "", "", datetime.now(UTC), datetime.now(UTC))
        try:
            row: Mapping[str, Any] = read_event(raw, blob, datetime.now(UTC))
        except Unreadable:
            row = {}
        if self.forgotten.pseudonym_of(row.get("user_id") or "") and row.get("client_ip"):
            cleared = re.sub(re.escape(row["client_ip"]), "", cleared, flags=re.IGNORECASE)
        return cleared.encode()

    def _unreadable(self, item: BlobItem) -> None:
        """What can't be read can't be rewritten either: it is deleted."""
        content = self.blobs.get(Container.RAW, item.name) or b""
        if self._names_in(_unpacked(content)):
            self.findings.add("unreadable files in raw")
            if self.apply:
                self.blobs.delete_unless_changed(Container.RAW, item)

    def _names_in(self, body: bytes) -> bool:
        text = body.decode("utf-8", "replace")
        if self.is_known:
            return self.forgotten.text(text) != text
        lower = text.lower()
        return any(name in lower for name in self.names)


def _groups(place: Destination, file: IO[bytes]) -> Iterator[pa.Table]:
    groups = RowGroups(place.table, file)
    return map(groups.read, range(len(groups)))


def _forms(key: str) -> set[str]:
    try:
        return names_of(key)
    except ValueError:  # too short, or no word: it tells nobody apart
        return set()


def _unpacked(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return content


def _records(body: bytes) -> list[bytes]:
    try:
        return [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
