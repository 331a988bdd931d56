"""The same work again and again leaves nothing behind in the process, neither for each round nor for each log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from processes import tenant_of_its_own

from local.desk import ROOT

GROWTH = Path(__file__).with_name("growth.py")
SIZES = {"environments": 2, "sessions": 40, "blobs": 6, "events": 30}
WARM_UP, ROUNDS = 1, 5


def test_nothing_is_left_of_a_round(account: str) -> None:
    """Objects are counted, not bytes of the process: how much of it the allocators keep is another matter."""
    with tenant_of_its_own(SIZES) as tenant:
        environ = {**os.environ, **tenant["app_settings"], "DataStorage": account}
        command = [sys.executable, GROWTH, str(ROUNDS)]
        done = subprocess.run(  # noqa: S603 - our own program
            command, check=False, capture_output=True, text=True, env=environ, cwd=ROOT
        )
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    first, last = rounds[WARM_UP], rounds[-1]
    logs = sum(one["logs"] for one in rounds[WARM_UP + 1 :])
    assert logs == 3 * 80
    assert last["own"] <= first["own"], rounds
    assert last["objects"] - first["objects"] < logs / 4, rounds
    assert last["blocks"] - first["blocks"] < logs, rounds
    assert last["arrow_bytes"] <= first["arrow_bytes"], rounds
