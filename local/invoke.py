"""One function of the app, once.

    python3 dev.py invoke NAME [--input TEXT]

Uses what `start` would use. `--input` is the message of a queue function.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from local.desk import LOCAL, ROOT, Desk, DeskError, given_settings
from local.start import host_settings

FOLDER = LOCAL / "desk"


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py invoke", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="function to run, such as poll_flow_sessions")
    parser.add_argument("--input", help="message of a queue function")
    options = parser.parse_args()
    try:
        with Desk(FOLDER, given_settings()) as desk:
            return _invoke(desk, options.name, options.input)
    except DeskError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _invoke(desk: Desk, name: str, body: str | None) -> int:
    command = [sys.executable, "-m", "local.host", "--app", str(ROOT), "--invoke", name]
    command += ["--input", body] if body is not None else []
    return subprocess.call(command, cwd=ROOT, env={**os.environ, **host_settings(desk)})


if __name__ == "__main__":
    sys.exit(main())
