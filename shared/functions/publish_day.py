"""Publishes one day of one table, or one dimension."""

from __future__ import annotations

import logging

from shared.app import App
from shared.errors import Conflict
from shared.publishing.requests import body_for, read_destination
from shared.state.names import Queue

log = logging.getLogger("flowtrail")


def run(app: App, body: str, _dequeue_count: int) -> None:
    """Publish what a message names; if somebody else is at it, what is staged stays staged for the next time.

    What belongs to a day that is no longer kept is given up.
    """
    destination = read_destination(body)
    if app.settings.retention.is_over(destination.table.name, destination.day, app.clock.now().date()):
        app.staging.discard(app.staging.waiting_for(destination))
        return
    try:
        publication = app.publisher.publish(destination)
    except Conflict as error:
        log.info("%s is left to the next time: %s", destination.folder, error)
        return
    for place in publication.next:
        app.storage.queues.send(Queue.PUBLISH_DAY, body_for(place))
    log.info(
        "Published %s: %d staged rows, %d of them new, %d files written",
        destination.folder,
        publication.rows_staged,
        publication.rows_new,
        publication.files_written,
    )
