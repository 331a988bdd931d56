"""Finds what has new rows, or lies in files of another grain than is wanted, and asks for each to be published."""

from __future__ import annotations

from shared.app import App
from shared.publishing.requests import body_for
from shared.state.names import Queue


def run(app: App) -> None:
    app.journal_marks.mark_changes()
    waiting = app.staging.waiting()
    for destination in {**waiting, **dict.fromkeys(app.layout.misplaced())}:
        app.storage.queues.send(Queue.PUBLISH_DAY, body_for(destination))
