"""What the measurements were taken on, without anything that names the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

LIBRARIES = ("pyarrow", "msgspec", "pybase64", "urllib3", "azure-storage-blob", "azure-data-tables")
PIN = re.compile(r"^(duckdb|pandas|polars|pysimdjson)==(\S+)", re.MULTILINE)


def facts(rivals: Path) -> Iterator[tuple[str, str]]:
    yield "cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    yield "processor", processor()
    yield "memory", memory()
    yield "system", platform.system()
    yield "Python", platform.python_version()
    yield "libraries", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    yield "rivals", ", ".join(f"{name} {version}" for name, version in PIN.findall(rivals.read_text("utf-8")))


def processor() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text("utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def memory() -> str:
    try:
        pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return "not known"
    return f"{pages * page_bytes / 2**30:.0f} GiB"


def load() -> str:
    """What else kept the machine busy: a warning beside seconds, not beside ratios."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "not known"
