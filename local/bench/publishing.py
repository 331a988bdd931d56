"""How long it takes, and how much memory, to merge staged action logs into a large published day.

    python -m local.bench.publishing [--rows 5000000] [--files 1000] [--rounds 3] [--spread all|recent|none]

A day of runs of 200 actions each, and staged logs of 200 rows. With `none`, as on any usual day, all are new; else
half of them replace a log of that day: `all` spreads these evenly over the day, `recent` takes them from its last
tenth. Each way of
merging runs in a process of its own, in turns; the peak is that of the whole process, imports included. DuckDB's
anti-join copy is there to compare with, and to check that both come to the same rows.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from local.desk import LOCAL
from shared.publishing.parquet import read_encoded, rows_of, write_rows
from shared.publishing.rewriting import rewrite
from shared.publishing.staging import READERS
from shared.schema import FACT_FLOW_ACTION, arrow_schema

ACTIONS_PER_RUN = 200
RUNS_PER_PART = 50
DAY = datetime(2026, 5, 19, tzinfo=UTC)
FAILED = 0.01
MIB = 1024 * 1024
WORDS = ("invoice", "order", "customer", "amount", "total", "sheet", "value", "window", "report", "export", "mail")
ACTIONS = [(f"Action {n}", f"action{n}", f"Module{n % 17}") for n in range(120)]
ENGINES = ("flowtrail", "duckdb", "duckdb 1 thread 512 MB")
SPREADS = ("all", "recent", "none")


def main() -> int:
    options = _options()
    if options.engine:
        print(json.dumps(_measured(options.folder, options.engine)))
        return 0
    print(f"{options.rows:,} rows, {options.files:,} staged files of {ACTIONS_PER_RUN} rows, seed {options.seed}")
    for spread in SPREADS if options.spread == "each" else (options.spread,):
        folder: Path = options.folder / spread
        _prepare(folder, options, spread)
        print(f"\nReplaced logs: {spread}; the day's file has {_size(folder / 'day.parquet')}")
        _compare(folder, options.rounds)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.bench.publishing", description=(__doc__ or "")[:80])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--spread", choices=(*SPREADS, "each"), default="each")
    parser.add_argument("--folder", type=Path, default=LOCAL / "bench" / "publishing")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    return parser.parse_args()


def _prepare(folder: Path, options: argparse.Namespace, spread: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "staged").mkdir(parents=True)
    chance = random.Random(options.seed)
    runs = options.rows // ACTIONS_PER_RUN
    with (folder / "day.parquet").open("wb") as sink:
        write_rows(FACT_FLOW_ACTION, _day(runs, _template(chance, RUNS_PER_PART)), sink)
    there = runs - runs // 10 if spread == "recent" else 0
    half = 0 if spread == "none" else options.files // 2
    replaced = [there + (runs - there) * n // half for n in range(half)]
    template = _template(chance, RUNS_PER_PART)
    for number, run in enumerate([*replaced, *range(runs, runs + options.files - half)]):
        first = run // RUNS_PER_PART * RUNS_PER_PART
        one = _logs(template, first).slice((run - first) * ACTIONS_PER_RUN, ACTIONS_PER_RUN)
        with (folder / "staged" / f"{number:05d}.parquet").open("wb") as sink:
            write_rows(FACT_FLOW_ACTION, [one], sink)


def _day(runs: int, template: pa.Table) -> Iterator[pa.Table]:
    for first in range(0, runs, RUNS_PER_PART):
        yield _logs(template, first)


def _template(chance: random.Random, runs: int) -> pa.Table:
    """The logs of some runs, as long as real ones; `_logs` makes them those of other runs."""
    return rows_of(
        FACT_FLOW_ACTION, [_row(chance, run, seq) for run in range(runs) for seq in range(ACTIONS_PER_RUN)]
    )


def _row(chance: random.Random, run: int, seq: int) -> dict[str, Any]:
    name, system_action, module = chance.choice(ACTIONS)
    failed = chance.random() < FAILED
    return {
        "session_id": f"-0000-4000-8000-{run:012x}",
        "seq": seq,
        "environment_id": f"environment-{run % 5}",
        "flow_id": f"{run % 30:08x}-1111-4000-8000-000000000000",
        "action_name": name,
        "system_action": system_action,
        "module": module,
        "subflow": "Main" if seq % 9 else "Login",
        "line": seq + 1,
        "inside_error_handling": False,
        "depth": 0,
        "is_leaf": True,
        "started_utc": DAY + timedelta(milliseconds=run * 3_000 + seq * 250),
        "ended_utc": DAY + timedelta(milliseconds=run * 3_000 + seq * 250 + 200),
        "duration_ms": 200,
        "self_ms": 200,
        "status": "Failed" if failed else "Succeeded",
        "error_message": _text(chance) if failed else None,
        "inputs": _text(chance),
        "outputs": _text(chance)[:120],
        "created_utc": DAY + timedelta(milliseconds=run * 3_000),
    }


def _text(chance: random.Random) -> str:
    names = chance.sample(WORDS, 4)
    return json.dumps({name: f"{chance.choice(WORDS)} {chance.getrandbits(40):x}" for name in names})


def _logs(template: pa.Table, first: int) -> pa.Table:
    """The template as the logs of other runs: their ids, and what tells their inputs and outputs apart."""
    mark = pa.scalar(f"{first:08x}")
    columns = {name: template.column(name).combine_chunks() for name in template.column_names}
    for name in ("session_id", "inputs", "outputs"):
        columns[name] = pc.binary_join_element_wise(mark, columns[name], "")
    return pa.Table.from_pydict(columns, arrow_schema(FACT_FLOW_ACTION))


def _compare(folder: Path, rounds: int) -> None:
    measured: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
    for _ in range(rounds):
        for engine in ENGINES:
            command = [sys.executable, "-m", "local.bench.publishing", "--engine", engine, "--folder", str(folder)]
            found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            measured[engine].append(json.loads(found.stdout.splitlines()[-1]))
    for engine, found in measured.items():
        seconds, cpu, peak = (statistics.median(one[name] for one in found) for name in ("s", "cpu_s", "peak_mib"))
        size = _size(_result(folder, engine))
        print(f"  {engine:24} {seconds:6.2f} s  {cpu:6.2f} s CPU  peak {peak:5.0f} MiB  {size}")
    checksums = {engine: _checksum(_result(folder, engine)) for engine in ENGINES}
    print(f"  the same rows: {len(set(checksums.values())) == 1}, {checksums[ENGINES[0]][0]:,}")


def _measured(folder: Path, engine: str) -> dict[str, float]:
    began, cpu = time.perf_counter(), time.process_time()
    _engines()[engine](folder, _result(folder, engine))
    return {
        "s": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu,
        "peak_mib": _peak_mib(),
    }


def _peak_mib() -> float:
    """The most memory that this process had; what `getrusage` tells counts that of the parent before the fork."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def _engines() -> dict[str, Callable[[Path, Path], None]]:
    return {
        "flowtrail": _merge,
        "duckdb": lambda folder, result: _duckdb(folder, result, []),
        "duckdb 1 thread 512 MB": lambda folder, result: _duckdb(
            folder,
            result,
            ["SET threads = 1", "SET memory_limit = '512MB'", "SET preserve_insertion_order = false"],
        ),
    }


