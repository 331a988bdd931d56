"""Gaps that were noticed lately are found among many, and an identity that stumbles is no missing permission."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from integration.stage import Stage, bare_world, on_stage
from shared.errors import AccessError, Defer
from shared.net.identity import Tokens, managed_identity
from shared.state import journal
from shared.state.journal import Gap


def note(stage: Stage, subject: str) -> None:
    now = stage.clock.now()
    gap = Gap(source="a", from_utc=now, to_utc=now, kind="k", subject=subject, reason="r", noticed_utc=now)
    stage.app.journal.lost(gap)


def test_many_old_gaps_hide_no_new_one(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MOST_NOTICED", 3)
    with on_stage(bare_world(), account) as stage:
        for number in range(5):
            note(stage, f"old {number}")
        stage.clock.advance(hours=25)
        note(stage, "new")
        now = stage.clock.now()
        assert [gap.subject for gap in stage.app.journal.noticed_since(now - timedelta(hours=24), now)] == ["new"]


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
