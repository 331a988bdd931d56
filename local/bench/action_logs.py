"""Decoding an action log to Parquet: this app against the plain way, with the same bytes, in one run.

The plain way is `json.loads`, one dict for each row, `Table.from_pylist` and the writer's defaults; it neither
nests actions nor hides values. Each way runs in processes of its own, in turns, so that peaks are its own.

    python -m local.bench.action_logs [--actions 100 10000 200000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

CHUNK_BYTES = 1024 * 1024
BEGIN = datetime(2026, 5, 19, 6, 0, 0, 123456, UTC)
MEBIBYTE = 1024 * 1024
REDACT = re.compile(r"password|pwd|secret|token|key|credential|connection.?string", re.IGNORECASE)
KINDS = (
    ("SetVariable", "Variables", ("value",)),
    ("PopulateTextField", "WebAutomation", ("control", "text", "browserInstance")),
    ("ReadFromExcel", "Excel", ("instance", "readAs", "startColumn", "startRow")),
    ("LoopForeach", "Flow control", ("listToIterate",)),
    ("Click", "UIAutomation", ("control", "clickType")),
)


def log_bytes(count: int, seed: int = 7) -> bytes:
    """A log of so many actions, about 640 bytes each, with loops, quotes, umlauts and seven-digit times."""
    rng = random.Random(seed)
    actions = [_action(rng, number) for number in range(count)]
    return json.dumps({"actions": actions, "childFlowsLogStatus": "Default"}, ensure_ascii=False).encode()


def _action(rng: random.Random, number: int) -> dict[str, Any]:
    action, module, inputs = KINDS[number % len(KINDS)]
    start = BEGIN + timedelta(milliseconds=40 * number)
    end = start + timedelta(milliseconds=rng.randrange(5, 39))
    values = {name: _parameter(rng, name) for name in inputs}
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
        "inputs": values,
        "outputs": {"result": _parameter(rng, "result")},
    }


def _parameter(rng: random.Random, name: str) -> dict[str, str]:
    value = f'C:\\Orders\\{rng.randrange(10**6)}\\"{name}" in der Straße {rng.randrange(500)}'
    return {"localizedName": name.capitalize(), "value": value, "variableName": f"%{name}{rng.randrange(30)}%"}


def ours(content: Path) -> int:
    """As the app does: pieces of the file, windows, columns, nesting, hidden values, the published encoding."""
    from shared.dataverse.action_log import read_actions  # noqa: PLC0415 - a rival must not pay for it
    from shared.dataverse.actions import ActionTable  # noqa: PLC0415
    from shared.dataverse.sessions import Session  # noqa: PLC0415
    from shared.dataverse.values import ValueRules  # noqa: PLC0415
    from shared.publishing.parquet import write_rows  # noqa: PLC0415
    from shared.schema import FACT_FLOW_ACTION  # noqa: PLC0415

    session = Session(
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
    table = ActionTable(session, ValueRules("full", REDACT, 4000))
    table.extend(read_actions(_chunks(content)))
    table.finish()
    with tempfile.TemporaryFile() as file:
        rows = write_rows(FACT_FLOW_ACTION, table.rows(), file)
    table.close()
    return rows


def plain(content: Path) -> int:
    import pyarrow as pa  # noqa: PLC0415 - each way pays for its own imports before it is timed
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows = [
        {
            **{
                name: action.get(name) for name in ("name", "systemActionName", "systemModuleName", "functionName")
            },
            "started": datetime.fromisoformat(action["startTime"]),
            "ended": datetime.fromisoformat(action["endTime"]),
            "line": action["index"],
            "status": action["status"],
            "inputs": json.dumps(action["inputs"]),
            "outputs": json.dumps(action["outputs"]),
            "session_id": "s",
            "seq": seq,
        }
        for seq, action in enumerate(json.loads(content.read_bytes())["actions"])
    ]
    with io.BytesIO() as file:
        pq.write_table(pa.Table.from_pylist(rows), file)
    return len(rows)


WAYS = {"ours": ours, "plain": plain}


def _chunks(content: Path) -> Iterator[bytes]:
    with content.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def main() -> None:
    options = _options()
    if options.way:
        print(json.dumps(_measured(options.way, Path(options.file), options.repeats)))
        return
    for count in options.actions:
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            Path(file.name).write_bytes(log_bytes(count))
            _compare(count, Path(file.name), options.rounds)


def _compare(count: int, content: Path, rounds: int) -> None:
    repeats = max(1, min(200, 20_000 // count))
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, "-m", "local.bench.action_logs", "--way", way, "--file", str(content)]
            command += ["--repeats", str(repeats)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[way].append(json.loads(done.stdout))
    size_mib = content.stat().st_size / MEBIBYTE
    print(f"{count:,} actions, {size_mib:.1f} MiB")
    for way, results in found.items():
        ms, peak = (median(result[name] for result in results) for name in ("ms", "peak_mib"))
        print(f"  {way:6} {ms:9.2f} ms {size_mib / ms * 1000:7.0f} MiB/s, peak +{peak:.0f} MiB")
    ratio = median(other["ms"] / own["ms"] for own, other in zip(found["ours"], found["plain"], strict=True))
    print(f"  {ratio:.1f} times as fast")


def _measured(way: str, content: Path, repeats: int) -> dict[str, float]:
    small = content.with_name("small.json")
    small.write_bytes(log_bytes(20))
    WAYS[way](small)
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times: list[float] = []
    for _ in range(repeats):
        began = time.perf_counter()
        WAYS[way](content)
        times.append((time.perf_counter() - began) * 1000)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"ms": median(times), "peak_mib": (peak - idle) / 1024}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.bench.action_logs", description=__doc__)
    parser.add_argument("--actions", type=int, nargs="+", default=[100, 10_000, 200_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
