"""Action logs turned into rows, whatever is wrong with them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from shared.dataverse.action_log import ActionRecord, read_actions
from shared.dataverse.actions import ActionTable
from shared.dataverse.sessions import Session
from shared.dataverse.values import ValueRules
from shared.errors import FlowtrailError, TooLarge, Unreadable

log = logging.getLogger("flowtrail")

MOST_ACTIONS = 1_000_000
WINDOW_BYTES = 1024 * 1024
PASSING = (FlowtrailError, OSError, MemoryError)
"""What says nothing about the log itself."""


def table_of_file(session: Session, rules: ValueRules, file: IO[bytes]) -> ActionTable:
    """The rows of a log of the first generation; one that can't be read is repaired as far as may be.

    Raises:
        TooLarge: more actions than are read.
        Unreadable: it is no action log.
    """
    try:
        return table_of(session, rules, read_actions(_windows(file)))
    except Unreadable:
        return table_of(session, rules, read_actions(_windows(file), repair=True))


def table_of(session: Session, rules: ValueRules, batches: Iterable[Sequence[ActionRecord]]) -> ActionTable:
    """The rows of a log.

    Raises:
        TooLarge: more actions than are read.
        Unreadable: also where something in it breaks the decoder itself; trying again would change nothing.
    """
    table = ActionTable(session, rules)
    try:
        table.extend(_bounded(batches))
        table.finish()
    except BaseException as error:
        table.close()
        if isinstance(error, PASSING) or not isinstance(error, Exception):
            raise
        log.exception("The action log of run %s breaks the decoder; please report it", session.session_id)
        raise Unreadable(f"the log breaks the decoder: {type(error).__name__}") from error
    return table


def _bounded(batches: Iterable[Sequence[ActionRecord]]) -> Iterator[Sequence[ActionRecord]]:
    """The same batches; a file within its bytes may still hold more actions than memory holds times of."""
    actions = 0
    for records in batches:
        actions += len(records)
        if actions > MOST_ACTIONS:
            raise TooLarge(f"the log has more than {MOST_ACTIONS:,} actions")
        yield records


def _windows(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while window := file.read(WINDOW_BYTES):
        yield window
