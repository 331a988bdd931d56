"""Gaps that were noticed lately are found among many, and an identity that stumbles is no missing permission."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

import pytest

from integration.stage import Stage, bare_world, on_stage
from integration.test_health import look
from shared.errors import AccessError, Defer
from shared.functions.report import report
from shared.health.reasons import UNREADABLE_GAPS
from shared.health.view import view
from shared.net.identity import Tokens, managed_identity
from shared.state import journal
from shared.state.entities import Operation, Write
from shared.state.journal import BLOB_LOST, MOST_NOTICED, RECORDS_UNREADABLE, REFUSES, TAKEN_LATE, Gap
from shared.state.names import StateTable


def note(stage: Stage, subject: str, source: str = "a", kind: str = "k", reason: str = "r") -> None:
    now = stage.clock.now()
    gap = Gap(source=source, from_utc=now, to_utc=now, kind=kind, subject=subject, reason=reason, noticed_utc=now)
    stage.app.journal.lost(gap)


def test_gaps_are_counted_by_source_and_kind_so_that_none_hides_another(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        for source, kind in (("a", REFUSES), ("b", BLOB_LOST), ("b", RECORDS_UNREADABLE), ("b", BLOB_LOST)):
            note(stage, f"{stage.clock.advance(minutes=1)}", source, kind)
        note(stage, "harmless", "b", TAKEN_LATE)
        told = {(one["source"], one["kind"], one["gaps"]) for one in look(stage)[1]["gaps"]}
        assert told == {("a", REFUSES, 1), ("b", BLOB_LOST, 2), ("b", RECORDS_UNREADABLE, 1)}


def test_a_record_of_very_many_gaps_is_one_that_the_log_takes_whole(
    account: str, caplog: pytest.LogCaptureFixture
) -> None:
    with on_stage(bare_world(), account) as stage:
        for number in range(120):
            note(stage, "s", f"{number} {'long' * 100}", UNREADABLE_GAPS[1], "r" * 2000)
        with caplog.at_level(logging.INFO, "flowtrail"):
            report(stage.app)
        (record,) = (message for message in caplog.messages if message.startswith("flowtrail.health "))
        assert len(record) < 32_768
        found = json.loads(record.removeprefix("flowtrail.health "))
        assert len(found["gaps"]) == 100
        assert found["gaps_last_day"] == 120


def test_many_old_gaps_hide_no_new_one(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MOST_NOTICED", 3)
    with on_stage(bare_world(), account) as stage:
        for number in range(5):
            note(stage, f"old {number}")
        stage.clock.advance(hours=25)
        note(stage, "new")
        now = stage.clock.now()
        assert [gap.subject for gap in stage.app.journal.noticed_since(now - timedelta(hours=24), now)] == ["new"]


def test_of_very_many_gaps_of_a_day_the_first_page_is_read(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        look(stage)
        now = stage.clock.now()
        for hours_ago in (20, 60):
            noticed = now - timedelta(hours=hours_ago)
            gap = {"source": "a", "from_utc": now, "to_utc": now, "kind": "k", "subject": "s", "reason": "r"}
            kind = f"gap-{noticed.date()}"
            many = [
                Operation(Write.UPSERT, kind, f"{hours_ago}_{number:05d}", {**gap, "noticed_utc": noticed})
                for number in range(2 * MOST_NOTICED + 500)
            ]
            stage.app.storage.table(StateTable.CHECKPOINTS).write_all(many)
        asked: list[str] = []
        stage.transport.before = lambda request: asked.append(str(request.url))
        assert look(stage)[1]["gaps_last_day"] == MOST_NOTICED
        assert len([url for url in asked if "gap-" in unquote(url)]) == 2
        asked.clear()
        assert len(view(stage.app).gaps) == 2 * MOST_NOTICED
        assert len([url for url in asked if "gap-" in unquote(url)]) == 2 + 3


def test_a_death_keeps_no_gap_from_being_told(account: str, caplog: pytest.LogCaptureFixture) -> None:
    def die(request: Any) -> None:
        if "/gaps" in request.url and request.method in {"PUT", "PATCH"}:
            raise KeyboardInterrupt

    with on_stage(bare_world(), account) as stage:
        stage.transport.before = die
        with pytest.raises(KeyboardInterrupt):
            note(stage, "this one")
        assert "this one" in caplog.text
        stage.transport.before = lambda _: None
        note(stage, "this one")
        assert [gap.subject for gap in stage.app.journal.gaps()] == ["this one"]


@contextmanager
def identity_endpoint(status: int) -> Iterator[str]:
    body = b'{"statusCode":%d,"message":"told so"}' % status

    class Endpoint(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base gives it
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/msi/token"
        server.shutdown()


@pytest.mark.parametrize(("status", "error"), [(500, Defer), (400, AccessError)])
def test_an_identity_endpoint_that_stumbles_is_asked_again_later(
    status: int, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with identity_endpoint(status) as url:
        monkeypatch.setenv("IDENTITY_ENDPOINT", url)
        monkeypatch.setenv("IDENTITY_HEADER", "x")
        tokens = Tokens(lambda: managed_identity(""))
        with pytest.raises(error, match="told so"):
            tokens.get("https://example.org/.default")
