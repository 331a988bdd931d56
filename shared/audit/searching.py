"""Bringing audit events through the search of Microsoft Graph: what the feed has no more or missed."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from shared.audit.collector import keep_raw, stage_events
from shared.audit.comparison import KnownDay, known_day
from shared.audit.graph import CANCELLED, FAILED, SUCCEEDED, AuditSearch, Page, record_types_of
from shared.audit.reading import as_array, read_blob
from shared.audit.search_plan import Piece, Plan, midnight, new_plan, next_month, read_plan
from shared.audit.searched import CONTENT_TYPE, SEARCHED, as_kept, link_digest, searched_blob
from shared.audit.submissions import take_turn
from shared.clock import Deadline
from shared.errors import AccessError, Defer, FlowtrailError, Missing, Skip, Stop, Throttled
from shared.intervals import Interval, gaps
from shared.net.api import StartAgain
from shared.schema import FACT_AUDIT_EVENT
from shared.state.checkpoints import Checkpoint
from shared.state.journal import (
    BROUGHT_BY_SEARCH,
    FILLED_BY_SEARCH,
    LOSSES_OF_THE_FEED,
    RECORDS_UNREADABLE,
    SEARCH_INCOMPLETE,
    Gap,
)

if TYPE_CHECKING:
    from shared.app import App
    from shared.tally import Tally

log = logging.getLogger("flowtrail")

PLACE = "auditsearch"
BACKFILL, MONTHLY = "backfill", "monthly"
RESERVE_S = 60.0
LATEST = timedelta(days=7)
"""How much older than the blob that brings it an event is at most (measured by others: all within seven days)."""
MISSED = f"The feed did not bring all events of this time; theirs is a content_id with {SEARCHED}."
FILLED = (
    "The audit log was searched for the events of this time and of the week before; what it gave is here, "
    "and nothing suggests that it gave too little."
)


def backfill(app: App, deadline: Deadline, tally: Tally) -> None:
    """Bring everything since the day that `AUDIT_SEARCH` names, once: a plan that is done is not repeated."""
    since = app.settings.audit_search.since
    if since is None:
        return
    place = app.checkpoints.load(PLACE, BACKFILL)
    plan, order = read_plan(place.values), since.isoformat()
    if plan is None or plan.order != order:
        plan = new_plan(order, datetime.combine(since, time(), UTC), midnight(app.clock.now()))
    _Search(app, place, plan, deadline, tally).run()


def search_months(app: App, deadline: Deadline, tally: Tally) -> None:
    """Search each month that is over, and tell what the feed did not bring of it."""
    place, now = app.checkpoints.load(PLACE, MONTHLY), app.clock.now()
    plan = next_month(read_plan(place.values), app.journal.first_seen(now), now)
    if plan is not None:
        _Search(app, place, plan, deadline, tally, compares=True).run()


class _Search:
    """Works on a plan, within the deadline; each step is remembered after what it brought is durable."""

    def __init__(
        self,
        app: App,
        place: Checkpoint,
        plan: Plan,
        deadline: Deadline,
        tally: Tally,
        *,
        compares: bool = False,
    ) -> None:
        self.app = app
        self.place = place
        self.plan = plan
        self.deadline = deadline
        self.tally = tally
        self.compares = compares
        self.service: AuditSearch = app.audit_search
        self.may_ask = True
        self._known: dict[date, KnownDay] = {}

    def run(self) -> None:
        if self.plan.is_done and self.plan.told:
            return
        self.tally.window_from_utc, self.tally.window_to_utc = self.plan.start, self.plan.end
        self._save(self.plan.extended())
        try:
            self._advance_all()
        except Throttled as error:
            self.tally.finished = False
            log.warning("The audit search pauses: %s", error)
        self._tell_progress()

    def _advance_all(self) -> None:
        """Work on one piece after the other; one that the service refuses keeps none that is ready waiting."""
        problem: FlowtrailError | None = None
        for piece in self.plan.in_turn:
            if self._is_late():
                break
            try:
                self._advance(piece)
            except (Throttled, Stop):
                raise
            except (Defer, Skip) as error:
                problem = problem or error
        if problem:
            raise problem

    def _is_late(self) -> bool:
        late = self.deadline.remaining_s < RESERVE_S
        self.tally.finished = self.tally.finished and not late
        return late

    def _advance(self, piece: Piece) -> None:
        if _is_over(self.app, piece.start):
            self._swap(piece)
        elif piece.next:
            self._read(piece)
        elif piece.query_id:
            self._look(piece)
        elif self.may_ask and self.plan.may_ask and piece.may_be_asked(self.app.clock.now()):
            self._ask(piece)

    def _ask(self, piece: Piece) -> None:
        """Send a query, if there may be one more; a piece for which that fails is put behind the others."""
        self.may_ask = take_turn(self.app.checkpoints, self.app.clock.now())
        if not self.may_ask:
            return
        types = record_types_of(self.app.settings.audit_workloads)
        try:
            query_id = self.service.ask(piece.window, types, self.deadline)
        except Throttled:
            raise
        except StartAgain as error:
            self._again(piece, f"the service refuses it: {error}")
            raise
        except (Defer, Skip):
            self._swap(piece, replace(piece, after_utc=self.app.clock.now()))
            raise
        self._swap(piece, replace(piece, query_id=query_id, asked_utc=self.app.clock.now()))

    def _look(self, piece: Piece) -> None:
        """Ask how a query is: read it, cut its time in two, or ask anew."""
        try:
            query = self.service.look(piece.query_id, self.deadline)
        except (Defer, Skip, AccessError) as error:
            self._check_hope(piece, error)
            return self._again(piece, f"the service gives nothing of it: {error}")
        if query.status == SUCCEEDED:
            first = self.service.first_page(piece.query_id)
            whole = replace(piece, next=first, read=0, matched=0, about=query.about, cut=query.is_cut)
            if whole.cut and self._halves(whole):
                return self._split(piece, whole.shortfall())
            return self._read(self._swap(piece, whole))
        if query.status in (FAILED, CANCELLED):
            return self._again(piece, f"the service says {query.status}")
        if piece.is_overdue(self.app.clock.now()):
            return self._again(piece, f"it is {query.status} since {piece.asked_utc}")
        return None

    def _check_hope(self, piece: Piece, error: Defer | Skip | AccessError) -> None:
        """Raise an error that may pass: the query is still kept, and was not sent so long ago.

        A refusal that is meant for all is met again where the query is sent anew, which counts as no attempt.
        """
        is_gone = isinstance(error, (Missing, StartAgain))
        if isinstance(error, Throttled) or not (is_gone or piece.is_overdue(self.app.clock.now())):
            raise error

    def _read(self, piece: Piece) -> None:
        """Take page after page; the place is kept after each, and after the last it is seen whether all came."""
        seen: set[str] = set()
        while not self._is_late():
            try:
                page = self.service.page(piece.next, self.deadline)
            except (Defer, Skip, AccessError) as error:
                self._check_hope(piece, error)
                return self._again(piece, str(error))
            matched = piece.matched + self._keep(piece, page)
            read = replace(piece, next=page.next, read=piece.read + len(page.records), matched=matched)
            if not page.next:
                return self._close(piece, read)
            seen.add(piece.next)
            if page.next in seen:
                return self._again(piece, "its pages go round in a circle")
            piece = self._swap(piece, read)
        return None

    def _keep(self, piece: Piece, page: Page) -> int:
        """Stage the wanted records of a page as those of a content blob; return how many the feed brought, too."""
        app = self.app
        blob = searched_blob(piece.query_id, piece.asked_utc or app.clock.now())
        body = as_array(page.records)
        reading = read_blob(body, blob, app.settings.audit_workloads, app.clock.now())
        matched = self._compared(piece, reading.rows) if self.compares else 0
        link = link_digest(piece.next)
        kept = as_kept(blob, link)
        keep_raw(app, kept, reading, body)
        if reading.failed:
            reason = f"{len(reading.failed)} of {reading.records} records."
            self._note(piece.window, RECORDS_UNREADABLE, reason, kept.content_id)
        stage_events(app, reading.rows, [PLACE, piece.query_id, link])
        self.tally.rows_read += len(page.records)
        self.tally.rows_written += len(reading.rows)
        self.tally.rows_failed += len(reading.failed)
        self.plan = replace(self.plan, brought=self.plan.brought + len(page.records))
        return matched

    def _compared(self, piece: Piece, rows: list[dict[str, Any]]) -> int:
        """How many events the feed brought, too; that it lacks others is said before they are staged."""
        inside = {row["event_id"] for row in rows if piece.start <= row["created_utc"] < piece.end}
        known = self._known_on(piece.start.date())
        if not all(map(known.has, inside)):
            self._note(piece.window, BROUGHT_BY_SEARCH, MISSED)
        return known.of_feed(piece.window, inside)

    def _close(self, piece: Piece, read: Piece) -> None:
        of_feed = self._known_on(piece.start.date()).of_feed(piece.window) if self.compares else 0
        short = read.shortfall(of_feed)
        if not short:
            self._swap(piece)
        elif read.may_have_met_a_limit:
            self._split(piece, short)
        else:
            self._again(piece, short)

    def _split(self, piece: Piece, why: str) -> None:
        """Ask for both halves of a time instead; one that can't be cut may stay incomplete."""
        log.warning("The audit search of %s to %s is cut in two: %s", piece.start, piece.end, why)
        if not (halves := self._halves(piece)):
            self._note(piece.window, SEARCH_INCOMPLETE, why)
        self._swap(piece, *halves)

    def _halves(self, piece: Piece) -> tuple[Piece, ...]:
        return piece.halves() if self.plan.may_grow else ()

    def _again(self, piece: Piece, why: str) -> None:
        log.warning("The audit search of %s to %s is asked anew: %s", piece.start, piece.end, why)
        anew = piece.again(self.app.clock.now())
        if anew is None:
            self._note(piece.window, SEARCH_INCOMPLETE, f"It was asked again and again; the last time, {why}.")
        self._swap(piece, *([anew] if anew else []))

    def _swap(self, piece: Piece, *instead: Piece) -> Piece:
        self._save(self.plan.swapped(piece, *instead))
        return instead[0] if instead else piece

    def _save(self, plan: Plan) -> None:
        self.plan = plan
        self.place = self.app.checkpoints.save(self.place, plan.values())

    def _known_on(self, day: date) -> KnownDay:
        if day not in self._known:
            self._known = {day: known_day(self.app, day)}
        return self._known[day]

    def _note(self, window: Interval, kind: str, reason: str, subject: str = CONTENT_TYPE) -> None:
        self.app.journal.lost(
            Gap(
                source=CONTENT_TYPE,
                from_utc=window.start,
                to_utc=window.end,
                kind=kind,
                subject=subject,
                reason=reason,
                noticed_utc=self.app.clock.now(),
            )
        )

    def _tell_progress(self) -> None:
        if not self.plan.is_done:
            left = (self.plan.end - self.plan.position).days
            self.tally.note = f"{len(self.plan.pieces)} queries under way, {left} days to go"
            return
        _tell_filled(self.app)
        self._save(replace(self.plan, told=True))
        self.tally.note = f"the search of {self.plan.start.date()} to {self.plan.end.date()} is done"
        log.warning("The search of the audit log from %s to %s is done", self.plan.start, self.plan.end)


