"""The rows of `fact_flow_action`, made from the records of an action log."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shared.dataverse.action_log import ActionRecord
from shared.dataverse.nesting import MILLISECOND_NS, Nesting, nest
from shared.dataverse.sessions import LONGEST_MESSAGE, Session
from shared.dataverse.value_columns import value_texts
from shared.dataverse.values import ValueRules
from shared.schema import FACT_FLOW_ACTION, arrow_schema
from shared.times import epoch_ms, happened_utc, iso_utc

FAILED = "failed"
LONGEST_NAME = 1000
IN_MEMORY_BYTES = 16 * 1024 * 1024
BATCHES_UNTIL_RELEASE = 8
USUAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
NO_ERROR = (None, None, None)
NESTING_COLUMNS = ("parent_seq", "depth", "is_leaf", "self_ms")

TEXT, WHOLE, FLAG = pa.string(), pa.int64(), pa.bool_()
NANOSECONDS = pa.timestamp("ns", tz="UTC")
MILLISECONDS = pa.timestamp("ms", tz="UTC")
ZERO, NO_NUMBER, MILLISECOND = (pa.scalar(number, WHOLE) for number in (0, None, MILLISECOND_NS))


@dataclass
class LogSummary:
    """What the run's own row says of its log; `last_failed_*` is the last action that failed.

    An action inside error handling may have failed without the run, so it counts only if all that failed are such.
    """

    action_count: int = 0
    failed_action_count: int = 0
    last_failed_seq: int | None = None
    last_failed_name: str | None = None
    _is_handled: bool = True

    def add(self, records: Sequence[ActionRecord]) -> None:
        statuses = [record.status for record in records]
        of_failure = {status for status in set(statuses) if status and status.lower() == FAILED}
        failed = [at for at, status in enumerate(statuses) if status in of_failure] if of_failure else []
        if failed:
            self.failed_action_count += len(failed)
            unhandled = [at for at in failed if not records[at].inside_error_handling]
            if unhandled or self._is_handled:
                last = (unhandled or failed)[-1]
                self._is_handled = not unhandled
                self.last_failed_seq = self.action_count + last
                self.last_failed_name = (records[last].name or "")[:LONGEST_NAME] or None
        self.action_count += len(records)


class ActionTable:
    """The actions of one run: taken batch by batch, given back as whole rows once the nesting is known.

    Up to 16 MiB stay in memory, more goes to a temporary file; only the times of all actions stay. To be closed
    once its rows have been read.
    """

    def __init__(self, session: Session, rules: ValueRules) -> None:
        self.summary = LogSummary()
        self._session = session
        self._rules = rules
        self._held = _Held()
        self._starts_ns: list[pa.Array] = []
        self._ends_ns: list[pa.Array] = []
        self._nesting: Nesting | None = None

    def close(self) -> None:
        self._held.close()

    def extend(self, batches: Iterable[Sequence[ActionRecord]]) -> None:
        for records in batches:
            if not records:
                continue
            start_ns = _nanoseconds([record.start_time for record in records])
            end_ns = _nanoseconds([record.end_time for record in records])
            self._starts_ns.append(start_ns.cast(WHOLE))
            self._ends_ns.append(end_ns.cast(WHOLE))
            self._held.add(_batch(records, start_ns, end_ns, self._rules))
            self.summary.add(records)

    def finish(self) -> None:
        """Take no more actions, and work out how they nest."""
        if self._starts_ns:
            self._release()
            self._nesting = nest(_drained(self._starts_ns), _drained(self._ends_ns))
            self._release()

    def _release(self) -> None:
        """Give back what a large log took and no longer needs; each time costs time."""
        if self._held.is_large:
            pa.default_memory_pool().release_unused()

    def rows(self) -> Iterator[pa.Table]:
        """The rows in log order, with exactly the published columns, once all actions have been taken."""
        if self._nesting is None:
            return
        first = 0
        for number, batch in enumerate(self._held.batches(), 1):
            if number % BATCHES_UNTIL_RELEASE == 0:
                self._release()
            yield _rows(batch, first, self._session, self._nesting)
            first += batch.num_rows


class _Held:
    """Batches of one schema, in memory as long as they are small."""

    def __init__(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._bytes = 0
        self._file: Any = None
        self._writer: Any = None

    def close(self) -> None:
        self._batches = []
        if self._file is not None:
            self._file.close()

    @property
    def is_large(self) -> bool:
        return self._file is not None

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._bytes += batch.nbytes
        if self._bytes > IN_MEMORY_BYTES:
            self._spill()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - see close
            self._writer = pa.ipc.new_stream(self._file, self._batches[0].schema)
        for batch in self._batches:
            self._writer.write_batch(batch)
        self._batches = []

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All batches in the order in which they came; no more may be added."""
        if self._file is not None:
            self._writer.close()
            self._file.seek(0)
            with pa.ipc.open_stream(self._file) as reader:
                yield from reader
        yield from self._batches


