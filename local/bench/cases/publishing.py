"""Merging staged action logs into a published day, through the app's own publisher over a folder."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from local.bench.measuring import APP, Case, Size, Way, Work

ACTIONS_PER_RUN = 200
RUNS_PER_PART = 50
FILES = 1_000
DAY = datetime(2026, 5, 19, tzinfo=UTC)
FOLDER = f"fact_flow_action/date={DAY.date()}"
FAILED = 0.01
SECONDS_OF_DAY = 79_200  # 22 hours have runs; the new ones come after them
RECENT_SECONDS = 7_200
STAGED_PARQUET = f"staged/{FOLDER}"
WORDS = ("invoice", "order", "customer", "amount", "total", "sheet", "value", "window", "report", "export", "mail")
ACTIONS = [(f"Action {n}", f"action{n}", f"Module{n % 17}") for n in range(120)]
SETTINGS = {
    "ENVIRONMENTS": "https://contoso.crm4.dynamics.com",
    "TENANT_ID": "11111111-1111-1111-1111-111111111111",
    "DataStorage": "UseDevelopmentStorage=true",
}


def app_over(root: Path, grain: str) -> Any:
    """The app with a folder for its storage account."""
    from local.bench.folder_storage import FolderStorage  # noqa: PLC0415 - a rival must not pay for it
    from shared.app import App  # noqa: PLC0415
    from shared.settings import load_settings  # noqa: PLC0415

    app = App(load_settings({**SETTINGS, "PUBLISH_GRAIN": grain}))
    app.__dict__["storage"] = FolderStorage(root)
    return app


def destination() -> Any:
    from shared.publishing.staging import Destination  # noqa: PLC0415 - as above
    from shared.schema import FACT_FLOW_ACTION  # noqa: PLC0415

    return Destination(FACT_FLOW_ACTION, DAY.date())


def _prepare(rows: int, folder: Path, quick: bool) -> Size:
    """A published day in both grains, and staged logs: half replace runs of its last tenth, half are new.

    Where the last tenth has fewer runs, each is replaced, and more are new.
    """
    rows, files = _scale(rows, quick)
    runs = rows // ACTIONS_PER_RUN
    tenth = runs // 10
    old = min(tenth, files // 2)
    replaced = (runs - tenth + number * tenth // old for number in range(old))
    staged = [(run, run) for run in [*replaced, *range(runs, runs + files - old)]]
    return _made(folder, runs, staged, SECONDS_OF_DAY * 1000 // max(runs, files))


def _prepare_recent(rows: int, folder: Path, quick: bool) -> Size:
    """The same day, and staged logs of runs of its last two hours, none of which is published yet."""
    rows, files = _scale(rows, quick)
    runs = rows // ACTIONS_PER_RUN
    recent = runs * RECENT_SECONDS // SECONDS_OF_DAY
    staged = [(runs + number, runs - recent + number * recent // files) for number in range(files)]
    return _made(folder, runs, staged, SECONDS_OF_DAY * 1000 // runs)


def _scale(rows: int, quick: bool) -> tuple[int, int]:
    return (min(rows, 100_000), FILES // 10) if quick else (rows, FILES)


def _made(folder: Path, runs: int, staged: Sequence[tuple[int, int]], step_ms: int) -> Size:
    """`runs` are published, one each `step_ms`; `staged` are pairs of a run and the one at whose time it was.

    The rivals get each staged log as a Parquet file, which is what they read best.
    """
    template = _template(random.Random(7), RUNS_PER_PART)
    for number, (run, at) in enumerate(staged):
        part = run // RUNS_PER_PART * RUNS_PER_PART
        logs = _logs(template, part, step_ms, at - run)
        one = logs.slice((run - part) * ACTIONS_PER_RUN, ACTIONS_PER_RUN)
        _stage(folder / "day" / "staging" / FOLDER / f"{number:05d}.arrow", one)
        _write(folder / STAGED_PARQUET / f"{number:05d}.parquet", [one])
    if runs:
        parts = (_logs(template, first, step_ms) for first in range(0, runs, RUNS_PER_PART))
        _write(folder / "day" / "powerbi" / FOLDER / "part-0.parquet", parts)
    else:
        everything = (_logs(template, first, step_ms) for first in range(0, len(staged), RUNS_PER_PART))
        _write(folder / "one.parquet", everything)
    _copy(folder / "day", folder / "hour")
    if runs:
        with app_over(folder / "hour", "hour").storage.blobs.leased("", "") as lease:
            layout = app_over(folder / "hour", "hour").layout
            layout.move(destination(), layout.files(destination()), lease)
    return Size((runs + len(staged)) * ACTIONS_PER_RUN, _bytes(folder / "day"))


def _write(path: Path, parts: Iterable[Any]) -> None:
    from shared.publishing.parquet import write_rows  # noqa: PLC0415 - as above
    from shared.schema import FACT_FLOW_ACTION  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as sink:
        write_rows(FACT_FLOW_ACTION, parts, sink)


def _stage(path: Path, rows: Any) -> None:
    from shared.publishing.arrow_file import write_arrow  # noqa: PLC0415 - as above
    from shared.schema import FACT_FLOW_ACTION  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as sink:
        write_arrow(FACT_FLOW_ACTION, [rows], sink)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _copy(folder: Path, to: Path) -> None:
    """The same files under another name, without their bytes."""
    shutil.copytree(folder, to, copy_function=os.link)


def _template(chance: random.Random, runs: int) -> Any:
    """The logs of some runs, as long as real ones; `_logs` makes them those of other runs."""
    from shared.publishing.parquet import rows_of  # noqa: PLC0415 - as above
    from shared.schema import FACT_FLOW_ACTION  # noqa: PLC0415

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
        "started_utc": DAY + timedelta(milliseconds=seq * 250),
        "ended_utc": DAY + timedelta(milliseconds=seq * 250 + 200),
        "duration_ms": 200,
        "self_ms": 200,
        "status": "Failed" if failed else "Succeeded",
        "error_message": _text(chance) if failed else None,
        "inputs": _text(chance),
        "outputs": _text(chance)[:120],
        "created_utc": DAY + timedelta(milliseconds=run),
    }


def _text(chance: random.Random) -> str:
    names = chance.sample(WORDS, 4)
    return json.dumps({name: f"{chance.choice(WORDS)} {chance.getrandbits(40):x}" for name in names})


def _logs(template: Any, first: int, step_ms: int, later: int = 0) -> Any:
    """The template as the logs of the runs from `first` on: ids, texts, and times, those of so many runs later."""
    import pyarrow as pa  # noqa: PLC0415 - as above
    import pyarrow.compute as pc  # noqa: PLC0415

    from shared.schema import FACT_FLOW_ACTION, arrow_schema  # noqa: PLC0415

    mark = pa.scalar(f"{first:08x}")
    columns = {name: template.column(name).combine_chunks() for name in template.column_names}
    for name in ("session_id", "inputs", "outputs"):
        columns[name] = pc.binary_join_element_wise(mark, columns[name], "")
    within = pc.subtract(columns["created_utc"].cast(pa.int64()), pa.scalar(int(DAY.timestamp() * 1000)))
    begin = pc.multiply(pc.add(within, first + later), step_ms)
    for name in ("created_utc", "started_utc", "ended_utc"):
        base = int(DAY.timestamp() * 1000) if name == "created_utc" else columns[name].cast(pa.int64())
        columns[name] = pc.add(begin, base).cast(pa.timestamp("ms", "UTC"))
    return pa.Table.from_pydict(columns, arrow_schema(FACT_FLOW_ACTION))


def flowtrail(grain: str, folder: Path, stack: ExitStack) -> Work:
    """All that is staged for the day, message after message, as `publish_day` does it."""
    _warm_up(folder, grain, stack)
    root = folder / f"{grain}-now"
    shutil.rmtree(root, ignore_errors=True)
    _copy(folder / grain, root)
    stack.callback(shutil.rmtree, root, ignore_errors=True)
    publisher = app_over(root, grain).publisher

    def work() -> dict[str, Any]:
        place = destination()
        publication = publisher.publish(place)
        files = publication.files_written
        while place in publication.next:
            publication = publisher.publish(place)
            files += publication.files_written
        return {"files": files}

    return work


def _warm_up(folder: Path, grain: str, stack: ExitStack) -> None:
    """Publish one staged log somewhere else, which brings in all that is imported on the way."""
    root = folder / f"{grain}-warm"
    shutil.rmtree(root, ignore_errors=True)
    stack.callback(shutil.rmtree, root, ignore_errors=True)
    (root / "staging" / FOLDER).mkdir(parents=True)
    first = f"staging/{FOLDER}/00000.arrow"
    os.link(folder / "day" / first, root / first)
    app_over(root, grain).publisher.publish(destination())


def _first_staged(folder: Path) -> Path:
    return folder / STAGED_PARQUET / "00000.parquet"


def duckdb_copy(settings: tuple[str, ...], folder: Path, _stack: ExitStack) -> Work:
    """The anti-join copy of the whole day, and the staged rows below it."""
    import duckdb  # noqa: PLC0415 - each way brings its own imports

    day = folder / "day" / "powerbi" / FOLDER / "part-0.parquet"
    staged = f"{folder}/{STAGED_PARQUET}/*.parquet"
    kept = f"SELECT * FROM '{day}' ANTI JOIN '{staged}' USING (session_id) UNION ALL " if day.exists() else ""  # noqa: S608 - our own paths
    target = folder / "duckdb.parquet"
    connection = duckdb.connect()
    for setting in settings:
        connection.execute(setting)
    connection.execute(f"COPY (SELECT * FROM '{_first_staged(folder)}') TO '{target}' (FORMAT parquet)")  # noqa: S608 - our own paths

    def work() -> None:
        connection.execute(
            f"COPY ({kept}SELECT * FROM '{staged}') TO '{target}' "  # noqa: S608 - our own paths
            "(FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 100000)"
        )

    return work


def polars_copy(folder: Path, _stack: ExitStack) -> Work:
    import polars as pl  # type: ignore[import-not-found] # noqa: PLC0415 - in the rivals' environment only

    day = folder / "day" / "powerbi" / FOLDER / "part-0.parquet"
    pl.scan_parquet(_first_staged(folder)).sink_parquet(folder / "polars.parquet")

    def work() -> None:
        staged = pl.scan_parquet(f"{folder}/{STAGED_PARQUET}/*.parquet")
        replaced = staged.select("session_id").unique().collect()["session_id"].implode()
        kept = pl.scan_parquet(day).filter(~pl.col("session_id").is_in(replaced))
        pl.concat([kept, staged]).sink_parquet(folder / "polars.parquet", compression="snappy")

    return work


def pandas_copy(folder: Path, _stack: ExitStack) -> Work:
    import pandas as pd  # type: ignore[import-not-found] # noqa: PLC0415 - in the rivals' environment only

    day = folder / "day" / "powerbi" / FOLDER / "part-0.parquet"
    staged = folder / STAGED_PARQUET
    pd.read_parquet(_first_staged(folder)).to_parquet(folder / "pandas.parquet")

    def work() -> None:
        new = pd.concat([pd.read_parquet(path) for path in sorted(staged.iterdir())])
        kept = (
            [one[~one.session_id.isin(new.session_id)] for one in [pd.read_parquet(day)]] if day.exists() else []
        )
        pd.concat([*kept, new]).to_parquet(folder / "pandas.parquet")

    return work


def read_one(folder: Path, _stack: ExitStack) -> Work:
    """The limit of an empty day: the same rows out of one file."""
    from shared.publishing.parquet import read_encoded  # noqa: PLC0415 - as above
    from shared.schema import FACT_FLOW_ACTION  # noqa: PLC0415

    def read(path: Path) -> None:
        with path.open("rb") as file:
            read_encoded(FACT_FLOW_ACTION, file)

    read(_first_staged(folder))
    return lambda: read(folder / "one.parquet")


def rewrite_one(folder: Path, _stack: ExitStack) -> Work:
    from shared.publishing.parquet import read_encoded, write_rows  # noqa: PLC0415 - as above
    from shared.schema import FACT_FLOW_ACTION  # noqa: PLC0415

    def rewrite(path: Path) -> None:
        with path.open("rb") as file, (folder / "new.parquet").open("wb") as sink:
            write_rows(FACT_FLOW_ACTION, [read_encoded(FACT_FLOW_ACTION, file)], sink)

    rewrite(_first_staged(folder))
    return lambda: rewrite(folder / "one.parquet")


def copy_bytes(folder: Path, _stack: ExitStack) -> Work:
    day = folder / "day" / "powerbi" / FOLDER / "part-0.parquet"

    def work() -> None:
        shutil.copyfile(day, folder / "copied.parquet")

    return work


HOURLY = f"{APP}, a file an hour"
DUCKDB = "DuckDB, anti-join copy of the day"
DUCKDB_SMALL = "DuckDB, 1 thread, 512 MB"
ONE_FILE = "limit: the same rows read from one file"
SMALL = ("SET threads = 1", "SET memory_limit = '512MB'", "SET preserve_insertion_order = false")


def _app(grain: str, name: str) -> Way:
    return Way(name, partial(flowtrail, grain), repeats=False)


def _duckdb(name: str, settings: tuple[str, ...]) -> Way:
    return Way(name, partial(duckdb_copy, settings), is_rival=True, repeats=False)


POLARS = Way("polars, is_in and sink", polars_copy, is_rival=True, repeats=False)
PANDAS = Way("pandas", pandas_copy, is_rival=True, repeats=False)
COPY = Way("limit: the day's file copied, not merged", copy_bytes, repeats=False)
STAGED = f"{FILES:,} staged logs of {ACTIONS_PER_RUN} actions into"
CASES = (
    Case(
        "publish-empty",
        f"{STAGED} an empty day",
        "rows",
        partial(_prepare, 0),
        (
            _app("day", APP),
            _duckdb("DuckDB, COPY of all files", ()),
            PANDAS,
            Way(ONE_FILE, read_one, repeats=False),
            Way("the same rows read from one file and written", rewrite_one, repeats=False),
        ),
        5,
    ),
    Case(
        "publish-100k",
        f"{STAGED} a day of 100,000",
        "rows",
        partial(_prepare, 100_000),
        (_app("day", APP), _app("hour", HOURLY), _duckdb(DUCKDB, ()), POLARS, PANDAS, COPY),
    ),
    Case(
        "publish-5m",
        f"{STAGED} a day of 5,000,000",
        "rows",
        partial(_prepare, 5_000_000),
        (_app("day", APP), _app("hour", HOURLY), _duckdb(DUCKDB, ()), _duckdb(DUCKDB_SMALL, SMALL), POLARS, COPY),
        2,
        "Four of the 24 hours change, and every row group of the last tenth of the day. "
        "pandas is left out: it needs more than 8 GiB.",
    ),
    Case(
        "publish-5m-recent",
        f"{STAGED} the last two hours of a day of 5,000,000",
        "rows",
        partial(_prepare_recent, 5_000_000),
        (_app("day", APP), _app("hour", HOURLY), _duckdb(DUCKDB, ()), COPY),
        2,
        "As it is minutes after the runs: all logs are new, and two of the 24 hours change.",
    ),
)
