"""The App Service identity endpoint and the tokens that it gives out."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from urllib.parse import parse_qs

from local.tenant.wire import Request, Response, json_response
from local.tenant.world import World, stable_id

ENDPOINT_PATH = "/msi/token"
_API_VERSION = "2019-08-01"
_OTHER_IDENTITY_PARAMETERS = {"principal_id", "object_id", "mi_res_id", "resource_id"}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows, until when by the tenant's clock."""

    audience: str
    roles: tuple[str, ...]
    valid_until: datetime


class Tokens:
    """The tokens that were issued and are still accepted."""

    def __init__(self, clock: Callable[[], datetime], lifetime_s: float) -> None:
        self._clock = clock
        self._lifetime_s = lifetime_s
        self._grants: dict[str, Grant] = {}
        self._lock = threading.Lock()

    def issue(self, world: World, resource: str, roles: tuple[str, ...]) -> tuple[str, int]:
        """A new token for a resource, and its expiry in seconds of the epoch.

        `expires_on` and the claims follow real time because azure-identity checks them against it; what the
        services accept follows the tenant's clock. Both lie the same lifetime ahead.
        """
        audience = resource.rstrip("/")
        issued, expires_on = int(time.time()), int(time.time() + self._lifetime_s)
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{world.tenant_id}/",
            "tid": world.tenant_id,
            "appid": world.client_id,
            "oid": stable_id(world.client_id, "principal"),
            "iat": issued,
            "nbf": issued - 300,
            "exp": expires_on,
            "roles": list(roles),
            "ver": "1.0",
        }
        token = ".".join([_part({"alg": "RS256", "typ": "JWT"}), _part(claims), secrets.token_urlsafe(24)])
        grant = Grant(audience, roles, self._clock() + timedelta(seconds=self._lifetime_s))
        with self._lock:
            self._grants[token] = grant
        return token, expires_on

    def revoke(self) -> None:
        with self._lock:
            self._grants.clear()

    def grant(self, request: Request) -> Grant | None:
        """What the request's bearer token allows; None when it is absent, unknown or expired."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        grant = self._grants.get(token) if scheme.lower() == "bearer" else None
        return grant if grant is not None and self._clock() < grant.valid_until else None


def presented_audience(authorization: str) -> str:
    """The audience that a bearer token claims, whoever issued it; empty when it cannot be read."""
    try:
        payload = authorization.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))).get("aud", ""))
    except (IndexError, ValueError, AttributeError):
        return ""


def _part(content: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


@dataclass(frozen=True)
class Identity:
    """Answers GET ?api-version=2019-08-01&resource=...&client_id=... with header X-IDENTITY-HEADER."""

    world: World
    tokens: Tokens
    header: str
    feed_audience: str
    graph_audience: str

    def answer(self, request: Request) -> Response:
        asked = {name: values[-1] for name, values in parse_qs(request.query).items()}
        problem = self._problem(request, asked)
        return problem or self._token(asked["resource"])

    def _problem(self, request: Request, asked: dict[str, str]) -> Response | None:
        if request.path != ENDPOINT_PATH or request.method != "GET":
            return _refusal(HTTPStatus.NOT_FOUND, "Not found.")
        if request.headers.get("x-identity-header") != self.header:
            return _refusal(HTTPStatus.UNAUTHORIZED, "The X-IDENTITY-HEADER is missing or wrong.")
        if asked.get("api-version") != _API_VERSION or not asked.get("resource"):
            return _refusal(HTTPStatus.BAD_REQUEST, "api-version or resource is missing or not supported.")
        if asked.get("client_id", self.world.client_id) != self.world.client_id:
            return _refusal(HTTPStatus.BAD_REQUEST, _UNKNOWN_IDENTITY)
        if asked.keys() & _OTHER_IDENTITY_PARAMETERS:
            return _refusal(HTTPStatus.BAD_REQUEST, _UNKNOWN_IDENTITY)
        return None

    def _token(self, resource: str) -> Response:
        by_audience = {self.feed_audience: self.world.feed_roles, self.graph_audience: self.world.graph_roles}
        roles = by_audience.get(resource.rstrip("/"), ())
        token, expires_on = self.tokens.issue(self.world, resource, roles)
        answer = {
            "access_token": token,
            "expires_on": str(expires_on),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": self.world.client_id,
        }
        return json_response(HTTPStatus.OK, answer, "token")


_UNKNOWN_IDENTITY = (
    "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
)


def _refusal(status: HTTPStatus, message: str) -> Response:
    return json_response(status, {"statusCode": status.value, "message": message}, "refused")
