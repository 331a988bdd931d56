"""Reads one generated case in a fresh process and prints what became of it and the memory that it took."""

from __future__ import annotations

import base64
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[:3]]

from readers import decoded, read  # noqa: E402 - the path comes first

from shared.errors import TooLarge, Unreadable  # noqa: E402

ACTION = b'{"name":"a","startTime":"2026-05-19T12:00:00Z","endTime":"2026-05-19T12:00:01Z"}'
RECORD = b'{"Workload":"PowerApps","Operation":"LaunchPowerApp","Id":"%d"}'


def nested_in_base64(times: int) -> bytes:
    data = b'{"actions":[' + ACTION + b"]}"
    for _ in range(times):
        data = base64.b64encode(data)
    return data


CASES: dict[str, tuple[Callable[[bytes], object], Callable[[int], bytes]]] = {
    "tiny actions": (decoded, lambda size: b'{"actions":[' + b"{}," * (size - 1) + b"{}]}"),
    "nested log": (decoded, lambda size: b'{"actions":[{"inputs":' + b"[" * size + b"]" * size + b"}]}"),
    "nested blob": (read, lambda size: b'[{"X":' + b'{"a":' * size + b"1" + b"}" * size + b"}]"),
    "long text": (decoded, lambda size: b'[{"name":"' + b"x" * size + b'","inputs":{"a":{"value":1}}}]'),
    "text full of cuts": (decoded, lambda size: b'[{"name":"' + b"},{" * (size // 3) + b'"}]'),
    "endless action": (decoded, lambda size: b'[{"name":"' + b"x" * size + b'"}]'),
    "tiny records": (read, lambda size: b"[" + b",".join(RECORD % number for number in range(size)) + b"]"),
    "base64 in base64": (decoded, nested_in_base64),
}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(case: str, size: int) -> None:
    reader, make = CASES[case]
    reader(make(1) if case != "base64 in base64" else b'[{"name":"a"}]')  # what is loaded once counts for nothing
    data = make(size)
    before = peak_mib()
    try:
        found = reader(data)
        outcome = f"{len(found) if isinstance(found, list) else found} rows"
    except (Unreadable, TooLarge) as refusal:
        outcome = type(refusal).__name__
    print(json.dumps({"outcome": outcome, "peak_mib": peak_mib() - before}))  # noqa: T201 - a command-line tool


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
