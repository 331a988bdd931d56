"""Decoding action logs: from the bytes as they arrive to the bytes that are staged.

The plain ways end at Parquet, so that a second way of the app does as well.
"""

from __future__ import annotations

import io
import json
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from local.bench.measuring import APP, MEBIBYTE, Case, Size, Way, Work

CHUNK_BYTES = MEBIBYTE
BEGIN = datetime(2026, 5, 19, 6, 0, 0, 123456, UTC)
DAY_OF_ALL = b'"2026-05-19T'
REDACT = re.compile(r"password|pwd|secret|token|key|credential|connection.?string", re.IGNORECASE)
MAX_VALUE_CHARS = 4000
HIDDEN = "(hidden)"
KINDS = (
    ("SetVariable", "Variables", ("value",)),
    ("PopulateTextField", "WebAutomation", ("control", "text", "browserInstance")),
    ("ReadFromExcel", "Excel", ("instance", "readAs", "startColumn", "startRow")),
    ("LoopForeach", "Flow control", ("listToIterate",)),
    ("Click", "UIAutomation", ("control", "clickType")),
)
TEXTS = ("name", "systemActionName", "systemModuleName", "functionName")
HEAD = b'{"actions":['
TAIL = b'],"childFlowsLogStatus":"Default"}'
PAGE_ROWS = 500


def log_bytes(count: int, seed: int = 7) -> bytes:
    """A log of so many actions, about 640 bytes each, with loops, quotes, umlauts and seven-digit times."""
    return HEAD + b",".join(encoded_actions(count, seed)) + TAIL


def encoded_actions(count: int, seed: int = 7) -> Iterator[bytes]:
    rng = random.Random(seed)
    for number in range(count):
        yield json.dumps(_action(rng, number), ensure_ascii=False, separators=(",", ":")).encode()


def _action(rng: random.Random, number: int) -> dict[str, Any]:
    action, module, inputs = KINDS[number % len(KINDS)]
    start = BEGIN + timedelta(milliseconds=40 * number)
    end = start + timedelta(milliseconds=rng.randrange(5, 39))
    return {
        "name": f"{action} “{module}”",
        "systemActionName": action,
        "systemModuleName": module,
        "localizedModuleName": module,
        "startTime": f"{start:%Y-%m-%dT%H:%M:%S.%f}7Z",
        "endTime": f"{end:%Y-%m-%dT%H:%M:%S.%f}3Z",
        "index": number % 80,
        "functionName": ("Main", "Read orders", "Übergabe")[number % 3],
        "insideErrorHandling": number % 50 == 0,
        "status": "Failed" if number % 997 == 0 else "Succeeded",
        "inputs": {name: _parameter(rng, name) for name in inputs},
        "outputs": {"result": _parameter(rng, "result")},
    }


def _parameter(rng: random.Random, name: str) -> dict[str, str]:
    value = f'C:\\Orders\\{rng.randrange(10**6)}\\"{name}" in der Straße {rng.randrange(500)}'
    return {"localizedName": name.capitalize(), "value": value, "variableName": f"%{name}{rng.randrange(30)}%"}


def _prepare(count: int, folder: Path, quick: bool) -> Size:
    count = min(count, 10_000) if quick else count
    content = log_bytes(count)
    (folder / "log.json").write_bytes(content)
    (folder / "small.json").write_bytes(log_bytes(100))
    return Size(count, len(content))


