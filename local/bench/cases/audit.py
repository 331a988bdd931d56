"""Filtering content blobs and normalising what is wanted, to a file; few to all of their records are wanted.

The blobs lie in memory, as they come from the service: reading files would be a part of all ways alike.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from local.bench.measuring import APP, Case, Size, Way, Work

NOON = datetime(2026, 5, 19, 12, tzinfo=UTC)
WORKLOADS = frozenset({"powerplatform", "microsoftflow", "powerapps", "microsoftcopilotstudio"})
RECORD_TYPES = frozenset({30, 45, 46, 80, 149, 150, 163, 186, 239, 256})
BLOBS, EVENTS = 80, 500
SHARES = (0.01, 0.05, 0.5, 1.0)


def _prepare(wanted: float, folder: Path, quick: bool) -> Size:
    size = 0
    blobs = BLOBS // 8 if quick else BLOBS
    from local.bench.audit_data import made_up  # noqa: PLC0415 - only the data needs the tenant

    for number, body in enumerate(made_up(blobs, EVENTS, wanted)):
        (folder / f"{number:04d}.blob").write_bytes(body)
        size += len(body)
    return Size(blobs * EVENTS, size)


def blobs_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.blob"))]


def flowtrail(folder: Path, _stack: ExitStack) -> Work:
    """As the collector does it: a batch of blobs, one at a time, then one staged file of their rows."""
    from shared.publishing.arrow_file import write_arrow  # noqa: PLC0415 - a rival must not pay for it

    return _through_the_app(folder, write_arrow)


def flowtrail_to_parquet(folder: Path, _stack: ExitStack) -> Work:
    """The same, written as it is published."""
    from shared.publishing.parquet import write_rows  # noqa: PLC0415 - as above

    return _through_the_app(folder, write_rows)


def _through_the_app(folder: Path, write: Callable[[Any, list[Any], Any], int]) -> Work:
    from shared.audit.feed import ContentBlob  # noqa: PLC0415 - as above
    from shared.audit.reading import read_blob  # noqa: PLC0415
    from shared.publishing.parquet import rows_of  # noqa: PLC0415
    from shared.schema import FACT_AUDIT_EVENT  # noqa: PLC0415

    blob = ContentBlob("bench", "Audit.General", "", NOON, NOON + timedelta(days=7))

    def work_off(bodies: list[bytes]) -> int:
        rows: list[dict[str, Any]] = []
        for body in bodies:
            rows.extend(read_blob(body, blob, WORKLOADS, NOON).rows)
        return write(FACT_AUDIT_EVENT, [rows_of(FACT_AUDIT_EVENT, rows)], io.BytesIO())

    bodies = blobs_of(folder)
    work_off(bodies[:1])
    return lambda: {"kept": work_off(bodies)}


def plain(folder: Path, _stack: ExitStack) -> Work:
    """What one writes first: everything parsed, a loop, a dict for each wanted record, `from_pylist`."""
    import pyarrow as pa  # noqa: PLC0415 - each way brings its own imports
    import pyarrow.parquet as pq  # noqa: PLC0415

    def work_off(bodies: list[bytes]) -> int:
        rows = [_row(record) for body in bodies for record in json.loads(body) if _is_wanted(record)]
        pq.write_table(pa.Table.from_pylist(rows), io.BytesIO())
        return len(rows)

    bodies = blobs_of(folder)
    work_off(bodies[:1])
    return lambda: {"kept": work_off(bodies)}


def with_pandas(folder: Path, _stack: ExitStack) -> Work:
    import pandas as pd  # type: ignore[import-not-found] # noqa: PLC0415 - in the rivals' environment only

    def work_off(bodies: list[bytes]) -> int:
        frames = [pd.DataFrame.from_records(json.loads(body)) for body in bodies]
        records = pd.concat(frames, ignore_index=True).to_dict("records")
        rows = [_row(present) for record in records if _is_wanted(present := _present(record))]
        pd.DataFrame(rows).to_parquet(io.BytesIO())
        return len(rows)

    bodies = blobs_of(folder)
    work_off(bodies[:1])
    return lambda: {"kept": work_off(bodies)}


def _present(record: dict[Any, Any]) -> dict[str, Any]:
    """A record without the columns that are another record's, which pandas fills with a number."""
    return {name: value for name, value in record.items() if not (isinstance(value, float) and value != value)}  # noqa: PLR0124 - so it is with NaN


