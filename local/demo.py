"""The whole app against a simulated tenant, and the proof that nothing was lost on the way.

    python3 dev.py demo [--fresh] [--runs 150] [--environments 3] [--live 20]

Starts Azurite, the tenant and the Functions host, lets timers and queues run until all that the tenant has is
published, compares both sides, and reads a few answers back. Its storage is kept: a second demo finds nothing new.
Exits with 1 if anything was lost or came twice.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from local.answers import answers
from local.desk import LOCAL, ROOT, Desk, Scene, shown
from local.host.process import HostProcess
from local.packages import PackagesError
from local.powerbi.preview import write_preview
from local.reconciliation import PublishedTables, Reconciliation, reconcile
from local.tenant import Tenant
from shared.app import App
from shared.settings import load_settings

FOLDER = LOCAL / "demo"
PATIENCE_S = 105.0
LOOK_EVERY_S = 2.0
SETTLE = timedelta(seconds=5)
MOVERS = ("poll_flow_sessions", "poll_audit_content", "publish")
ROUNDS = 2
SHOWN = 3
SCHEDULES = {
    "FLOW_SESSIONS_SCHEDULE": "*/5 * * * * *",
    "AUDIT_CONTENT_SCHEDULE": "*/5 * * * * *",
    "INVENTORY_SCHEDULE": "*/20 * * * * *",
    "PUBLISH_SCHEDULE": "2/5 * * * * *",
    "RECONCILE_SCHEDULE": "*/30 * * * * *",
}


def main() -> int:
    options = _options()
    folder: Path = options.folder.resolve()
    if options.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    kept = Scene.load(folder / "scene.json")
    scene = kept or Scene(options.seed, environments=options.environments, runs=options.runs, live_s=options.live)
    try:
        with Desk(folder, {}, scene) as desk, _log_file(folder / "host.log") as write:
            for line in desk.started:
                print(f"Started {line}")
            if kept:
                print(f"Its storage holds the demo of {kept.anchor:%Y-%m-%d %H:%M} UTC; --fresh starts over")
            with HostProcess(ROOT, {**desk.settings, **SCHEDULES}, on_log=write, poll_s=0.3) as host:
                print(f"Started {_described(host.wait_started())}\n")
                return _show(desk, host)
    except KeyboardInterrupt:
        print("\nInterrupted; everything that was started has been stopped.")
        return 130


def _described(started: Mapping[str, Any]) -> str:
    names = ", ".join(function["name"] for function in started["functions"])
    return f"the Functions host ({started['engine']}) with {names}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fresh", action="store_true", help="forget the storage of the last demo")
    parser.add_argument("--seed", type=int, default=7, help="another seed makes another tenant")
    parser.add_argument("--runs", type=int, default=150, help="desktop-flow runs in each environment")
    parser.add_argument("--environments", type=int, default=3)
    parser.add_argument("--live", type=int, default=20, metavar="SECONDS", help="for how long runs keep coming")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the demo keeps its storage")
    return parser.parse_args()


@contextmanager
def _log_file(path: Path) -> Iterator[Callable[[str], None]]:
    with path.open("w", encoding="utf-8") as file:

        def write(line: str) -> None:
            print(line, file=file)

        yield write


def _show(desk: Desk, host: HostProcess) -> int:
    tenant = desk.tenant
    if tenant is None:
        raise RuntimeError("the demo always has a simulated tenant")
    app = App(load_settings({**desk.settings, **SCHEDULES}))
    before = reconcile(tenant.truth(), app).published
    result = _watch(tenant, app, desk.scene, host)
    print(_table(result))
    print(f"\nNew in the published tables since the demo began: {result.published - before:,} rows")
    tables = PublishedTables(app)
    export = desk.folder / "powerbi"
    _export(tables, export)
    print("\nWhat Power BI would say:")
    for line in answers(tables):
        print(f"  {line}")
    _preview(tables, desk.folder / "report.html")
    print(f"\nThe published files are in {shown(export)}, the app's log is {shown(desk.folder / 'host.log')}")
    return _verdict(result, host)


def _watch(tenant: Tenant, app: App, scene: Scene, host: HostProcess) -> Reconciliation:
    """Look again and again until both sides agree and nothing new is to come, or patience ends."""
    began = time.monotonic()
    quiet_from = scene.anchor + timedelta(seconds=scene.live_s) + SETTLE
    shown = ""
    while True:
        result = reconcile(tenant.truth(), app)
        seconds = time.monotonic() - began
        shown = _progress(seconds, result, shown)
        is_quiet = datetime.now(UTC) > quiet_from and _has_gone_round(host)
        if (is_quiet and not result.lost) or seconds > PATIENCE_S:
            print("\n" if sys.stdout.isatty() else "")
            return result
        time.sleep(LOOK_EVERY_S)


def _has_gone_round(host: HostProcess) -> bool:
    """Whether every timer that moves data has run twice: what it found the first time is on its way."""
    done = Counter(event["function"] for event in host.events if event["event"] == "invoked" and event["ok"])
    return all(done[function] >= ROUNDS for function in MOVERS)


def _progress(seconds: float, result: Reconciliation, shown: str) -> str:
    """Show how far it is: in place on a terminal, else a line whenever something changed."""
    counts = ", ".join(f"{line.published:,}/{line.served:,} {line.what.split(',')[0]}" for line in result.lines)
    if sys.stdout.isatty():
        print(f"\r{seconds:4.0f} s  {counts}", end="\x1b[K", flush=True)
    elif counts != shown:
        print(f"{seconds:4.0f} s  {counts}", flush=True)
    return counts


def _table(result: Reconciliation) -> str:
    heads = ("", "at the tenant", "in the state", "published", "lost", "twice")
    rows = [
        (
            line.what,
            f"{line.served:,}",
            f"{line.held:,}",
            f"{line.published:,}",
            str(len(line.lost)),
            str(line.duplicated),
        )
        for line in result.lines
    ]
    widths = [max(len(row[at]) for row in [heads, *rows]) for at in range(len(heads))]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in [heads, *rows]
    )


def _verdict(result: Reconciliation, host: HostProcess) -> int:
    print(f"\nLost {result.lost}, duplicated {result.duplicated}.")
    for line in result.lines:
        for key in line.lost[:SHOWN]:
            print(f"  lost of {line.what}: {' '.join(map(str, key))}")
        if len(line.lost) > SHOWN:
            print(f"  and {len(line.lost) - SHOWN:,} more of them")
    for function, error in _failures(host).items():
        print(f"  {function} failed: {error}")
    return 1 if result.lost or result.duplicated else 0


def _failures(host: HostProcess) -> dict[str, str]:
    """The functions that failed, each with the first line of its newest error."""
    failed = (event for event in host.events if event["event"] == "invoked" and not event["ok"])
    return {event["function"]: str(event["error"]).splitlines()[0] for event in failed}


def _preview(tables: PublishedTables, path: Path) -> None:
    """Write the report's preview; a demo without the network for its charting library goes without."""
    try:
        write_preview(tables, path)
    except PackagesError as error:
        print(f"\nNo preview of the report: {error}")
    else:
        print(f"\nA preview of the Power BI report is in {shown(path)}: open it in a browser")


def _export(tables: PublishedTables, folder: Path) -> None:
    """Copy the published files out of the storage emulator, where a person can open them."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in tables.names():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tables.file(name))


if __name__ == "__main__":
    sys.exit(main())