def _prepare_stream(mebibytes: int, folder: Path, quick: bool) -> Size:
    """A file made of one part again and again, a day later each time: no run goes through a time twice."""
    part = b",".join(encoded_actions(20_000))
    times = max(1, (24 if quick else mebibytes) * MEBIBYTE // len(part))
    with (folder / "log.json").open("wb") as file:
        file.write(HEAD)
        for number in range(times):
            day = BEGIN + timedelta(days=number)
            file.write(b"," * (number > 0) + part.replace(DAY_OF_ALL, f'"{day:%Y-%m-%d}T'.encode()))
        file.write(TAIL)
    (folder / "small.json").write_bytes(log_bytes(100))
    return Size(20_000 * times, (folder / "log.json").stat().st_size)


def over_file(way: Callable[[Path], object], folder: Path, _stack: ExitStack) -> Work:
    """A way over the log's file, after a small one has brought in all that is imported on the way."""
    way(folder / "small.json")

    def work() -> None:
        way(folder / "log.json")

    return work


def flowtrail(content: Path) -> int:
    """As the app does: pieces of the file, windows, columns, nesting, hidden values, the staged form."""
    from shared.dataverse.action_log import read_actions  # noqa: PLC0415 - a rival must not pay for it
    from shared.publishing.arrow_file import write_arrow  # noqa: PLC0415

    return _write(read_actions(_chunks(content)), write_arrow)


def flowtrail_to_parquet(content: Path) -> int:
    """The same, written as it is published."""
    from shared.dataverse.action_log import read_actions  # noqa: PLC0415 - as above
    from shared.publishing.parquet import write_rows  # noqa: PLC0415

    return _write(read_actions(_chunks(content)), write_rows)


def _write(batches: Any, write: Callable[[Any, Iterator[Any], Any], int]) -> int:
    from shared.dataverse.actions import ActionTable  # noqa: PLC0415 - as above
    from shared.dataverse.values import ValueRules  # noqa: PLC0415
    from shared.schema import FACT_FLOW_ACTION  # noqa: PLC0415

    table = ActionTable(_session(), ValueRules("full", REDACT, MAX_VALUE_CHARS))
    table.extend(batches)
    table.finish()
    with tempfile.TemporaryFile() as file:
        rows = write(FACT_FLOW_ACTION, table.rows(), file)
    table.close()
    return rows


def _session() -> Any:
    from shared.dataverse.sessions import Session  # noqa: PLC0415 - as above

    return Session(
        session_id="s",
        environment_id="e",
        status_code=4,
        status="Succeeded",
        outcome="Succeeded",
        created_utc=BEGIN,
        modified_utc=BEGIN,
        start_date=BEGIN.date(),
        start_hour=6,
        ingested_utc=BEGIN,
        version_number=1,
    )


def plain(content: Path) -> None:
    """`json.loads`, a dict for each row, `Table.from_pylist`, the writer's defaults."""
    import pyarrow as pa  # noqa: PLC0415 - each way brings its own imports
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows = _plain_rows(json.loads(content.read_bytes())["actions"])
    pq.write_table(pa.Table.from_pylist(rows), io.BytesIO())


def plain_same_work(content: Path) -> None:
    """The same with values hidden and actions nested as Flowtrail does it, by straightforward loops."""
    import pyarrow as pa  # noqa: PLC0415 - as above
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows = plain_full_rows(json.loads(content.read_bytes())["actions"])
    pq.write_table(pa.Table.from_pylist(rows), io.BytesIO())


def plain_full_rows(actions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = _plain_rows(actions)
    for row, action in zip(rows, actions, strict=True):
        row |= {kind: _plain_values(action[kind]) for kind in ("inputs", "outputs")}
    _plain_nesting(rows)
    return rows


def _plain_values(parameters: dict[str, Any]) -> str | None:
    kept = {name: _plain_value(name, parameter) for name, parameter in parameters.items()}
    return json.dumps(kept, ensure_ascii=False) if kept else None


def _plain_value(name: str, parameter: dict[str, Any]) -> Any:
    value, variable = parameter["value"], parameter["variableName"]
    if value and any(map(REDACT.search, (name, variable, parameter["localizedName"]))):
        value = HIDDEN
    elif value.lstrip().startswith(("{", "[")):
        value = _plain_structure(value)
    if len(value) > MAX_VALUE_CHARS:
        value = value[:MAX_VALUE_CHARS] + "…"
    return {"value": value, "variable": variable} if variable else value


def _plain_structure(text: str) -> str:
    """An object or list in a text, with what is secret in it hidden."""
    try:
        return json.dumps(_plain_hidden("", json.loads(text)), ensure_ascii=False)
    except ValueError:
        return HIDDEN if REDACT.search(text) else text


def _plain_hidden(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_plain_hidden(name, item) for item in value]
    if isinstance(value, dict):
        return {key: _plain_hidden(key, item) for key, item in value.items()}
    return HIDDEN if value and REDACT.search(name) else value


def _plain_nesting(rows: list[dict[str, Any]]) -> None:
    """Parent, depth, leaf and own time of each row, by a stack of the rows that are open."""
    open_: list[dict[str, Any]] = []
    for row in rows:
        row |= {"parent": None, "depth": 0, "is_leaf": True, "self": row["ended"] - row["started"]}
    for row in sorted(rows, key=lambda row: (row["started"], -row["ended"].timestamp())):
        while open_ and open_[-1]["ended"] <= row["started"]:
            open_.pop()
        parent = next((outer for outer in reversed(open_) if outer["ended"] >= row["ended"]), None)
        if parent:
            row |= {"parent": parent["seq"], "depth": parent["depth"] + 1}
            parent |= {"is_leaf": False, "self": parent["self"] - (row["ended"] - row["started"])}
        open_.append(row)


def with_pandas(content: Path) -> None:
    import pandas as pd  # type: ignore[import-not-found] # noqa: PLC0415 - in the rivals' environment only

    rows = _plain_rows(json.loads(content.read_bytes())["actions"])
    pd.DataFrame(rows).to_parquet(io.BytesIO())


def with_polars(content: Path) -> None:
    import polars as pl  # type: ignore[import-not-found] # noqa: PLC0415 - in the rivals' environment only

    rows = _plain_rows(json.loads(content.read_bytes())["actions"])
    pl.from_dicts(rows).write_parquet(io.BytesIO())


def _plain_rows(actions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            **{name: action.get(name) for name in TEXTS},
            "started": datetime.fromisoformat(action["startTime"]),
            "ended": datetime.fromisoformat(action["endTime"]),
            "line": action["index"],
            "status": action["status"],
            "inputs": json.dumps(action["inputs"]),
            "outputs": json.dumps(action["outputs"]),
            "session_id": "s",
            "seq": seq,
        }
        for seq, action in enumerate(actions)
    ]


def limit(folder: Path, _stack: ExitStack) -> Work:
    """What no Python can beat: simdjson's tape, and a table that is there already written."""
    import pyarrow as pa  # noqa: PLC0415 - as above
    import simdjson  # type: ignore[import-not-found] # noqa: PLC0415 - in the rivals' environment only

    from shared.publishing.parquet import write_rows  # noqa: PLC0415
    from shared.schema import FACT_FLOW_ACTION, arrow_schema  # noqa: PLC0415

    content = (folder / "log.json").read_bytes()
    actions = json.loads(content)["actions"]
    names = {"action_name": "name", "system_action": "systemActionName", "module": "systemModuleName"}
    rows = [
        {
            "session_id": "s",
            "seq": seq,
            **{column: action[name] for column, name in names.items()},
            "subflow": action["functionName"],
            "line": action["index"],
            "status": action["status"],
            "started_utc": datetime.fromisoformat(action["startTime"]),
            "ended_utc": datetime.fromisoformat(action["endTime"]),
            "inputs": json.dumps(action["inputs"], ensure_ascii=False),
            "outputs": json.dumps(action["outputs"], ensure_ascii=False),
            "created_utc": BEGIN,
        }
        for seq, action in enumerate(actions)
    ]
    table = pa.Table.from_pylist(rows, arrow_schema(FACT_FLOW_ACTION))

    def work() -> None:
        simdjson.Parser().parse(content)
        write_rows(FACT_FLOW_ACTION, [table], io.BytesIO())

    return work


def _chunks(content: Path) -> Iterator[bytes]:
    with content.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _prepare_pages(count: int, folder: Path, quick: bool) -> Size:
    """Pages of `flowlogs` as the service sends them."""
    count = 2_000 if quick else count
    rows = [
        {
            "flowlogid": f"00000000-0000-0000-0000-{at:012x}",
            "type": 100000001,
            "createdon": "2026-05-19T06:00:00Z",
            "logindex": at,
            "data": action.decode(),
        }
        for at, action in enumerate(encoded_actions(count))
    ]
    pages = [json.dumps({"value": rows[at : at + PAGE_ROWS]}) for at in range(0, count, PAGE_ROWS)]
    (folder / "log.json").write_text("\n".join(pages))
    (folder / "small.json").write_text(json.dumps({"value": rows[:20]}))
    return Size(count, sum(map(len, pages)))


def flowtrail_pages(content: Path) -> None:
    from contextlib import closing  # noqa: PLC0415 - only here

    import msgspec  # noqa: PLC0415 - as above

    from shared.dataverse.flow_logs import FlowLog  # noqa: PLC0415
    from shared.publishing.arrow_file import write_arrow  # noqa: PLC0415

    with closing(FlowLog()) as rows:
        for line in content.read_bytes().splitlines():
            for row in msgspec.json.decode(line)["value"]:
                rows.add(row)
        _write(rows.batches(), write_arrow)


def plain_pages(content: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415 - as above
    import pyarrow.parquet as pq  # noqa: PLC0415

    found = (row for line in content.read_bytes().splitlines() for row in json.loads(line)["value"])
    actions = [json.loads(row["data"]) for row in sorted(found, key=lambda row: row["logindex"])]
    pq.write_table(pa.Table.from_pylist(_plain_rows(actions)), io.BytesIO())


TO_PARQUET = f"{APP}, to Parquet"
PLAIN = "json, dicts, from_pylist"
PLAIN_SAME_WORK = "the same, with values hidden and actions nested"
LIMIT = "limit: simdjson tape + Parquet write"
WAYS = (
    Way(APP, partial(over_file, flowtrail)),
    Way(TO_PARQUET, partial(over_file, flowtrail_to_parquet)),
    Way(PLAIN, partial(over_file, plain)),
    Way("json, pandas", partial(over_file, with_pandas), is_rival=True),
    Way("json, polars", partial(over_file, with_polars), is_rival=True),
    Way(LIMIT, limit, is_rival=True),
)
SAME_WORK = Way(PLAIN_SAME_WORK, partial(over_file, plain_same_work))
CASES = (
    *(
        Case(f"log-{count}", f"An action log of {count:,}", "actions", partial(_prepare, count), ways, rounds)
        for count, ways, rounds in (
            (10, WAYS, 5),
            (100, WAYS, 5),
            (10_000, (*WAYS[:2], SAME_WORK, *WAYS[2:]), 5),
            (200_000, WAYS, 3),
        )
    ),
    Case(
        "log-512-mib",
        "A log of 512 MiB, as a stream",
        "actions",
        partial(_prepare_stream, 512),
        (
            Way(APP, partial(over_file, flowtrail)),
            Way(TO_PARQUET, partial(over_file, flowtrail_to_parquet)),
            Way(PLAIN, partial(over_file, plain), rounds=1),
        ),
        2,
        "The plain way runs once.",
    ),
    Case(
        "log-v2",
        "A log of the second generation, in pages",
        "actions",
        partial(_prepare_pages, 10_000),
        (Way(APP, partial(over_file, flowtrail_pages)), Way(PLAIN, partial(over_file, plain_pages))),
    ),
)
