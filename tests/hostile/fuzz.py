"""Fuzzes one of the two readers, guided by coverage: `fuzz.py FOLDER`, then the arguments of libFuzzer."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # pyright: ignore[reportMissingImports] - it is where `dev.py soak` puts it

sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[:3]]

with atheris.instrument_imports(include=["shared"]):  # pyright: ignore[reportAttributeAccessIssue] - untyped
    from readers import decoded, read

    from shared.errors import TooLarge, Unreadable

READERS = {"action_logs": decoded, "audit_blobs": read}


def main(folder: str, arguments: list[str]) -> None:
    reader = READERS[folder]

    def try_one(data: bytes) -> None:
        try:
            reader(data)
        except (Unreadable, TooLarge):
            return

    atheris.Setup([sys.argv[0], *arguments], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
