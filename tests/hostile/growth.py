"""Does the same work again and again in one process, and prints what each round leaves in memory: a JSON line.

python tests/hostile/growth.py ROUNDS   with the app's settings in the environment
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
from datetime import timedelta
from pathlib import Path

sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[:3]]

from load import Load  # noqa: E402 - the path comes first
from pyarrow import total_allocated_bytes  # type: ignore[attr-defined]  # noqa: E402 - it is there

from shared.app import App  # noqa: E402
from shared.dataverse.log_messages import requests_for  # noqa: E402
from shared.settings import load_settings  # noqa: E402
from shared.state.names import Queue  # noqa: E402


def ask_again(app: App) -> int:
    """Ask for all action logs once more; return how many there are."""
    number = 0
    for environment in app.settings.environments:
        environment_id = app.profile(environment, app.deadline(60)).environment_id
        first = app.register.first_day(environment_id) or app.clock.now().date()
        days = range((app.clock.now().date() - first).days + 1)
        known = (one for at in days for one in app.register.day(environment_id, first + timedelta(days=at)))
        runs = [one.session for one in known if one.session.log_status]
        for request in requests_for(environment.url, runs, again=True):
            app.storage.queues.send(Queue.ADDITIONAL_CONTEXT, request.body())
        number += len(runs)
    return number


def own_objects() -> int:
    return sum(str(type(one).__module__).startswith("shared.") for one in gc.get_objects())


def main(rounds: int) -> None:
    logging.disable(logging.CRITICAL)
    load = Load(App(load_settings(os.environ)), os.environ["DataStorage"])  # noqa: SIM112 - its name
    for _ in load.all_of_it():
        pass
    load.at_once = 1  # as many connections as are ever needed are open by now
    for _ in range(rounds):
        logs = ask_again(load.app)
        for timer in ("poll_flow_sessions", "poll_audit_content"):
            load.once(timer)
        load.work_off(Queue.ADDITIONAL_CONTEXT)
        load.once("publish")
        load.work_off(Queue.PUBLISH_DAY)
        gc.collect()
        left = {"own": own_objects(), "objects": len(gc.get_objects()), "blocks": sys.getallocatedblocks()}
        print(json.dumps({**left, "arrow_bytes": total_allocated_bytes(), "logs": logs}), flush=True)  # noqa: T201 - its result
    sys.exit("; ".join(load.failures[:3]) or 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
