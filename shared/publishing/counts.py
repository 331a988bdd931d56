"""How many rows a published file holds, kept beside it: what shows numbers by day needs to open no file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.schema import FACT_FLOW_SESSION, Table
from shared.state.row_counts import BY_ENVIRONMENT, ROWS

ENVIRONMENT = "environment_id"
LONGEST_NOTE = 6_000  # a blob takes 8 KiB of metadata in all


def counts_of(table: Table, file: IO[bytes]) -> Mapping[str, str]:
    """What a new file is to carry as metadata: `rows`, and of runs those of each environment."""
    parquet = pq.ParquetFile(file)
    notes = {ROWS: str(parquet.metadata.num_rows)}
    if table is FACT_FLOW_SESSION:
        notes[BY_ENVIRONMENT] = _pairs(parquet.read([ENVIRONMENT]).column(ENVIRONMENT))
    return {name: text for name, text in notes.items() if text}


def _pairs(ids: pa.ChunkedArray) -> str:
    """`id=rows` between commas, the largest first; those behind what fits are left out."""
    counts = Counter(
        {str(one["values"]): one["counts"] for one in pc.value_counts(ids.cast(pa.string())).to_pylist()}
    )
    pairs = [f"{environment_id}={rows}" for environment_id, rows in counts.most_common()]
    while len(",".join(pairs)) > LONGEST_NOTE:
        pairs.pop()
    return ",".join(pairs)
