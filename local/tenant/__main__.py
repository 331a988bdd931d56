"""Runs a made-up tenant alone: one JSON line with its addresses, then it serves until told to stop.

It stops when its standard input closes, or at SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from local.tenant import Limits, Tenant, generate

_LOOK_EVERY_S = 0.2


def main() -> None:
    options = _options()
    world = generate(
        seed=options.seed,
        anchor=options.anchor,
        environments=options.environments,
        sessions_per_environment=options.sessions,
        blobs=options.blobs,
        events_per_blob=options.events,
        history_days=options.history_days,
        live_s=options.live_s,
    )
    limits = Limits(
        dataverse_requests=options.dataverse_requests,
        activity_requests_per_minute=options.activity_requests,
        listing_page_size=options.listing_page_size,
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    with Tenant(world, latency_s=options.latency_s, limits=limits) as tenant:
        print(json.dumps(addresses(tenant), ensure_ascii=True), flush=True)
        threading.Thread(target=_await_end_of_input, args=(stop,), daemon=True).start()
        while not stop.wait(_LOOK_EVERY_S):  # in slices, because Windows delivers no signal to a longer wait
            pass


def addresses(tenant: Tenant) -> dict[str, Any]:
    """Everything that another program needs to use this tenant."""
    return {
        "environments": [address._asdict() for address in tenant.environments],
        "activity_url": tenant.activity_url,
        "graph_url": tenant.graph_url,
        "control_url": tenant.control_url,
        "identity_endpoint": tenant.identity_endpoint,
        "identity_header": tenant.identity_header,
        "tenant_id": tenant.tenant_id,
        "client_id": tenant.client_id,
        "app_settings": tenant.app_settings(),
    }


def _await_end_of_input(stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    stop.set()


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.tenant", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--anchor", type=_time, default=None, help="end of the history, ISO 8601; now when omitted"
    )
    parser.add_argument("--environments", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=120, help="in each environment")
    parser.add_argument("--blobs", type=int, default=60)
    parser.add_argument("--events", type=int, default=200, help="in each blob")
    parser.add_argument("--history-days", type=float, default=5)
    parser.add_argument("--live-s", type=float, default=60, help="how long runs go on changing")
    parser.add_argument("--latency-s", type=float, default=0.0, help="added before each answer")
    parser.add_argument("--dataverse-requests", type=int, default=None, help="in 300 s, of each environment")
    parser.add_argument("--activity-requests", type=int, default=None, help="in a minute")
    parser.add_argument("--listing-page-size", type=int, default=50)
    return parser.parse_args()


if __name__ == "__main__":
    main()
