"""The rows of `fact_flow_action`, made from the records of an action log."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from shared.dataverse.action_log import ActionRecord
from shared.dataverse.nesting import MILLISECOND_NS, Nesting, nest
from shared.dataverse.sessions import LONGEST_MESSAGE, Session
from shared.dataverse.values import ValueRules
from shared.schema import FACT_FLOW_ACTION, arrow_schema
from shared.times import epoch_ms, happened_utc, iso_utc

FAILED = "failed"
LONGEST_NAME = 1000
IN_MEMORY_BYTES = 16 * 1024 * 1024
NANOSECONDS = pa.timestamp("ns", tz="UTC")
MILLISECONDS = pa.timestamp("ms", tz="UTC")
USUAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
NESTING_COLUMNS = ("parent_seq", "depth", "is_leaf", "self_ms")
TIME_COLUMNS = ("start_ns", "end_ns")


@dataclass
class LogSummary:
    """What the run's own row says of its log; `last_failed_*` is the last action that failed."""

    action_count: int = 0
    failed_action_count: int = 0
    last_failed_seq: int | None = None
    last_failed_name: str | None = None

    def add(self, records: Sequence[ActionRecord]) -> None:
        for seq, record in enumerate(records, self.action_count):
            if record.status and record.status.lower() == FAILED:
                self.failed_action_count += 1
                self.last_failed_seq, self.last_failed_name = seq, (record.name or "")[:LONGEST_NAME] or None
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
        self._spool = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - see close
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None
        self._nesting: Nesting | None = None

    def close(self) -> None:
        self._spool.close()

    def extend(self, batches: Iterable[Sequence[ActionRecord]]) -> None:
        for records in batches:
            if not records:
                continue
            batch = _batch(records, self.summary.action_count, self._session, self._rules)
            if self._writer is None:
                self._writer = pa.ipc.new_stream(pa.PythonFile(self._spool, mode="w"), batch.schema)
            self._writer.write_batch(batch)
            self.summary.add(records)

    def finish(self) -> None:
        """Take no more actions, and work out how they nest."""
        if self._writer is not None:
            self._writer.close()
            self._nesting = nest(*(self._times(column) for column in TIME_COLUMNS))

    def rows(self) -> Iterator[pa.Table]:
        """The rows in log order, with exactly the published columns, once all actions have been taken."""
        if self._nesting is None:
            return
        first = 0
        for batch in self._batches():
            yield _with_nesting(batch, self._nesting, first)
            first += batch.num_rows

    def _batches(self) -> Iterator[pa.RecordBatch]:
        self._spool.seek(0)
        with pa.ipc.open_stream(pa.PythonFile(self._spool, mode="r")) as reader:
            yield from reader

    def _times(self, column: str) -> list[int | None]:
        return [value for batch in self._batches() for value in batch.column(column).to_pylist()]


def _batch(records: Sequence[ActionRecord], first: int, session: Session, rules: ValueRules) -> pa.RecordBatch:
    """All columns but those of the nesting, and the two times in nanoseconds that the nesting is made from."""
    start_ns = _nanoseconds([record.start_time for record in records])
    end_ns = _nanoseconds([record.end_time for record in records])
    columns: dict[str, pa.Array] = {
        "session_id": _same(session.session_id, len(records)),
        "seq": pa.array(range(first, first + len(records)), pa.int64()),
        "environment_id": _same(session.environment_id, len(records)),
        "flow_id": _same(session.flow_id, len(records)),
        "action_name": _names(record.name for record in records),
        "system_action": _names(record.system_action_name for record in records),
        "module": _names(record.system_module_name for record in records),
        "subflow": _names(record.function_name for record in records),
        "line": _integers([record.index for record in records]),
        "inside_error_handling": pa.array([record.inside_error_handling for record in records], pa.bool_()),
        "started_utc": start_ns.cast(MILLISECONDS, safe=False),
        "ended_utc": end_ns.cast(MILLISECONDS, safe=False),
        "duration_ms": _duration_ms(start_ns, end_ns),
        "status": _names(record.status for record in records),
        "error_code": _names(map(_error_code, records)),
        "error_message": pa.array([_error_message(record) for record in records], pa.string()),
        "inputs": pa.array([rules.text(bytes(record.inputs)) for record in records], pa.string()),
        "outputs": pa.array([rules.text(bytes(record.outputs)) for record in records], pa.string()),
        "created_utc": pa.repeat(pa.scalar(epoch_ms(session.created_utc), MILLISECONDS), len(records)),
        "start_ns": start_ns.cast(pa.int64()),
        "end_ns": end_ns.cast(pa.int64()),
    }
    return pa.RecordBatch.from_pydict(columns)


def _with_nesting(batch: pa.RecordBatch, nesting: Nesting, first: int) -> pa.Table:
    schema = arrow_schema(FACT_FLOW_ACTION)
    part = slice(first, first + batch.num_rows)
    columns: dict[str, pa.Array] = {name: batch.column(name) for name in batch.schema.names}
    for name in NESTING_COLUMNS:
        columns[name] = pa.array(getattr(nesting, name)[part], schema.field(name).type)
    return pa.Table.from_pydict({name: columns[name] for name in schema.names}, schema)


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
    span_ns = pc.subtract(end_ns.cast(pa.int64()), start_ns.cast(pa.int64()))
    span_ms = pc.divide(span_ns, pa.scalar(MILLISECOND_NS, pa.int64()))
    return pc.if_else(pc.less(span_ns, 0), pa.scalar(None, pa.int64()), span_ms)


def _same(value: str | None, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), count)


def _names(values: Iterable[str | None]) -> pa.Array:
    names = pa.array(list(values), pa.string())
    if (pc.max(pc.binary_length(names)).as_py() or 0) <= LONGEST_NAME:
        return names
    return pc.utf8_slice_codeunits(names, 0, LONGEST_NAME)


def _integers(values: list[int | None]) -> pa.Array:
    try:
        return pa.array(values, pa.int64())
    except (OverflowError, pa.ArrowInvalid):
        fits = (value if value is not None and abs(value) < 1 << 63 else None for value in values)
        return pa.array(list(fits), pa.int64())


def _error_code(record: ActionRecord) -> str | None:
    return (record.error.code if record.error else None) or record.error_code


def _error_message(record: ActionRecord) -> str | None:
    message = (record.error.message if record.error else None) or record.error_message
    return message[:LONGEST_MESSAGE] if message else None
