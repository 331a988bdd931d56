"""The app on a desk, until Ctrl-C.

    python3 dev.py start [--port 7071]

Uses the storage account, the environments and the identity endpoint that the process environment or
local.settings.json give; starts Azurite and a simulated tenant for what they don't.
"""

from __future__ import annotations

import argparse
import sys
import threading

from local.desk import LOCAL, ROOT, Desk, DeskError, given_settings
from local.host.process import HostProcess, HostProcessError
from shared.settings import SETTINGS

FOLDER = LOCAL / "desk"
DEFAULT_PORT = 7071


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py start", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port of the HTTP functions")
    options = parser.parse_args()
    try:
        with Desk(FOLDER, given_settings()) as desk:
            return _serve(desk, options.port)
    except (DeskError, HostProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _serve(desk: Desk, port: int) -> int:
    for line in desk.started:
        print(f"Started {line}")
    with HostProcess(ROOT, host_settings(desk), on_log=print, port=port) as host:
        host.wait_started()
        print(f"Health: {host.url}/api/health   Status page: {host.url}/api/status   Ctrl-C stops everything.")
        threading.Event().wait()
    return 0


def host_settings(desk: Desk) -> dict[str, str]:
    """All app settings: the given ones, those of what was started, and defaults for schedules that none gives."""
    defaults = {setting.name: setting.default for setting in SETTINGS if setting.default}
    given = {name: value for name, value in desk.given.items() if value}
    return {**defaults, **given, **desk.settings}


if __name__ == "__main__":
    sys.exit(main())
