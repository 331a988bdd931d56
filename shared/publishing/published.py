"""Local copies of published files, and what to say of one that can't be read."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import IO

from shared.errors import Damaged
from shared.publishing.staging import spool
from shared.state.blobs import Blobs
from shared.state.names import Container


@contextmanager
def copy_of(blobs: Blobs, name: str) -> Generator[tuple[IO[bytes], str | None]]:
    """A copy of a published file and its ETag; empty and `None` if there is no such file.

    Raises:
        Damaged: in the block it was found to be no Parquet file; the message names it.
    """
    with spool() as file:
        etag = blobs.copy_into(Container.POWERBI, name, file)
        file.seek(0)
        try:
            yield file, etag
        except Damaged as error:
            if error.name:
                raise
            raise Damaged(
                f"{Container.POWERBI}/{name} can't be read. It is damaged, or was put there by somebody else: "
                f"move it away, then replay what it held (docs/operations.md, Damaged files). ({error.__cause__})",
                name,
            ) from error
