"""The health endpoint and the status page: they look at what the storage says, and name what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from html import escape
from typing import Any

import pytest
from axe_pages import DESK, PHONE, examined

from integration.failures import FAILURES, a_healthy_stage
from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, small_world, with_runs
from local.azurite import Azurite
from local.tenant import Fault
from shared.entry import run_request, take, the_app
from shared.errors import SourcesFailed
from shared.health.codes import TITLES, Code
from shared.health.lateness import QUEUE_FUNCTIONS, TIMERS
from shared.health.view import view
from shared.publishing.parquet import rows_of
from shared.publishing.staging import Destination
from shared.schema import FACT_AUDIT_EVENT, FACT_MACHINE_HOUR
from shared.state.journal import TAKEN_LATE, Gap
from shared.state.names import Container, Queue
from shared.state.sources import Faring, Trouble

BAD_PAGE = '<html><body><p style="color:#eee;width:2000px">Who can read this?</p><img src=x></body></html>'
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def look(stage: Stage) -> tuple[int, dict[str, Any]]:
    status, body = stage.run("health")
    return status, json.loads(body)


def told(stage: Stage) -> set[tuple[str, str]]:
    """Code and place of every reason."""
    return {(reason["code"], reason["where"]) for reason in look(stage)[1]["reasons"]}


def beat(stage: Stage) -> None:
    for function in TIMERS:
        stage.app.journal.heartbeat(function, succeeded_utc=stage.clock.now(), error=None)


@dataclass(frozen=True)
class Told:
    """What both pages say of one failure."""

    status: int
    health: dict[str, Any]
    page: str


@pytest.fixture(scope="module")
def tell(azurite: Azurite, _unused_accounts: Iterator[str]) -> Callable[[str], Told]:
    """Stages a failure when it is first asked for."""
    known: dict[str, Told] = {}

    def tell_of(name: str) -> Told:
        if name not in known:
            known[name] = _staged(name, azurite.connection_string_of(next(_unused_accounts)))
        return known[name]

    return tell_of


def _staged(name: str, account: str) -> Told:
    with a_healthy_stage(account) as stage, pytest.MonkeyPatch.context() as patch:
        if name in FAILURES:
            FAILURES[name].break_it(stage)
        for setting, value in stage.environ.items():
            patch.setenv(setting, value)
        the_app.cache_clear()
        if FAILURES.get(name) and not FAILURES[name].can_look:
            health, page = run_request("health"), run_request("status")
            return Told(health.status, json.loads(health.body), page.body)
        status, body = stage.run("health")
        return Told(status, json.loads(body), stage.run("status")[1])


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_told_with_its_place_and_remedy(name: str, tell: Callable[[str], Told]) -> None:
    failure, answer = FAILURES[name], tell(name)
    assert answer.status == 503
    assert answer.health["status"] == "unhealthy"
    reasons = answer.health["reasons"]
    assert {reason["code"] for reason in reasons} == {failure.code}  # the cause, and nothing that follows from it
    (reason,) = [one for one in reasons if one["where"] == failure.where]
    assert set(reason) == {"code", "where", "since_utc", "problem", "remedy"}
    assert failure.remedy in reason["remedy"]
    assert bool(reason["since_utc"]) == failure.can_look
    for text in (TITLES[failure.code], failure.where, reason["problem"], reason["remedy"]):
        assert all(escape(line) in answer.page for line in text.splitlines())
    assert "Everything is as it should be" not in answer.page


def test_a_healthy_app_says_so(tell: Callable[[str], Told]) -> None:
    answer = tell("healthy")
    assert (answer.status, answer.health["status"], answer.health["reasons"]) == (200, "healthy", [])
    assert "Everything is as it should be" in answer.page
    assert "3 environments and 1 audit feed are read" in answer.page


def test_pages_are_accessible_and_fit_a_phone(tell: Callable[[str], Told], account: str) -> None:
    pages = {name: tell(name).page for name in ("healthy", "throttled tenant", "wrong setting")}
    found = examined({**pages, "busy": busy_page(account), "bad": BAD_PAGE})
    bad = [one for one in found if one["name"].startswith("bad ")]
    assert all(one["problems"] and one["wide"] > DESK for one in bad)
    good = [one for one in found if one not in bad]
    assert len(good) == 2 * (len(pages) + 1)
    for one in good:
        assert one["problems"] == [], one["name"]
        width = int(one["name"].rpartition(" ")[2])
        assert one["dark"] is (width == PHONE)
        assert one["wide"] <= width, one["name"]


def busy_page(account: str) -> str:
    """A page with something in every section, under names that are long and hostile."""
    with on_stage(small_world(environments=2, sessions_per_environment=3, blobs=2), account) as stage:
        rename(stage, HOSTILE, "x" * 60)
        beat(stage)
        stage.run("poll_flow_sessions")
        for number, kind in enumerate(("content blob lost", TAKEN_LATE, "action log unreadable")):
            note_gap(stage, kind, source=HOSTILE, hours=number + 1)
        stage.publish()
        return stage.run("status")[1]


def rename(stage: Stage, *names: str) -> None:
    urls = [environment.url for environment in stage.tenant.environments]
    entries = [{"url": url, "name": name} for url, name in zip(urls, names, strict=True)]
    stage.environ["ENVIRONMENTS"] = json.dumps(entries)
    stage.app = stage.new_app()


def note_gap(
    stage: Stage, kind: str, source: str = "Audit.General", hours: float = 1, reason: str = "why"
) -> None:
    now = stage.clock.now()
    begin = now - timedelta(hours=hours)
    stage.app.journal.lost(
        Gap(
            source=source,
            from_utc=begin,
            to_utc=now,
            kind=kind,
            subject=HOSTILE,
            reason=reason,
            noticed_utc=now,
        )
    )


def test_a_fresh_app_is_healthy(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        status, body = look(stage)
        assert (status, body["status"], body["reasons"]) == (200, "healthy", [])
        assert {one["name"] for one in body["functions"]} == {*TIMERS, *QUEUE_FUNCTIONS}


def test_a_timer_that_never_ran_is_noticed(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        look(stage)
        stage.clock.advance(hours=1)
        status, body = look(stage)
        assert status == 503
        told_of = {reason["where"] for reason in body["reasons"]}
        assert "poll_flow_sessions" in told_of
        assert "sync_inventory" not in told_of


def test_a_timer_that_froze_is_noticed(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        beat(stage)
        stage.clock.advance(minutes=20)
        assert look(stage)[0] == 200
        stage.clock.advance(minutes=20)
        assert (Code.TIMER_FROZEN, "poll_flow_sessions") in told(stage)
        assert (Code.TIMER_FROZEN, "reconcile") not in told(stage)


def test_a_timer_that_runs_and_fails_is_no_frozen_one(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        beat(stage)
        stage.clock.advance(hours=1)
        beat_of = {name: {"succeeded_utc": stage.clock.now(), "error": None} for name in TIMERS}
        beat_of["publish"] = {"failed_utc": stage.clock.now(), "error": "no room"}
        for name, values in beat_of.items():
            stage.app.journal.heartbeat(name, **values)
        (reason,) = look(stage)[1]["reasons"]
        assert (reason["code"], reason["where"]) == (Code.FUNCTION_FAILING, "publish")
        assert "no room" in reason["problem"]


def test_limits_are_settings(account: str) -> None:
    with on_stage(bare_world(), account, HEALTH_MISSED_TICKS="20", HEALTH_ENVIRONMENT_HOURS="4") as stage:
        beat(stage)
        stage.clock.advance(minutes=100)
        assert not told(stage)
        stage.clock.advance(minutes=60)
        assert (Code.TIMER_FROZEN, "poll_flow_sessions") in told(stage)


def test_a_source_that_lags_and_poison_are_named(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        name = stage.tenant.environments[0].name
        look(stage)
        stage.run("poll_flow_sessions")
        stage.run("poll_audit_content")
        stage.clock.advance(hours=3)
        beat(stage)
        client = stage.app.storage.queues._client
        client.create_queue(Queue.ADDITIONAL_CONTEXT.poison)
        client.get_queue_client(Queue.ADDITIONAL_CONTEXT.poison).send_message("x")
        status, body = look(stage)
        assert status == 503
        assert told(stage) == {(Code.BEHIND, name), (Code.POISON, Queue.ADDITIONAL_CONTEXT.poison)}
        assert "3 hours behind" in body["reasons"][0]["problem"]


def test_an_environment_that_refuses_is_named_with_the_way_out(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        stage.run("poll_flow_sessions")
        body = b'{"error":{"code":"0x80072560","message":"The user is not a member of the organization."}}'
        stage.tenant.faults.add(Fault("dataverse", times=None, status=403, body=body))
        with pytest.raises(SourcesFailed, match="application user"):
            stage.run("poll_flow_sessions")
        (reason,) = look(stage)[1]["reasons"]
        assert reason["code"] == Code.ACCESS_REFUSED
        assert f"infra/grant-dataverse.sh {stage.tenant.environments[0].url}" in reason["remedy"]
        stage.tenant.faults.clear()
        stage.run("poll_flow_sessions")
        assert not told(stage)


def test_an_inventory_that_was_refused_is_forgiven_as_soon_as_a_poll_gets_through(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        stage.tenant.faults.add(Fault("dataverse", times=None, status=404, body=b""))
        stage.tick("poll_flow_sessions")
        stage.tick("sync_inventory")
        assert {code for code, _ in told(stage)} == {Code.ENVIRONMENT_GONE}
        stage.tenant.faults.clear()
        stage.clock.advance(minutes=5)
        stage.tick("poll_flow_sessions")
        assert not told(stage)


def test_one_tick_that_fails_is_no_alarm(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        stage.tick("poll_flow_sessions")
        stage.tenant.faults.add(Fault("dataverse", times=None, status=500))
        stage.clock.advance(minutes=5)
        stage.tick("poll_flow_sessions")
        assert not told(stage)
        codes = {one.function: one.code for one in stage.app.sources.all()}
        assert codes["poll_flow_sessions"] == Code.SOURCE_FAILING


def test_a_service_that_does_not_answer_is_unreachable_once_that_lasts(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        stage.tenant.faults.add(Fault("dataverse", times=None, cut_after_bytes=0))
        for _ in range(8):
            stage.tick("poll_flow_sessions")
            stage.clock.advance(minutes=5)
        (reason,) = [one for one in look(stage)[1]["reasons"] if one["code"] == Code.UNREACHABLE]
        assert "ENVIRONMENTS" in reason["remedy"]
        assert "HTTP 0" not in reason["problem"]


def test_blobs_that_can_not_be_fetched_are_counted_and_told_when_they_wait_too_long(account: str) -> None:
    with on_stage(small_world(sessions_per_environment=1, blobs=6), account) as stage:
        stage.tenant.faults.add(Fault("activity", path_contains="/audit/", times=None, status=500))
        stage.tick("poll_audit_content")
        (feed,) = [one for one in look(stage)[1]["sources"] if one["kind"] == "audit"]
        assert feed["waiting"] == len(list(stage.app.ledger.pending("Audit.General", date.min))) > 1
        stage.clock.advance(hours=5)
        beat(stage)
        stage.tick("poll_audit_content")
        assert (Code.AUDIT_BACKLOG, "Audit.General") in told(stage)
        stage.tenant.faults.clear()
        stage.clock.advance(hours=2)
        stage.tick("poll_audit_content")
        (feed,) = [one for one in look(stage)[1]["sources"] if one["kind"] == "audit"]
        assert feed["waiting"] == 0


def test_logs_that_are_long_awaited_are_told_above_their_limit(account: str) -> None:
    world = with_runs(bare_world(), a_run(1), a_run(2))
    with on_stage(world, account, HEALTH_PENDING_LOGS="1") as stage:
        stage.tick("poll_flow_sessions")
        stage.clock.advance(hours=8)
        stage.tick("reconcile")
        stage.tick("poll_flow_sessions")
        assert (Code.LOGS_PENDING, stage.tenant.environments[0].name) in told(stage)


def test_rows_that_wait_to_be_published_are_told(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        stage.clock.at = datetime.now(UTC)  # storage stamps what is staged with the real time
        look(stage)
        stage.app.staging.mark(Destination(FACT_MACHINE_HOUR, ANCHOR.date()), "test")
        assert look(stage)[1]["unpublished"]["days"] == 1
        assert not told(stage)
        stage.clock.advance(hours=7)
        assert (Code.UNPUBLISHED, "publish_day") in told(stage)


def test_a_feed_that_shows_nothing_new_is_told(account: str) -> None:
    with on_stage(small_world(sessions_per_environment=1), account) as stage:
        stage.tick("poll_audit_content")
        stage.clock.advance(hours=80)
        for timer in TIMERS:
            stage.tick(timer)
        assert (Code.FEED_SILENT, "Audit.General") in told(stage)


def test_gaps_are_told_for_a_day_and_harmless_ones_are_not(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        stage.tick("poll_flow_sessions")
        stage.tick("poll_audit_content")
        note_gap(stage, TAKEN_LATE)
        assert not told(stage)
        note_gap(stage, "content blob lost")
        assert told(stage) == {(Code.GAP, "Audit.General")}
        assert look(stage)[1]["gaps_last_day"] == 1
        stage.clock.advance(hours=25)
        for timer in TIMERS:
            stage.tick(timer)
        assert look(stage)[1]["gaps_last_day"] == 0
        assert "content blob lost" in stage.run("status")[1]


def test_names_from_outside_are_escaped(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        rename(stage, HOSTILE)
        stage.tenant.faults.add(
            Fault(
                "dataverse",
                times=None,
                status=403,
                body=json.dumps({"error": {"code": HOSTILE, "message": HOSTILE}}).encode(),
            )
        )
        stage.tick("poll_flow_sessions")
        note_gap(stage, HOSTILE, source=HOSTILE, reason=HOSTILE)
        _, page = stage.run("status")
        assert "<script" not in page
        assert "<img" not in page
        assert page.count("&lt;script&gt;") > 6


def test_what_functions_of_queues_do_is_seen(account: str) -> None:
    world = with_runs(bare_world(), a_run(1, file=a_log(b"{}")))
    with on_stage(world, account) as stage:
        stage.tick("poll_flow_sessions")
        ((body, dequeue_count),) = stage.messages(Queue.ADDITIONAL_CONTEXT)
        take(stage.app, "decode_additional_context", body, dequeue_count)
        with pytest.raises(Exception, match="names nothing"):
            take(stage.app, "publish_day", "{}", 1)
        functions = {one["name"]: one for one in look(stage)[1]["functions"]}
        assert functions["decode_additional_context"]["last_success_utc"]
        assert functions["publish_day"]["last_success_utc"] is None
        assert "names nothing" in functions["publish_day"]["last_error"]


def test_numbers_by_day_are_those_of_the_published_files(account: str) -> None:
    with on_stage(
        with_runs(bare_world(environments=2), *(a_run(number) for number in range(3))), account
    ) as stage:
        first, second = (environment.name for environment in stage.tenant.environments)
        stage.run("poll_flow_sessions")
        for day in (ANCHOR.date(), ANCHOR.date() - timedelta(days=40)):
            events = [{"event_id": str(number), "created_utc": ANCHOR} for number in range(5)]
            stage.app.staging.put(
                Destination(FACT_AUDIT_EVENT, day), [rows_of(FACT_AUDIT_EVENT, events)], ["test"]
            )
        stage.publish()
        seen = view(stage.app)
        assert seen.days[-1] == ANCHOR.date()
        assert seen.runs == {first: [*[0] * 13, 3], second: [0] * 14}
        assert {title: numbers[-1] for title, numbers in seen.volumes.items()} == {
            "Runs": 3,
            "Actions": 0,
            "Audit events": 5,
        }
        assert sum(seen.volumes["Audit events"]) == 5  # an older day is not looked for


def test_a_look_costs_a_few_small_requests_however_much_there_is(account: str) -> None:
    with on_stage(small_world(environments=2, sessions_per_environment=2, blobs=2), account) as stage:
        stage.run("poll_flow_sessions")
        stage.run("poll_audit_content")
        look(stage)
        asked: list[str] = []
        stage.transport.before = lambda request: asked.append(f"{request.method} {request.url}")
        stage.run("health")
        assert len(asked) <= 15, asked
        asked.clear()
        stage.run("status")
        assert len(asked) <= 23, asked
        assert all(one.startswith("GET ") for one in asked)


def test_what_another_version_or_a_person_left_behind_does_not_hide_the_rest(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        name = stage.tenant.environments[0].name
        stage.tick("poll_flow_sessions")
        faring = Faring(function="poll_flow_sessions", source=name)
        stage.app.sources.fared(faring, Trouble("<of a newer version>", "p", "r"), stage.clock.now())
        for place in (f"date={ANCHOR:%Y-%m-%d}.bak", f"date={ANCHOR:%Y-%m}-99", f"date={ANCHOR:%Y-%m}"):
            stage.app.storage.blobs.put(Container.POWERBI, f"fact_flow_session/{place}/part-0.parquet", b"x")
        stage.clock.advance(hours=3)
        beat(stage)
        assert told(stage) == {("<of a newer version>", name)}
        answer = run_request("status", stage.app)
        assert answer.status == 200
        assert "&lt;of a newer version&gt;" in answer.body


def test_neither_page_can_be_framed_cached_or_made_to_fetch_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    without_settings(monkeypatch)
    for page in ("health", "status"):
        headers = run_request(page).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"  # the address holds the key of the page
    assert run_request("health").headers["Content-Type"].startswith("application/json")
    assert run_request("status").headers["Content-Type"].startswith("text/html")


def test_wrong_settings_are_an_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    without_settings(monkeypatch)
    for page in ("health", "status"):
        answer = run_request(page)
        assert answer.status == 503
        assert "TENANT_ID is not set" in answer.body


def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    the_app.cache_clear()
    for name in ("ENVIRONMENTS", "TENANT_ID", "DataStorage"):
        monkeypatch.delenv(name, raising=False)