def _drained(parts: list[pa.Array]) -> pa.Array:
    """The parts as one, and the list empty: of a long log, only one of both should be in memory."""
    whole = pa.concat_arrays(parts)
    parts.clear()
    return whole


def _batch(
    records: Sequence[ActionRecord], start_ns: pa.Array, end_ns: pa.Array, rules: ValueRules
) -> pa.RecordBatch:
    """The columns that a batch of actions has without the others of its log."""
    values = value_texts(rules, [record.inputs for record in records] + [record.outputs for record in records])
    code, message = _errors(records)
    columns = {
        "action_name": _names([record.name for record in records]),
        "system_action": _names([record.system_action_name for record in records]),
        "module": _names([record.system_module_name for record in records]),
        "subflow": _names([record.function_name for record in records]),
        "line": _integers([record.index for record in records]),
        "inside_error_handling": pa.array([record.inside_error_handling for record in records], FLAG),
        "started_utc": start_ns.cast(MILLISECONDS, safe=False),
        "ended_utc": end_ns.cast(MILLISECONDS, safe=False),
        "duration_ms": _duration_ms(start_ns, end_ns),
        "status": _names([record.status for record in records]),
        "error_code": code,
        "error_message": message,
        "inputs": values.slice(0, len(records)),
        "outputs": values.slice(len(records)),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _rows(batch: pa.RecordBatch, first: int, session: Session, nesting: Nesting) -> pa.Table:
    """A batch completed by what is known of its log, and of its actions by the place of the first one."""
    schema, count = arrow_schema(FACT_FLOW_ACTION), batch.num_rows
    columns: dict[str, pa.Array] = {
        **dict(zip(batch.schema.names, batch.columns, strict=True)),
        "session_id": pa.repeat(pa.scalar(session.session_id, TEXT), count),
        "seq": pa.arange(first, first + count),
        "environment_id": pa.repeat(pa.scalar(session.environment_id, TEXT), count),
        "flow_id": pa.repeat(pa.scalar(session.flow_id, TEXT), count),
        "created_utc": pa.repeat(pa.scalar(epoch_ms(session.created_utc), MILLISECONDS), count),
    }
    for name in NESTING_COLUMNS:
        columns[name] = getattr(nesting, name).slice(first, count).cast(schema.field(name).type)
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _nanoseconds(texts: list[str | None]) -> pa.Array:
    """Instants out of text; what is none becomes empty, what is written oddly is rewritten, in a slower way.

    The others keep their full resolution, without which the nesting would come out wrong.
    """
    try:
        return pa.array(texts, pa.string()).cast(NANOSECONDS)
    except pa.ArrowInvalid:
        return pa.array([_usual_time(text) for text in texts], pa.string()).cast(NANOSECONDS)


def _usual_time(text: str | None) -> str | None:
    """An instant as almost all are written; `None` for none, and for one that nanoseconds can't hold."""
    instant = happened_utc(text)
    if instant is None:
        return None
    return text if text and USUAL_TIME.fullmatch(text) else iso_utc(instant)


def _duration_ms(start_ns: pa.Array, end_ns: pa.Array) -> pa.Array:
    span_ns = pc.subtract(end_ns.cast(WHOLE), start_ns.cast(WHOLE))
    return pc.if_else(pc.less(span_ns, ZERO), NO_NUMBER, pc.divide(span_ns, MILLISECOND))


def _names(values: list[str | None]) -> pa.Array:
    names = pa.array(values, TEXT)
    if (pc.max(pc.binary_length(names)).as_py() or 0) <= LONGEST_NAME:
        return names
    return pc.utf8_slice_codeunits(names, 0, LONGEST_NAME)


def _integers(values: list[int | None]) -> pa.Array:
    try:
        return pa.array(values, WHOLE)
    except (OverflowError, pa.ArrowInvalid):
        fits = (value if value is not None and abs(value) < 1 << 63 else None for value in values)
        return pa.array(list(fits), WHOLE)


def _errors(records: Sequence[ActionRecord]) -> tuple[pa.Array, pa.Array]:
    """Codes and messages; most batches have none."""
    told = ((record.error, record.error_code, record.error_message) for record in records)
    if all(three == NO_ERROR for three in told):
        return pa.nulls(len(records), TEXT), pa.nulls(len(records), TEXT)
    codes, messages = [_error_code(record) for record in records], [_error_message(record) for record in records]
    return _names(codes), pa.array(messages, TEXT)


def _error_code(record: ActionRecord) -> str | None:
    return (record.error.code if record.error else None) or record.error_code


def _error_message(record: ActionRecord) -> str | None:
    message = (record.error.message if record.error else None) or record.error_message
    return message[:LONGEST_MESSAGE] if message else None
