"""An App Service identity endpoint on loopback that hands out the tokens of the Azure CLI's user."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

TIMEOUT_S = 60
PATH = "/msi/token"


class CliIdentity:
    """A context manager; who asks must know the header that it makes up."""

    def __init__(self) -> None:
        self.header = secrets.token_hex(16)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.header))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def app_settings(self) -> dict[str, str]:
        port = self._server.server_address[1]
        return {"IDENTITY_ENDPOINT": f"http://127.0.0.1:{port}{PATH}", "IDENTITY_HEADER": self.header}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(header: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            known = secrets.compare_digest(self.headers.get("X-IDENTITY-HEADER", ""), header)
            if not known or "resource" not in query:
                self._answer(HTTPStatus.UNAUTHORIZED, {"message": "unknown caller or no resource"})
                return
            status, answer = token_for(query["resource"][0])
            self._answer(status, answer)

        def _answer(self, status: HTTPStatus, answer: dict[str, Any]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing of each request."""

    return Handler


def token_for(resource: str) -> tuple[HTTPStatus, dict[str, Any]]:
    """What the endpoint answers for a resource, as App Service words it."""
    command = [
        shutil.which("az") or "az",
        "account",
        "get-access-token",
        "--output",
        "json",
        "--resource",
        resource,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        token = json.loads(done.stdout)
        expires_on = str(int(token["expires_on"]))
    except subprocess.CalledProcessError as error:
        return HTTPStatus.BAD_REQUEST, {"statusCode": 400, "message": f"az: {error.stderr.strip()}"}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        return HTTPStatus.BAD_REQUEST, {"statusCode": 400, "message": f"az gave no token: {error!r}"}
    return HTTPStatus.OK, {
        "access_token": token["accessToken"],
        "expires_on": expires_on,
        "resource": resource,
        "token_type": "Bearer",
    }
