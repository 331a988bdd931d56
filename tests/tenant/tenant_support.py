"""What the tests of the simulated tenant share: a clock to set, a client, and small worlds made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import requests

from local.tenant import ContentBlob, Environment, Session, SessionState, Tenant, World

NOON = datetime(2025, 11, 19, 12, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **span: float) -> None:
        self.now += timedelta(**span)


class Client:
    """Calls the services of a tenant with the right tokens."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.http = requests.Session()
        self._tokens: dict[str, str] = {}

    def ask_token(self, resource: str, header: str | None = None, **more: str) -> requests.Response:
        return self.http.get(
            self.tenant.identity_endpoint,
            params={"api-version": "2019-08-01", "resource": resource, **more},
            headers={"X-IDENTITY-HEADER": header or self.tenant.identity_header},
        )

    def token(self, resource: str) -> str:
        if resource not in self._tokens:
            self._tokens[resource] = self.ask_token(resource).json()["access_token"]
        return self._tokens[resource]

    def forget_tokens(self) -> None:
        self._tokens.clear()

    def get(self, path: str, environment: int = 0, /, **headers: str) -> requests.Response:
        """GET below the Web API's root; the path is sent as it is."""
        origin = self.tenant.environments[environment].url
        return self.follow(f"{origin}/api/data/v9.2/{path}", **headers)

    def follow(self, url: str, **headers: str) -> requests.Response:
        authorization = {"Authorization": f"Bearer {self.token('/'.join(url.split('/')[:3]))}"}
        return self.http.get(url, headers={**authorization, **headers})

    def pages(self, path: str, size: int, environment: int = 0) -> list[list[dict[str, Any]]]:
        """All pages of a collection."""
        prefer = f"odata.maxpagesize={size}"
        answer = self.get(path, environment, Prefer=prefer).json()
        found = [answer["value"]]
        while link := answer.get("@odata.nextLink"):
            answer = self.follow(link, Prefer=prefer).json()
            found.append(answer["value"])
        return found

    def rows(self, path: str, size: int = 5000, environment: int = 0) -> list[dict[str, Any]]:
        return [row for page in self.pages(path, size, environment) for row in page]

    def feed(self, path: str, method: str = "GET", **params: str) -> requests.Response:
        root = f"{self.tenant.activity_url}/api/v1.0/{self.tenant.tenant_id}/activity/feed/"
        return self.http.request(
            method,
            root + path,
            params={"PublisherIdentifier": self.tenant.tenant_id, **params},
            headers={"Authorization": f"Bearer {self.token(self.tenant.activity_url)}"},
        )

    def subscribe(self) -> None:
        assert self.feed("subscriptions/start", "POST", contentType="Audit.General").status_code == 200

    def listing(self, start: datetime, end: datetime) -> list[list[dict[str, str]]]:
        """All pages of a window's listing, followed as clients do."""
        answer = self.feed("subscriptions/content", **window(start, end))
        found = [answer.json()]
        while link := answer.headers.get("nextpageuri"):
            answer = self.follow(f"{link}&PublisherIdentifier={self.tenant.tenant_id}")
            found.append(answer.json())
        return found


def window(start: datetime, end: datetime) -> dict[str, str]:
    return {
        "contentType": "Audit.General",
        "startTime": f"{start:%Y-%m-%dT%H:%M:%S}",
        "endTime": f"{end:%Y-%m-%dT%H:%M:%S}",
    }


def ids(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["flowsessionid"] for row in rows]


def session_id(number: int) -> str:
    return str(UUID(int=number * 0x1_0000_0001_0000_0001_0000_0001))


def state(
    visible_at: datetime, modified_at: datetime | None = None, version: int = 1, **values: Any
) -> SessionState:
    return SessionState(visible_at, modified_at or visible_at, version, {"statuscode": 4, **values})


def session(number: int, modified_at: datetime, **values: Any) -> Session:
    return Session(session_id(number), (state(modified_at, version=number, **values),))


def environment(*sessions: Session, **columns: Any) -> Environment:
    return Environment("Test", session_id(901), session_id(902), "unqtest", sessions, **columns)


def world(*sessions: Session, **parts: Any) -> World:
    return World((environment(*sessions),), **parts)


def blob(number: int, created: datetime, **columns: Any) -> ContentBlob:
    given = {
        "listed_at": created,
        "expires": created + timedelta(days=7, seconds=-300),
        "records": b"[]",
        **columns,
    }
    return ContentBlob(f"{number:020d}$1$audit_general$Audit_General$na0045", "Audit.General", created, **given)
