"""The status page: the verdict first, then what it rests on. Everything that comes from outside is escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from shared.batches import grouped
from shared.health.codes import title_of
from shared.health.drawing import lane, sparkline
from shared.health.facts import FunctionHealth, Health, QueueHealth, Reason, SourceHealth
from shared.health.style import STYLE
from shared.health.view import DAYS, EVENTS, RUNS, View
from shared.health.words import ago, brief, count, hours, schedule_in_words, span, when
from shared.state.journal import Gap

STYLE_HASH = f"sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}"
MOST_GAPS = 12
A_MINUTE_S = 60
MOST_PLACES = 10
DOES = {
    "poll_flow_sessions": "reads desktop-flow runs",
    "poll_audit_content": "reads the audit feed",
    "sync_inventory": "reads flows, machines and people",
    "publish": "finds what is to be published",
    "reconcile": "compares both sides",
    "decode_additional_context": "fetches action logs",
    "publish_day": "writes the files of Power BI",
}
QUEUED = {"additional-context": "Action logs to fetch", "publish-day": "Days to publish"}


def page(view: View) -> str:
    health = view.health
    return _document(
        health.at_utc,
        _verdict(health.reasons, _summary(health), health.at_utc),
        _section("Sources", _sources(view)),
        _section(f"Lost or maybe missing, last {DAYS} days", _gaps(view)),
        _section("Published rows by day", _volumes(view)),
        _section("Functions", _functions(health)),
        _section("Work that waits", _waiting(health)),
    )


def refusal_page(reasons: Sequence[Reason]) -> str:
    """The page of an app that can't even look."""
    return _document(None, _verdict(reasons, "", None))


def _document(at_utc: datetime | None, *sections: str) -> str:
    at = f'<p class="at">{when(at_utc)} UTC</p>' if at_utc else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Flowtrail status</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style></head><body>"
        f'<header><p class="brand">Flowtrail</p>{at}</header><main>{"".join(sections)}</main>'
        '<footer><p class="soft">All times are UTC. Reload the page to look again. Each point above has a code; '
        "docs/operations.md explains it.</p></footer></body></html>"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _summary(health: Health) -> str:
    kinds = [source.kind for source in health.sources]
    read = f"{count(kinds.count('environment'), 'environment')} and {count(kinds.count('audit'), 'audit feed')}"
    oldest_s = max((source.late_s for source in health.sources), default=0)
    behind = "" if oldest_s < A_MINUTE_S else f", {span(oldest_s)} behind at most"
    loads = sum(source.is_first_load for source in health.sources)
    loading = f" {count(loads, 'first load is', 'first loads are')} under way." if loads else ""
    return f"{read} are read{behind}.{loading} Nothing waits too long, nothing was lost within a day."


def _verdict(reasons: Sequence[Reason], summary: str, now: datetime | None) -> str:
    if not reasons:
        return (
            '<section class="verdict good"><h1>Everything is as it should be</h1>'
            f"<p>{escape(summary)}</p></section>"
        )
    together = list(grouped(reasons, lambda reason: (reason.code, reason.remedy)).values())
    many = "One thing needs attention" if len(together) == 1 else f"{len(together)} things need attention"
    cards = "".join(_card(found, now) for found in together)
    return f'<section class="verdict bad"><h1>{many}</h1>{cards}</section>'


def _card(reasons: Sequence[Reason], now: datetime | None) -> str:
    """Reasons that ask for the same, once; what is the same everywhere is said once as well."""
    first = reasons[0]
    problems = {reason.problem for reason in reasons}
    places = (_place(reason, now, alone=len(problems) > 1) for reason in reasons[:MOST_PLACES])
    more = len(reasons) - MOST_PLACES
    rest = f'<li class="soft">and {more} more</li>' if more > 0 else ""
    shared = f"<p>{_text(first.problem)}</p>" if len(problems) == 1 else ""
    title = escape(title_of(first.code))
    return (
        f'<article class="reason"><h2>{title}</h2><ul>{"".join(places)}{rest}</ul>{shared}'
        f'<p class="do"><b>What to do:</b> {_text(first.remedy)}</p>'
        f"<p><code>{escape(first.code)}</code></p></article>"
    )


def _place(reason: Reason, now: datetime | None, *, alone: bool) -> str:
    since = ""
    if reason.since_utc and now:
        since = f' <span class="soft">since {when(reason.since_utc)} UTC ({ago(reason.since_utc, now)})</span>'
    problem = f"<p>{_text(reason.problem)}</p>" if alone else ""
    return f'<li><span class="where">{escape(reason.where)}</span>{since}{problem}</li>'


def _text(text: str) -> str:
    return "<br>".join(escape(line) for line in text.splitlines())