def _merge(folder: Path, result: Path) -> None:
    """As the publisher does it, with local files for blobs."""
    staged = sorted((folder / "staged").iterdir())
    with ThreadPoolExecutor(READERS) as pool:
        tables = list(pool.map(_read, staged))
    with (folder / "day.parquet").open("rb") as old, result.open("wb") as new:
        rewrite(FACT_FLOW_ACTION, old, tables, new)


def _read(path: Path) -> pa.Table:
    with path.open("rb") as file:
        return read_encoded(FACT_FLOW_ACTION, file)


def _duckdb(folder: Path, result: Path, settings: Iterable[str]) -> None:
    import duckdb  # noqa: PLC0415 - what it costs belongs to its own measurement

    connection = duckdb.connect()
    for setting in settings:
        connection.execute(setting)
    connection.execute(
        f"""COPY (
            SELECT * FROM '{folder}/day.parquet' ANTI JOIN '{folder}/staged/*.parquet' USING (session_id)
            UNION ALL SELECT * FROM '{folder}/staged/*.parquet'
        ) TO '{result}' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 100000)"""  # noqa: S608 - our own paths
    )


def _checksum(path: Path) -> tuple[Any, ...]:
    """Rows and an order-free hash over all columns."""
    import duckdb  # noqa: PLC0415 - as above

    rows = duckdb.connect().execute(f"SELECT count(*), bit_xor(hash(t)) FROM '{path}' t").fetchone()  # noqa: S608 - our own path
    return rows or ()


def _result(folder: Path, engine: str) -> Path:
    return folder / f"{engine.replace(' ', '-')}.parquet"


def _size(path: Path) -> str:
    return f"{path.stat().st_size / MIB:,.0f} MiB"


if __name__ == "__main__":
    sys.exit(main())
