"""Serves the HTTP triggers and the admin endpoint on loopback.

The auth level of a trigger is ignored: there are no keys on a desk, and nobody else reaches 127.0.0.1.
"""

import json
import sys
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from local.host.functions import Function, HttpTrigger
from local.host.invoker import Invocation
from local.host.problems import HostStartError
from local.host.trigger_data import HttpRequest, HttpResponse, TriggerInput, http_input

ADMIN_PREFIX = "/admin/functions/"
JSON_TYPE = "application/json"


class HttpListener:
    """A small web server: `invoke` runs a function, `invoke_by_name` serves POST /admin/functions/{name}."""

    def __init__(
        self,
        functions: Sequence[Function],
        invoke: Callable[[Function, TriggerInput], Invocation],
        invoke_by_name: Callable[..., Invocation],
    ) -> None:
        self._triggers = sorted(
            ((f, f.trigger) for f in functions if isinstance(f.trigger, HttpTrigger) and not f.disabled),
            key=lambda pair: pair[1].route.parameters(),
        )
        self._invoke = invoke
        self._invoke_by_name = invoke_by_name
        self._server: _Server | None = None

    def start(self, port: int) -> int:
        """Starts serving; returns the port, which the system chooses where 0 is given.

        Raises:
            HostStartError: the port is taken.
        """
        try:
            self._server = _Server(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise HostStartError([f"port {port}: {error.strerror}; --port chooses another"]) from error
        self._server.listener = self
        Thread(target=self._server.serve_forever, args=(0.05,), name="http-listener", daemon=True).start()
        return self._server.server_port

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def respond(self, method: str, target: str, headers: dict[str, str], body: bytes) -> HttpResponse:
        """Answers a request; `headers` have lower-case names."""
        path = urlsplit(target).path
        if path.startswith(ADMIN_PREFIX):
            return self._admin(method, unquote(path.removeprefix(ADMIN_PREFIX)), headers, body)
        for function, trigger in self._triggers:
            params = trigger.route.match(path)
            if params is not None and (not trigger.methods or method in trigger.methods):
                request = _request(method, target, headers, params, body)
                invocation = self._invoke(function, http_input(request))
                return _response_of(invocation)
        return _empty(HTTPStatus.NOT_FOUND)

    def _admin(self, method: str, name: str, headers: dict[str, str], body: bytes) -> HttpResponse:
        if method != "POST":
            return _empty(HTTPStatus.METHOD_NOT_ALLOWED)
        # a web page cannot send this type to another origin without asking first
        if headers.get("content-type", "").partition(";")[0].strip() != JSON_TYPE:
            return _empty(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        try:
            invocation = self._invoke_by_name(name, **_overrides(body))
        except LookupError:
            return _json(HTTPStatus.NOT_FOUND, {"error": f"there is no function {name}"})
        except (TypeError, ValueError) as error:
            return _json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        document = {name: getattr(invocation, name) for name in ("ok", "result", "error", "duration_ms")}
        return _json(HTTPStatus.OK, document)


class _Server(ThreadingHTTPServer):
    listener: HttpListener
    # on Windows the option would let two servers share the port
    allow_reuse_address = sys.platform != "win32"


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] - it serves nothing else

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if "transfer-encoding" in headers:
            return self._send(_empty(HTTPStatus.LENGTH_REQUIRED))
        body = self.rfile.read(int(headers.get("content-length") or 0))
        return self._send(self.server.listener.respond(self.command, self.path, headers, body))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815 - their names

    def _send(self, response: HttpResponse) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("content-length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Requests are told as events; an access log would only repeat them."""


def _request(
    method: str, target: str, headers: dict[str, str], params: dict[str, str], body: bytes
) -> HttpRequest:
    return HttpRequest(
        method=method,
        url=f"http://{headers.get('host', '127.0.0.1')}{target}",
        headers=headers,
        query={name: ",".join(values) for name, values in parse_qs(urlsplit(target).query).items()},
        params=params,
        body=body,
    )


def _response_of(invocation: Invocation) -> HttpResponse:
    if not invocation.ok:
        return _empty(HTTPStatus.INTERNAL_SERVER_ERROR)
    return invocation.response or _empty(HTTPStatus.NO_CONTENT)


def _overrides(body: bytes) -> dict[str, Any]:
    document = json.loads(body or b"{}")
    if not isinstance(document, dict):
        raise TypeError("a JSON object is wanted")
    given = document.pop("input", None)
    if given in (None, ""):
        return document
    return {"body": given if isinstance(given, str) else json.dumps(given), **document}


def _json(status: HTTPStatus, document: object) -> HttpResponse:
    return HttpResponse(status, {"content-type": JSON_TYPE}, json.dumps(document).encode())


def _empty(status: HTTPStatus) -> HttpResponse:
    return HttpResponse(status, {}, b"")
