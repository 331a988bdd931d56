"""One way of one case, measured in a process of its own: `python -m local.bench.worker CASE WAY FOLDER`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from local.bench.catalogue import CASES
from local.bench.measuring import measured


def main(case: str, way: str, folder: str) -> None:
    print(json.dumps(asdict(measured(CASES[case].way(way), Path(folder)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
