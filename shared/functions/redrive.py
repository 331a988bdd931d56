"""Messages that failed too often: put back while there is hope, else settled for what they are, and removed.

The Functions host moves a message to the poison queue after five failures. What becomes of one is written down
before it is deleted; one that is put back twice does no harm, for every queue function repeats safely.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import TypeVar

import msgspec

from shared.app import App
from shared.batches import batches, grouped
from shared.clock import Deadline
from shared.dataverse.log_messages import LogRequest, is_due, is_wanted, read_request
from shared.dataverse.sessions import AWAITED, LogStatus, Session, amended
from shared.errors import AccessError, Defer, Skip, Unreadable
from shared.functions.copies import keep_copy
from shared.functions.intake import stage_sessions
from shared.functions.log_outcomes import LogGaps
from shared.functions.sources import Work
from shared.publishing.requests import read_destination
from shared.publishing.staging import spool
from shared.settings import Environment
from shared.state.journal import Gap
from shared.state.names import Container, Queue
from shared.state.queues import TakenMessage
from shared.tally import Tally

log = logging.getLogger("flowtrail")

MOST_TIMES = 3
MOST_MESSAGES = 10_000
HIDDEN_S = 900
RESERVE_S = 20.0
SETTLED_AT_ONCE = 20
Read = TypeVar("Read")


def redrives(app: App) -> dict[str, Work]:
    """What is to be done: one source for each poison queue that holds something."""
    works = {Queue.ADDITIONAL_CONTEXT: redrive_logs, Queue.PUBLISH_DAY: redrive_days}
    return {
        f"redrive of {queue}": partial(work, app)
        for queue, work in works.items()
        if app.storage.queues.length(queue.poison)
    }


def redrive_logs(app: App, deadline: Deadline, tally: Tally) -> None:
    """Ask again for action logs, each alone; the log of a run that fails again and again counts as unreadable."""
    readable = _taken(app, Queue.ADDITIONAL_CONTEXT, read_request, tally)
    places = grouped(readable, lambda pair: (pair[1].url, pair[1].environment_id, pair[1].day))
    for pairs in (part for place in places.values() for part in batches(place, SETTLED_AT_ONCE)):
        if deadline.remaining_s < RESERVE_S:
            tally.finished = False
            return
        try:
            _settle(app, [request for _, request in pairs], deadline, tally)
        except Defer as wait:
            log.info("Messages of %s stay until tomorrow: %s", Queue.ADDITIONAL_CONTEXT.poison, wait)
            continue
        for message, _ in pairs:
            app.storage.queues.delete(Queue.ADDITIONAL_CONTEXT.poison, message)


def redrive_days(app: App, deadline: Deadline, tally: Tally) -> None:
    """Forget the messages of what has been published since; of the rest, keep one each for all to see.

    Nothing has to be put back: `publish` asks for all that is staged each time, and what can't be published stays
    staged. What was staged after the last of them failed says nothing about them.
    """
    queue = Queue.PUBLISH_DAY
    found = grouped(_taken(app, queue, read_destination, tally), lambda pair: pair[1])
    for destination, pairs in found.items():
        if deadline.remaining_s < RESERVE_S:
            tally.finished = False
            return
        done, failed_utc = pairs, max(message.inserted_utc for message, _ in pairs)
        if any(item.modified_utc <= failed_utc for item in app.staging.waiting_for(destination)):
            log.error("%s can't be published; the log of publish_day says why", destination.folder)
            tally.rows_failed += 1
            done = pairs[1:]
            app.storage.queues.let_go(queue.poison, pairs[0][0])
        for message, _ in done:
            app.storage.queues.delete(queue.poison, message)


def _taken(app: App, queue: Queue, read: Callable[[str], Read], tally: Tally) -> list[tuple[TakenMessage, Read]]:
    """Messages in hand with what they say; one that says nothing is kept, told and removed."""
    readable: list[tuple[TakenMessage, Read]] = []
    for message in islice(app.storage.queues.take(queue.poison, HIDDEN_S), MOST_MESSAGES):
        tally.rows_read += 1
        try:
            readable.append((message, read(message.body)))
        except Unreadable as error:
            tally.rows_failed += 1
            _keep_message(app, queue, message, str(error))
            app.storage.queues.delete(queue.poison, message)
    return readable


def _keep_message(app: App, queue: Queue, message: TakenMessage, reason: str) -> None:
    content = message.content.encode()
    digest = hashlib.sha256(content).hexdigest()[:32]
    name = f"unreadable/messages/{queue}/date={message.inserted_utc.date()}/{digest}.txt"
    app.storage.blobs.put(Container.RAW, name, content)
    app.journal.lost(
        Gap(
            source=str(queue),
            from_utc=message.inserted_utc,
            to_utc=message.inserted_utc,
            kind="message unreadable",
            subject=digest,
            reason=f"{reason} It is kept as {Container.RAW}/{name}.",
            noticed_utc=app.clock.now(),
        )
    )


def _settle(app: App, requests: list[LogRequest], deadline: Deadline, tally: Tally) -> None:
    """Settle the messages of one environment and day."""
    url = requests[0].url
    environment = next((env for env in app.settings.environments if env.url == url), None)
    if environment is None:
        log.warning("%d messages about action logs of %s are left: it is not configured", len(requests), url)
    else:
        _Logs(app, environment, requests, deadline, tally).settle()


class _Logs:
    """The runs that messages of one environment and day name, each once, with the most that it was put back."""

    def __init__(
        self, app: App, environment: Environment, requests: list[LogRequest], deadline: Deadline, tally: Tally
    ) -> None:
        self.app = app
        self.environment = environment
        self.place = requests[0]
        self.deadline = deadline
        self.tally = tally
        self.asked: dict[str, LogRequest] = {}
        for request in requests:
            for session_id in request.session_ids:
                self._ask(session_id, request)

    def _ask(self, session_id: str, request: LogRequest) -> None:
        known = self.asked.get(session_id, request)
        self.asked[session_id] = msgspec.structs.replace(
            request.only([session_id], recheck=request.recheck or known.recheck),
            again=request.again or known.again,
            redriven=max(request.redriven, known.redriven),
        )

    def settle(self) -> None:
        """Put back what may yet be decoded, and give up what has had its chances."""
        found = self.app.register.get_all(self.place.environment_id, self.place.day, self.asked)
        runs = [registered.session for registered in found.values() if registered.session.is_finished]
        wanted = [run for run in runs if is_wanted(run, self.asked[run.session_id])]
        hopeless = [run for run in wanted if self.asked[run.session_id].redriven >= MOST_TIMES]
        self._put_back(run for run in wanted if run not in hopeless)
        for run in hopeless:
            self._give_up(run)
        settled = [run for run in runs if run not in wanted]
        stage_sessions(self.app, settled)  # a crash may have come between the register and this

    def _put_back(self, runs: Iterable[Session]) -> None:
        """Each alone: one that ends the worker takes no others with it."""
        for run in runs:
            request = self.asked[run.session_id]
            again = msgspec.structs.replace(request, redriven=request.redriven + 1)
            self.app.storage.queues.send(Queue.ADDITIONAL_CONTEXT, again.body())
            self.tally.rows_written += 1

    def _give_up(self, run: Session) -> None:
        """An unreadable log from now on; actions that were published before stay."""
        gaps = LogGaps(self.app, self.environment)
        failed = f"failed and was tried again on {MOST_TIMES} days; the log of the app says why."
        if run.log_status not in AWAITED:
            log.error("The action log of run %s can't be decoded again; what is published stays", run.session_id)
            if is_due(run, self.asked[run.session_id]):
                gaps.of_run(run, "action log partly unreadable", f"Looking for rows that came late {failed}")
            return
        try:
            copy_said = self._keep_file(run)
        except AccessError:
            self._put_back([run])  # it is refused by now, which decoding it tells as what it is
            return
        self.tally.rows_failed += 1
        gaps.of_run(run, "action log unreadable", f"Decoding it {failed}{copy_said}")

        def unreadable(run: Session, known: Session | None) -> Session:
            state = known or run
            awaited = state.log_status in AWAITED and state.log_file_id == run.log_file_id
            return amended(state, self.app.clock.now(), log_status=LogStatus.UNREADABLE) if awaited else state

        stage_sessions(self.app, self.app.register.update([run], unreadable))

    def _keep_file(self, run: Session) -> str:
        """A copy of the log as it lies at the source, for whoever mends the decoder; there may be none.

        What the gap says of that behind its reason.

        Raises:
            Defer: the source does not answer now, which says nothing about the log.
            AccessError: it refuses, which says nothing about it either.
        """
        with spool() as file:
            try:
                path = f"flowsessions({run.session_id})/additionalcontext"
                for chunk in self.app.web_api(self.environment).file(path, self.deadline):
                    file.write(chunk)
            except Skip as error:
                log.info("No copy of the action log of run %s can be had: %s", run.session_id, error)
                return ""
            return keep_copy(self.app, run, file)