def limit(folder: Path, _stack: ExitStack) -> Work:
    import simdjson  # type: ignore[import-not-found] # noqa: PLC0415 - in the rivals' environment only

    bodies = blobs_of(folder)

    def work() -> None:
        parser = simdjson.Parser()
        for body in bodies:
            parser.parse(body)

    return work


def _is_wanted(record: dict[str, Any]) -> bool:
    kind = record.get("RecordType")
    return (
        str(record.get("Workload", "")).lower() in WORKLOADS
        or (isinstance(kind, int) and kind in RECORD_TYPES)
        or any(str(pair["Name"]).startswith("powerplatform.") for pair in record.get("PropertyCollection", ()))
    )


def _row(record: dict[str, Any]) -> dict[str, Any]:
    named = {pair["Name"].lower(): pair["Value"] for pair in record.get("PropertyCollection", ())}
    resource_ = "powerplatform.analytics.resource."
    more = json.loads(record["AdditionalInfo"]) if "AdditionalInfo" in record else {}
    url = record.get("FlowDetailsUrl", "").split("/")
    flow = dict(pairwise(url))
    address = str(named.get("enduser.ip_address") or record.get("ClientIP")).removeprefix("::ffff:")
    app = named.get(f"{resource_}power_app.id") or record.get("AppName")
    return {
        "event_id": record["Id"].lower(),
        "created_utc": datetime.fromisoformat(record["CreationTime"]).replace(tzinfo=UTC),
        "workload": record["Workload"],
        "record_type": int(record["RecordType"]),
        "operation": record["Operation"],
        "operation_group": "Other",
        "is_success": named.get("powerplatform.analytics.operation.is_successful") == "True",
        "result": record.get("ResultStatus"),
        "user_id": (named.get("enduser.principal_name") or record.get("UserUPN") or record["UserId"]).lower(),
        "user_key": record["UserKey"].lower(),
        "user_type": record["UserType"],
        "client_ip": address.split(":")[0],
        "environment_id": named.get(f"{resource_}environment.id")
        or record.get("EnvironmentId")
        or flow.get("environments")
        or more.get("environmentName"),
        "environment_name": named.get(f"{resource_}environment.name"),
        "resource_type": named.get(f"{resource_}type"),
        "resource_id": app or named.get(f"{resource_}connection.id") or named.get(f"{resource_}id"),
        "resource_name": named.get(f"{resource_}power_app.display_name") or named.get(f"{resource_}display_name"),
        "app_id": app,
        "flow_id": flow.get("flows"),
        "connector_id": None,
        "policy_id": named.get(f"{resource_}id"),
        "target_user": named.get("targetuser.id") or record.get("RecipientUPN"),
        "permission": named.get(f"{resource_}permission_type") or record.get("SharingPermission"),
        "correlation_id": named.get("powerplatform.analytics.correlation.id"),
        "content_id": "bench",
        "content_created_utc": NOON,
        "ingested_utc": NOON,
        "details": json.dumps(record),
    }


TO_PARQUET = f"{APP}, to Parquet"
PLAIN = "json, loop, dicts, from_pylist"
LIMIT = "limit: simdjson tape, nothing kept"
WAYS = (
    Way(APP, flowtrail),
    Way(TO_PARQUET, flowtrail_to_parquet),
    Way(PLAIN, plain),
    Way("json, pandas", with_pandas, is_rival=True, rounds=1),
    Way(LIMIT, limit, is_rival=True),
)
CASES = tuple(
    Case(
        f"audit-{share:.0%}".removesuffix("%"),
        f"{BLOBS} content blobs, {share:.0%} wanted",
        "records",
        partial(_prepare, share),
        WAYS,
    )
    for share in SHARES
)