def _table(heads: Sequence[tuple[str, str]], rows: Iterable[str]) -> str:
    """`heads` are a column's title and its class."""
    head = "".join(f'<th scope="col" class="{kind}">{escape(title)}</th>' for title, kind in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _sources(view: View) -> str:
    heads = (("Source", ""), ("Rows a day", "pic"), ("Behind", "n"))
    return _table(heads, (_source(view, source) for source in view.health.sources))


def _source(view: View, source: SourceHealth) -> str:
    is_audit = source.kind == "audit"
    most = hours(view.limits.audit_hours if is_audit else view.limits.environment_hours).total_seconds()
    drawn = sparkline(view.volumes[EVENTS] if is_audit else view.runs[source.name], EVENTS if is_audit else RUNS)
    read = f"read until {when(source.read_until_utc)}" if source.read_until_utc else "not read yet"
    read = f"first load, {read}" if source.is_first_load else read
    small = "".join(f"<small>{escape(note)}</small>" for note in (read, *(source.remark or "").splitlines()))
    told = any(reason.where == source.name for reason in view.health.reasons)
    above = '<small class="is-bad">needs attention, see above</small>' if told else ""
    behind = brief(source.lag_s) if source.lag_s > 0 else "0 min"
    return (
        f'<tr><th scope="row"><b>{escape(source.name)}</b>{small}{above}</th><td class="pic">{drawn}</td>'
        f'<td class="n{" is-bad" if source.late_s > most else ""}">{escape(behind)}</td></tr>'
    )


def _gaps(view: View) -> str:
    if not view.gaps:
        return "<p>Nothing.</p>"
    by_source = grouped(view.gaps, lambda gap: gap.source)
    lanes = "".join(_lane(source, found, view) for source, found in sorted(by_source.items()))
    newest = sorted(view.gaps, key=lambda gap: gap.noticed_utc, reverse=True)
    items = "".join(map(_gap, newest[:MOST_GAPS]))
    more = len(newest) - MOST_GAPS
    rest = f'<li class="soft">and {more} more in the table gaps</li>' if more > 0 else ""
    scale = f"<span>{view.days[0]:%d %b}</span><span>today</span>"
    return (
        f'<div class="lanes">{lanes}<span></span><div class="scale soft">{scale}</div></div>'
        f'<ul class="gaps">{items}{rest}</ul>'
    )


def _lane(source: str, gaps: Sequence[Gap], view: View) -> str:
    spans = [(gap.from_utc, gap.to_utc, gap.is_loss) for gap in gaps]
    what = f"{source}: {count(len(gaps), 'gap')} noticed in {DAYS} days, listed below"
    return f"<span>{escape(source)}</span>{lane(spans, view.days, what)}"


def _gap(gap: Gap) -> str:
    time = when(gap.from_utc) if gap.from_utc == gap.to_utc else f"{when(gap.from_utc)} to {when(gap.to_utc)}"
    kind = escape(gap.kind) if gap.is_loss else f"{escape(gap.kind)} (nothing is missing here)"
    return (
        f'<li><span class="where">{escape(gap.source)}</span>: {kind} <span class="soft">{time} UTC</span>'
        f"<p>{_text(gap.reason)}</p><small>{escape(gap.subject)}</small></li>"
    )


def _volumes(view: View) -> str:
    figures = "".join(_volume(title, numbers) for title, numbers in view.volumes.items())
    heads = (("Day", ""), *((title, "n") for title in view.volumes))
    rows = (_day(view, at) for at in range(len(view.days) - 1, -1, -1))
    return (
        f'<div class="volumes">{figures}</div>'
        f"<details><summary>The same as a table</summary>{_table(heads, rows)}</details>"
    )


def _volume(title: str, numbers: Sequence[int]) -> str:
    return (
        f'<div class="wide"><h3>{escape(title)}</h3>{sparkline(numbers, title, 56)}'
        f'<p><span class="big">{numbers[-2]:,}</span> <span class="soft">yesterday, {numbers[-1]:,} so far today, '
        f"{sum(numbers):,} in {len(numbers)} days</span></p></div>"
    )


def _day(view: View, at: int) -> str:
    cells = "".join(f'<td class="n">{numbers[at]:,}</td>' for numbers in view.volumes.values())
    return f'<tr><th scope="row">{view.days[at]:%a %d %b}</th>{cells}</tr>'


def _functions(health: Health) -> str:
    heads = (("Function", ""), ("Last success", "n"))
    return _table(heads, (_function(one, health.at_utc) for one in health.functions))


def _function(one: FunctionHealth, now: datetime) -> str:
    starts = "when there is a message"
    if one.schedule and one.next_utc:
        starts = f"{schedule_in_words(one.schedule)}, next at {one.next_utc:%H:%M}"
        starts += "" if one.next_utc.date() == now.date() else f" on {one.next_utc.day} {one.next_utc:%b}"
    notes = [f"{DOES[one.name]}, {starts}", *_error(one.last_error)]
    small = "".join(f"<small>{_text(note)}</small>" for note in notes)
    return (
        f'<tr><th scope="row"><b>{escape(one.name)}</b>{small}</th>'
        f'<td class="n{" is-bad" if one.is_late else ""}">{_last(one.last_success_utc, now)}</td></tr>'
    )


def _error(text: str | None) -> list[str]:
    """Its first line: what the others say of sources stands at the top of the page."""
    return [f"last error: {text.splitlines()[0]}"] if text else []


def _last(instant: datetime | None, now: datetime) -> str:
    return f"{brief(max(0, (now - instant).total_seconds()))} ago" if instant else "never"


def _waiting(health: Health) -> str:
    audit = sum(source.waiting for source in health.sources if source.kind == "audit")
    logs = sum(source.waiting for source in health.sources if source.kind == "environment")
    rows = [
        *(_queue(queue) for queue in health.queues),
        _row("Audit content to fetch", "content blobs that failed or had no turn at the last poll", f"{audit:,}"),
        _row("Action logs long awaited", "six hours after their runs, by the last reconciliation", f"{logs:,}"),
        _row("Days with unpublished rows", "published every few minutes", f"{health.unpublished.days:,}"),
    ]
    return _table((("What", ""), ("How many", "n")), rows)


def _queue(queue: QueueHealth) -> str:
    given_up = f"{count(queue.poison, 'message')} given up" if queue.poison else "none given up"
    return _row(QUEUED[queue.name], f"messages of the queue {queue.name}, {given_up}", f"{queue.messages:,}")


def _row(what: str, small: str, number: str) -> str:
    head = f'<th scope="row"><b>{escape(what)}</b><small>{escape(small)}</small></th>'
    return f'<tr>{head}<td class="n">{number}</td></tr>'