def _tell_filled(app: App) -> None:
    """Say of each loss of the feed that its time was searched, and nothing spoke against what that brought.

    Events may be a week older than the blobs that were lost, so that week must have been searched as well.
    """
    found = list(app.journal.gaps())
    plans = (read_plan(place.values) for place in app.checkpoints.all(PLACE).values())
    searched = [plan.searched for plan in plans if plan and plan.searched]
    holes = [Interval(gap.from_utc, gap.to_utc) for gap in found if gap.kind == SEARCH_INCOMPLETE]
    for gap in found:
        needed = Interval(gap.from_utc - LATEST, max(gap.to_utc, gap.from_utc))
        is_wanted = gap.kind in LOSSES_OF_THE_FEED and not _is_over(app, gap.from_utc)
        if is_wanted and _is_covered(needed, searched, holes):
            told = replace(gap, kind=FILLED_BY_SEARCH, subject=f"{gap.kind}: {gap.subject}", reason=FILLED)
            app.journal.lost(replace(told, noticed_utc=app.clock.now()))


def _is_over(app: App, instant: datetime) -> bool:
    """Whether no events of that day are kept any more: publishing would give up what a search brings of them."""
    return app.settings.retention.is_over(FACT_AUDIT_EVENT.name, instant.date(), app.clock.now().date())


def _is_covered(needed: Interval, searched: list[Interval], holes: list[Interval]) -> bool:
    overlaps = any(hole.start < needed.end and needed.start < hole.end for hole in holes)
    return not gaps(needed, searched) and not overlaps
