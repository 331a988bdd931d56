"""What follows from the facts: everything that is wrong, once, at the place where somebody can act."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.batches import grouped
from shared.health.codes import Code
from shared.health.facts import FunctionHealth, Health, QueueHealth, Reason, SourceHealth
from shared.health.lateness import FEEDS, QUEUE_FUNCTIONS, TIMERS, is_late, overdue, schedule_of
from shared.health.words import count, hours, schedule_in_words, span, when
from shared.settings import Settings
from shared.state.journal import REFUSES, SUBSCRIPTION_DISABLED, Gap
from shared.state.sources import Faring

AT_ONCE = frozenset({Code.ACCESS_REFUSED, Code.ENVIRONMENT_GONE})
"""Troubles that nothing but an administrator ends; others are told once they last."""
OF_THE_WAY = frozenset({*AT_ONCE, Code.UNREACHABLE, Code.THROTTLED})
"""Troubles that are over for every function as soon as one gets through again."""
FREQUENT = ("poll_flow_sessions", "poll_audit_content")
LONGEST_AWAITED = timedelta(days=4)
"""After a day, a log that is not there counts as absent when it is asked for, which is once a day at least."""
UNREADABLE_GAPS = ("action log unreadable", "action log partly unreadable", "action log too_large")

STOP_AND_START = (
    "Stop the function app and start it again (portal, or az functionapp stop and then start; a restart is not "
    "enough). Nothing is lost by it: the app goes on from where it left off."
)
READ_ERROR = (
    "Do what the error says. If it says nothing that you can act on, report it with the app's log of that time."
)


@dataclass(frozen=True)
class Seen:
    """What reasons are drawn from besides the facts that are shown."""

    settings: Settings
    first: datetime
    farings: Sequence[Faring]
    gaps: Sequence[Gap]


def reasons(health: Health, seen: Seen) -> Iterator[Reason]:
    """The causes first; what only follows from one that is told is left out."""
    troubles = list(_troubles(health, seen))
    stuck = list(_timers(health, seen, {one.function for one in troubles}))
    yield from (_trouble_reason(one) for one in troubles)
    yield from _refusals(health, {one.source for one in troubles})
    yield from stuck
    yield from _clocks(seen)
    told = {one.source for one in troubles} | {source.name for source in health.sources if source.problem}
    yield from _delays(health, seen, told, {reason.where for reason in stuck})
    yield from _backlogs(health, seen)
    yield from _losses(seen.gaps)


def _troubles(health: Health, seen: Seen) -> Iterator[Faring]:
    """One for each source: that of the function that comes most often.

    Where an environment has said itself what it keeps back, that is more exact than a refusal of the inventory.
    """
    names = {source.name for source in health.sources}
    exact = {source.name for source in health.sources if source.problem}
    succeeded = {
        one.source: one.succeeded_utc for one in seen.farings if one.function in FREQUENT and one.succeeded_utc
    }
    order = list(TIMERS)
    failing = [one for one in seen.farings if one.failing_utc and one.source in names and one.function in order]
    failing = [one for one in failing if one.function in FREQUENT or one.source not in exact]
    failing.sort(key=lambda one: (one.source, order.index(one.function)))
    told: set[str] = set()
    for one in failing:
        if one.source not in told and _lasts(one, health.at_utc, seen.settings) and not _is_over(one, succeeded):
            told.add(one.source)
            yield one


def _lasts(one: Faring, now: datetime, settings: Settings) -> bool:
    if one.code in AT_ONCE:
        return True
    schedule = schedule_of(one.function, settings.schedules)
    return is_late(schedule, one.succeeded_utc or one.failing_utc or now, now, settings.health.missed_ticks)


def _is_over(one: Faring, succeeded: Mapping[str, datetime]) -> bool:
    """What failed once a day for want of a way in is over when a poll has found the way since."""
    since = succeeded.get(one.source)
    is_frequent = one.function in FREQUENT
    return bool(
        not is_frequent and one.code in OF_THE_WAY and since and one.failing_utc and since > one.failing_utc
    )


def _trouble_reason(one: Faring) -> Reason:
    return Reason(
        code=one.code or Code.SOURCE_FAILING,
        where=one.source,
        since_utc=one.failing_utc,
        problem=one.problem or "",
        remedy=one.remedy or "",
    )


def _refusals(health: Health, told: set[str]) -> Iterator[Reason]:
    """What an environment keeps back although it lets the app in."""
    for source in health.sources:
        if source.problem and source.name not in told:
            yield Reason(
                code=Code.ACCESS_REFUSED,
                where=source.name,
                since_utc=source.problem_utc,
                problem=source.problem,
                remedy="Run infra/grant-dataverse.sh with this environment's URL; the next poll finds it mended.",
            )


def _timers(health: Health, seen: Seen, explained: set[str]) -> Iterator[Reason]:
    """Timers that are late, unless that is because of sources that are told anyway."""
    for function in health.functions:
        if function.schedule is None or not function.is_late:
            continue
        ran = function.last_run_utc or seen.first
        if is_late(function.schedule, ran, health.at_utc, seen.settings.health.missed_ticks):
            yield _frozen(function, ran, health.at_utc)
        elif function.name not in explained:
            yield _failing(function, seen.first)


def _frozen(function: FunctionHealth, ran: datetime, now: datetime) -> Reason:
    due = schedule_in_words(function.schedule or "")
    what = "has not run" if function.last_run_utc else "has never run"
    stands = f"It should run {due}, and {what} for {span((now - ran).total_seconds())}."
    ahead = (
        f"It was noted at {when(ran)} UTC, which is to come: the clock was wrong. Whether it still runs {due}, "
    )
    return Reason(
        code=Code.TIMER_FROZEN,
        where=function.name,
        since_utc=ran,
        problem=stands if ran <= now else f"{ahead}nothing tells until it runs again.",
        remedy=STOP_AND_START,
    )


def _failing(function: FunctionHealth, first: datetime) -> Reason:
    return Reason(
        code=Code.FUNCTION_FAILING,
        where=function.name,
        since_utc=function.last_success_utc or first,
        problem=f"It runs and fails each time, last with: {function.last_error or 'no message'}",
        remedy=READ_ERROR,
    )


def _clocks(seen: Seen) -> Iterator[Reason]:
    configured = {*seen.settings.audit_content_types, *(one.name for one in seen.settings.environments)}
    for one in seen.farings:
        if one.clock_is_off and one.source in configured and one.function in FREQUENT:
            ahead_s = one.clock_ahead_s or 0
            yield Reason(
                code=Code.CLOCK_SKEW,
                where=one.source,
                since_utc=one.clock_off_utc,
                problem=f"The app's clock is {span(abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'} the "
                "service's. Reading goes by the service's clock, so nothing is missed; ages on this page are off, "
                "and tokens may be refused.",
                remedy="Where all sources are named, it is the app's clock: stop the function app and start it "
                "again, so that it gets another machine. Where only one is, report it to that service.",
            )


def _delays(health: Health, seen: Seen, told: set[str], stuck: set[str]) -> Iterator[Reason]:
    limits = seen.settings.health
    most = {"environment": limits.environment_hours, "audit": limits.audit_hours}
    for source in health.sources:
        if source.name in told or FEEDS[source.kind] in stuck:
            continue
        if timedelta(seconds=source.late_s) > hours(most[source.kind]):
            yield _behind(source)
        if source.silent_utc:
            yield _silent(source, health.at_utc)
        if source.kind == "audit" and source.waiting_utc:
            if health.at_utc - source.waiting_utc > hours(limits.audit_hours):
                yield _audit_backlog(source)
        elif source.waiting > limits.pending_logs or _awaits_for_long(source, health.at_utc):
            yield _logs_pending(source)


def _awaits_for_long(source: SourceHealth, now: datetime) -> bool:
    """Whether a log is awaited that long; those of old runs, since the app first met the environment."""
    since = source.waiting_utc
    return since is not None and now - max(since, source.first_utc) > LONGEST_AWAITED


def _behind(source: SourceHealth) -> Reason:
    return Reason(
        code=Code.BEHIND,
        where=source.name,
        since_utc=source.read_until_utc,
        problem=f"It is {span(source.lag_s)} behind, and nothing fails.",
        remedy=f"Wait while it gets less from look to look: a first load or an outage is being caught up with. If "
        f"it grows, let the schedule of {FEEDS[source.kind]} come more often.",
    )


def _silent(source: SourceHealth, now: datetime) -> Reason:
    since = source.silent_utc or now
    return Reason(
        code=Code.FEED_SILENT,
        where=source.name,
        since_utc=since,
        problem=f"The feed answers, and has listed nothing new for {span((now - since).total_seconds())}; a "
        "tenant is hardly ever quiet for so long.",
        remedy="See that auditing is on: Get-AdminAuditLogConfig in Exchange Online PowerShell says "
        "UnifiedAuditLogIngestionEnabled True. If it is, look at Service health in the Microsoft 365 admin "
        "center.",
    )


def _audit_backlog(source: SourceHealth) -> Reason:
    return Reason(
        code=Code.AUDIT_BACKLOG,
        where=source.name,
        since_utc=source.waiting_utc,
        problem=f"{count(source.waiting, 'content blob')} could not be fetched yet; the service keeps each for "
        "seven days.",
        remedy="Act within days. Wait while their number falls from look to look; if it does not, look for "
        '"Content blob" in the app\'s log, which says why each fails, and see whether another app uses up the '
        "tenant's share of the API.",
    )


def _logs_pending(source: SourceHealth) -> Reason:
    return Reason(
        code=Code.LOGS_PENDING,
        where=source.name,
        since_utc=source.waiting_utc,
        problem=f"{count(source.waiting, 'action log')} of runs that ended hours ago, or days, "
        f"{'has' if source.waiting == 1 else 'have'} not come.",
        remedy="See that the environment's setting for desktop flow run action logs is what you want, and whether "
        "the app's log of decode_additional_context says why they can't be had. If all is as it should be, and "
        "they come within days, raise HEALTH_PENDING_LOGS.",
    )


def _backlogs(health: Health, seen: Seen) -> Iterator[Reason]:
    limit = hours(seen.settings.health.backlog_hours)
    for queue in health.queues:
        if queue.oldest_utc and health.at_utc - queue.oldest_utc > limit:
            yield _queue_waiting(queue, health)
        if queue.poison:
            yield _poison(queue)
    staged = health.unpublished
    publishes = schedule_of("publish", seen.settings.schedules)
    if staged.oldest_utc and overdue(publishes, staged.oldest_utc, health.at_utc) > limit:
        yield Reason(
            code=Code.UNPUBLISHED,
            where="publish_day",
            since_utc=staged.oldest_utc,
            problem=f"{count(staged.days, 'day of a table', 'days of tables')} with new rows wait to be "
            "published; Power BI does not show them.",
            remedy="Nothing is lost, the rows are in storage. Look at the other points on this page first; if "
            "there is none, the app's log says why publish_day fails.",
        )


def _queue_waiting(queue: QueueHealth, health: Health) -> Reason:
    reader = next(one for one in health.functions if QUEUE_FUNCTIONS.get(one.name) == queue.name)
    last = reader.last_success_utc
    waited_s = (health.at_utc - (queue.oldest_utc or health.at_utc)).total_seconds()
    works = last is not None and queue.oldest_utc is not None and last > queue.oldest_utc
    done = f"{reader.name} last succeeded on {when(last)} UTC." if last else f"{reader.name} has never succeeded."
    error = f" Its last error: {reader.last_error.splitlines()[0]}" if reader.last_error else ""
    return Reason(
        code=Code.QUEUE_WAITING,
        where=queue.name,
        since_utc=queue.oldest_utc,
        problem=f"It holds {count(queue.messages, 'message')}, one of them for {span(waited_s)}. {done}{error}",
        remedy="It works and can't keep up: wait while the number falls, or raise MAXIMUM_INSTANCE_COUNT."
        if works
        else STOP_AND_START,
    )


def _poison(queue: QueueHealth) -> Reason:
    return Reason(
        code=Code.POISON,
        where=f"{queue.name}-poison",
        since_utc=None,
        problem=f"{count(queue.poison, 'message')} failed five times and were put aside.",
        remedy="The app's log says why they failed; end that. reconcile then puts them back by itself, once a "
        "day. Nothing that they stand for is lost meanwhile.",
    )


def _losses(gaps: Sequence[Gap]) -> Iterator[Reason]:
    """One reason for each source and kind; the table `gaps` has every single one."""
    for (source, kind), found in grouped(gaps, lambda gap: (gap.source, gap.kind)).items():
        if kind == REFUSES:
            continue  # told as what refuses now
        if kind == SUBSCRIPTION_DISABLED:
            yield from map(_lapse, found)
        elif kind in UNREADABLE_GAPS:
            yield _unreadable(source, kind, found)
        else:
            yield _gap(source, kind, found)


def _lapse(gap: Gap) -> Reason:
    return Reason(
        code=Code.SUBSCRIPTION_DISABLED,
        where=gap.source,
        since_utc=gap.from_utc,
        problem=f"Somebody or something disabled it between {when(gap.from_utc)} and {when(gap.to_utc)} UTC. "
        "The app has started it again; events that became available in between can't be had from anywhere.",
        remedy="There is nothing left to repair here. Find out what stopped it, for it can happen again: an "
        "administrator, or another app of the tenant that reads the activity feed. This message goes after a day.",
    )


def _unreadable(source: str, kind: str, found: Sequence[Gap]) -> Reason:
    too_large = kind.endswith("too_large")
    return Reason(
        code=Code.LOGS_UNREADABLE,
        where=source,
        since_utc=_begin(found),
        problem=f"{count(len(found), 'log')} of runs: {kind}. The runs themselves are there. "
        f"The newest, of run {found[-1].subject}: {found[-1].reason}",
        remedy="Nothing to repair: the service has no more of them. Let such flows write less, or split them."
        if too_large
        else "The files are kept as they came in the container raw, under unreadable/. If all logs of an "
        "environment are among them, the format has changed: report it, with one of the files. This message goes "
        "after a day.",
    )


def _gap(source: str, kind: str, found: Sequence[Gap]) -> Reason:
    return Reason(
        code=Code.GAP,
        where=source,
        since_utc=_begin(found),
        problem=f"{kind}: {count(len(found), 'gap')} noticed within a day. {found[-1].reason}",
        remedy="The timeline on the status page and the table gaps name each. The causes stand in docs/audit.md "
        "and docs/flow-runs.md. This message goes a day after the last one was noticed.",
    )


def _begin(gaps: Iterable[Gap]) -> datetime:
    return min(gap.from_utc for gap in gaps)
