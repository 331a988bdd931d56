"""A stand-in for the identity endpoint of App Service, as far as azure-identity asks it.

Protocol: https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

HEADER = "a-secret-of-this-test"
TENANT = "00000000-0000-0000-0000-000000000001"
LIFETIME_S = 3600


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        allowed = self.headers["X-IDENTITY-HEADER"] == HEADER and query["api-version"] == "2019-08-01"
        body = json.dumps(_token(query["resource"], query.get("client_id", "")) if allowed else {}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        pass


def _token(resource: str, client_id: str) -> dict[str, str]:
    now = int(time.time())
    claims = {
        "aud": resource.rstrip("/"),
        "iss": f"https://sts.windows.net/{TENANT}/",
        "iat": now - 5,
        "nbf": now - 5,
        "exp": now + LIFETIME_S,
        "appid": client_id,
        "oid": TENANT,
        "tid": TENANT,
    }
    token = ".".join((_part({"alg": "RS256", "typ": "JWT"}), _part(claims), _part("unsigned")))
    return {
        "access_token": token,
        "expires_on": str(now + LIFETIME_S),
        "resource": resource,
        "token_type": "Bearer",
    }


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@contextmanager
def identity_endpoint() -> Iterator[dict[str, str]]:
    """Serves tokens; yields the environment variables that lead azure-identity there."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/msi/token"
    yield {"IDENTITY_ENDPOINT": url, "IDENTITY_HEADER": HEADER}
    server.shutdown()
    server.server_close()
