"""Finds what has new rows, or lies in files of another grain than is wanted, and asks for each to be published."""

from __future__ import annotations

from itertools import islice

from shared.app import App
from shared.publishing.requests import body_for
from shared.state.names import Queue

DEADLINE_S = 300.0


def run(app: App) -> None:
    """Ask for what waits, as long as the queue holds fewer messages than places wait.

    What was staged last comes first: for what is left out an earlier tick has asked.
    """
    deadline = app.deadline(DEADLINE_S)
    app.journal_marks.mark_changes()
    waiting = app.staging.waiting()
    newest = {place: max(item.modified_utc for item in items) for place, items in waiting.items()}
    places = dict.fromkeys([*sorted(newest, key=newest.__getitem__, reverse=True), *app.layout.misplaced()])
    room = app.storage.queues.room(Queue.PUBLISH_DAY, len(places))
    for place in islice(places, max(0, room)):
        if deadline.passed:
            break
        app.storage.queues.send(Queue.PUBLISH_DAY, body_for(place))
