"""Log records that alerts and the workbook read: one word, then JSON.

The Functions host drops the extra attributes of Python's log records on their way to Application Insights, so what
a query needs stands in the message itself.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

log = logging.getLogger("flowtrail")


def write_record(kind: str, values: Any) -> None:
    """Log `flowtrail.{kind} {values as JSON}`; `values` is a dataclass or a dict."""
    log.info("flowtrail.%s %s", kind, msgspec.json.encode(values).decode())
