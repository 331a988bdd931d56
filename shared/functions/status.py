"""The status page: the same facts as the health endpoint, for a person."""

from __future__ import annotations

from datetime import datetime
from html import escape

from cronsim import CronSim

from shared.app import App
from shared.functions.health import FunctionHealth, Health, QueueHealth, SourceHealth, look

STYLE = """
:root{color-scheme:light dark;--edge:#d0d4da;--good:#17692f;--bad:#a4161a;--page:#fff;--text:#1b1f24}
@media(prefers-color-scheme:dark){:root{--edge:#3c4450;--good:#6fd08c;--bad:#ff8f8f;--page:#14181d;--text:#e6e9ee}}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;background:var(--page);
color:var(--text)}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:1.5rem 0 .5rem}
table{border-collapse:collapse;width:100%;display:block;overflow-x:auto}
th,td{text-align:left;padding:.4rem .8rem .4rem 0;border-bottom:1px solid var(--edge);vertical-align:top}
td{white-space:pre-line}
.good{color:var(--good)}.bad{color:var(--bad)}
"""


def run(app: App) -> tuple[int, str]:
    """HTTP status and HTML body."""
    health = look(app)
    return 200, page(health)


def page(health: Health) -> str:
    return _document(
        _verdict(health.reasons),
        _table(
            "Sources",
            ("Source", "Kind", "Read until (UTC)", "Behind", "Problems and remarks"),
            map(_source, health.sources),
        ),
        _table(
            "Functions",
            ("Function", "Runs", "Last success (UTC)", "Next (UTC)", "Last error"),
            map(_function, health.functions),
        ),
        _table("Queues", ("Queue", "Messages", "Failed too often"), map(_queue, health.queues)),
    )


def problem_page(reason: str) -> str:
    """The page of an app that can't even look."""
    return _document(_verdict(reason.splitlines()))


def _document(*sections: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Flowtrail</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main><h1>Flowtrail</h1>{''.join(sections)}</main></body></html>"
    )


def _verdict(reasons: list[str]) -> str:
    if not reasons:
        return '<p class="good">Everything is as it should be.</p>'
    items = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    return f'<p class="bad">Something needs attention.</p><ul>{items}</ul>'


def _table(title: str, heads: tuple[str, ...], rows: map[tuple[str, ...]]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<h2>{escape(title)}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _source(source: SourceHealth) -> tuple[str, ...]:
    behind = f"{source.lag_s // 60} min"
    told = "\n".join(filter(None, (source.problem, source.remark)))
    return source.name, source.kind, _when(source.read_until_utc), behind, told


def _function(function: FunctionHealth) -> tuple[str, ...]:
    in_words = CronSim(function.schedule, function.next_utc).explain()
    return (
        function.name,
        in_words,
        _when(function.last_success_utc),
        _when(function.next_utc),
        function.last_error or "",
    )


def _queue(queue: QueueHealth) -> tuple[str, ...]:
    return queue.name, str(queue.messages), str(queue.poison)


def _when(instant: datetime | None) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S") if instant else "never"
