"""Runs a function app on a desk: python -m local.host --app DIR [--port 7071]."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from local.host.engines import choose_engine
from local.host.events import write_lines
from local.host.host import Host
from local.host.invoker import Invocation
from local.host.problems import HostStartError
from local.host.queue_listener import LEASE_S

EXIT_FAILED = 1
EXIT_NOT_STARTED = 2


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    stop = threading.Event()
    _stop_at_signals(stop)
    if args.stop_at_eof:
        threading.Thread(target=_stop_at_eof, args=(stop,), daemon=True).start()
    receive_event = write_lines(sys.stdout) if args.events else None
    if args.events:
        sys.stdout = sys.stderr  # what the app prints must not come between the events
    engine = choose_engine(direct=args.direct)
    host = Host(
        args.app, args.port, None, args.poll_s, lease_s=args.lease_s, engine=engine, receive_event=receive_event
    )
    try:
        host.start(listen=not args.invoke or args.seconds is not None)
    except HostStartError as error:
        print(error, file=sys.stderr)
        if receive_event:
            receive_event({"event": "failed", "problems": error.problems})
        return EXIT_NOT_STARTED
    return _run(host, args, stop)


def _run(host: Host, args: argparse.Namespace, stop: threading.Event) -> int:
    failed = False
    for name in args.invoke:
        failed |= not _invoke(host, name, args.input)
    if args.seconds is not None:
        timer = threading.Timer(args.seconds, stop.set)
        timer.daemon = True
        timer.start()
    if args.seconds is not None or not args.invoke:
        host.run(until=stop)
    if host.stop():
        _leave(EXIT_FAILED)
    return EXIT_FAILED if failed else 0


def _invoke(host: Host, name: str, given: str | None) -> bool:
    try:
        invocation: Invocation = host.invoke(name, **({} if given is None else {"body": given}))
    except (LookupError, TypeError) as error:
        known = ", ".join(function.name for function in host.functions)
        print(f"cannot invoke {name} ({error!r}); functions: {known}", file=sys.stderr)
        return False
    outcome = "ok" if invocation.ok else "failed"
    print(f"{name}: {outcome} in {invocation.duration_ms:.0f} ms", file=sys.stderr)
    if invocation.error or invocation.result is not None:
        print(invocation.error or invocation.result)
    return invocation.ok


def _stop_at_signals(stop: threading.Event) -> None:
    asked = threading.Event()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        if asked.is_set():  # for the second time
            _leave(EXIT_FAILED)
        asked.set()
        stop.set()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), ask)


def _stop_at_eof(stop: threading.Event) -> None:
    os.read(sys.stdin.fileno(), 1)
    stop.set()


def _leave(code: int) -> None:
    """Ends the process although functions still run in its threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.host", description=__doc__)
    parser.add_argument("--app", type=Path, default=Path(), metavar="DIR", help="holds function_app.py, host.json")
    parser.add_argument("--port", type=int, default=7071, help="of the HTTP triggers; 0 lets the system choose")
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after so long")
    parser.add_argument(
        "--invoke", action="append", default=[], metavar="NAME", help="run it once; may be repeated"
    )
    parser.add_argument("--input", metavar="TEXT", help="what --invoke hands to a queue or HTTP function")
    parser.add_argument("--poll-s", type=float, metavar="N", help="pause after an empty queue (default: back-off)")
    parser.add_argument(
        "--lease-s", type=float, default=LEASE_S, metavar="N", help="invisibility of a held message"
    )
    parser.add_argument("--direct", action="store_true", help="call functions without azure-functions-runtime")
    parser.add_argument("--events", action="store_true", help="print one JSON object per event")
    parser.add_argument("--stop-at-eof", action="store_true", help="stop when standard input ends")
    return parser


if __name__ == "__main__":
    sys.exit(main())
