"""Copies of what can't be read of action logs, as it came: for whoever mends the decoder."""

from __future__ import annotations

from contextlib import suppress
from typing import IO

from shared.app import App
from shared.dataverse.sessions import Session
from shared.dataverse.values import OFF
from shared.errors import Conflict
from shared.state.names import Container

FILE, ROWS = "bin", "rows.jsonl"


def copy_name(session: Session, kind: str = FILE) -> str:
    """Where it is kept, in the container `raw`: a file whole, of rows those that can't be read."""
    return f"unreadable/{session.environment_id}/date={session.day.isoformat()}/{session.session_id}.{kind}"


def keep_copy(app: App, session: Session, file: IO[bytes], kind: str = FILE, *, if_absent: bool = False) -> str:
    """Keep a copy, unless no values may be kept: it holds them. What the gap says of that behind its reason.

    With `if_absent` a copy that is there stays: what was kept of the same log may be all there is.
    """
    if app.settings.action_values == OFF:
        return " No copy of it is kept, because ACTION_VALUES is off."
    file.seek(0)
    with suppress(Conflict):
        app.storage.blobs.put(Container.RAW, copy_name(session, kind), file, if_absent=if_absent)
    return ""
