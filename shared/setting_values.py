"""What the texts of settings mean: one parser for each kind of value.

Each raises a `ValueError` whose text follows the setting's name: what is wrong, and what would be right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from shared.clouds import CLOUDS
from shared.times import parse_utc

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
AUDIT_PREFIX = "audit."
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
CONTENT_TYPES = (
    "Audit.AzureActiveDirectory",
    "Audit.Exchange",
    "Audit.SharePoint",
    "Audit.General",
    "DLP.All",
)


@dataclass(frozen=True)
class Environment:
    """A Dataverse environment: its origin (no trailing slash) and the name people know it by."""

    url: str
    name: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


@dataclass(frozen=True)
class Replay:
    """UTC days, both included; `order` is the whole text of the setting: another text is another order."""

    first: date
    last: date
    order: str

    def days(self) -> Iterator[date]:
        for ordinal in range(self.first.toordinal(), self.last.toordinal() + 1):
            yield date.fromordinal(ordinal)


@dataclass(frozen=True)
class Search:
    """What is searched for in the audit log: everything since a UTC day, once, and each month that is over."""

    since: date | None = None
    monthly: bool = False


def parse_environments(text: str) -> tuple[Environment, ...]:
    """Environments out of a JSON list, or out of plain URLs separated by commas, semicolons or white space."""
    entries = _json_list(text) if text.startswith("[") else re.split(r"[\s,;]+", text.strip(" \t\r\n,;"))
    environments = _named([_environment(entry) for entry in entries])
    if not environments:
        raise ValueError("names no environment")
    for what in ([env.url for env in environments], [env.name for env in environments]):
        if twice := sorted({text for text in what if what.count(text) > 1}):
            raise ValueError(f"names {', '.join(twice)} more than once")
    return environments


def _named(environments: list[Environment]) -> tuple[Environment, ...]:
    """Those without a name get the first part of their host, or the whole of it where others begin the same."""
    labels = [environment.name or environment.host.split(".")[0] for environment in environments]
    return tuple(
        replace(environment, name=label if labels.count(label) == 1 or environment.name else environment.host)
        for environment, label in zip(environments, labels, strict=True)
    )


def _json_list(text: str) -> list[Any]:
    try:
        return cast("list[Any]", json.loads(text))
    except ValueError as error:
        raise ValueError(f"starts like a JSON list and is none: {error}") from None


def _environment(entry: Any) -> Environment:
    fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {"url": entry}
    url, name = fields.get("url"), fields.get("name") or ""
    if not isinstance(url, str) or not isinstance(name, str) or not set(fields) <= {"url", "name"}:
        raise ValueError(f"has an entry {entry!r}; an entry is a URL or an object with url and name")
    origin = parse_origin(url)
    if name.strip().lower().startswith(AUDIT_PREFIX):
        raise ValueError(f"names an environment {name!r}; names that begin like a content type are taken")
    return Environment(origin, name.strip())


def parse_origin(text: str) -> str:
    """The origin of a URL that is nothing but an origin: scheme, host, port."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"has {text!r}, which is no URL: {error}") from None
    host = (parts.hostname or "").lower()
    if problem := _origin_problem(parts, host):
        raise ValueError(f"has {text!r}, {problem}")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}"


def _origin_problem(parts: SplitResult, host: str) -> str:
    if not host or not host.isascii():
        return "which is no URL like https://contoso.crm4.dynamics.com"
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        return "which is not https (http is for loopback only)"
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        return "of which only scheme and host are wanted, like https://contoso.crm4.dynamics.com"
    return ""


def parse_service_uri(text: str) -> str:
    parts = urlsplit(text)
    if not parts.hostname or (parts.scheme != "https" and parts.hostname not in LOOPBACK):
        raise ValueError(f"is {text!r}; it looks like https://<account>.blob.core.windows.net")
    return text.rstrip("/")


def optional(parse: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: parse(text) if text else ""


def parse_past(text: str) -> datetime | None:
    if not text:
        return None
    instant = parse_utc(text)
    if instant is None or instant > datetime.now(UTC):
        raise ValueError(f"is {text!r}; it is a date in the past like 2026-01-31")
    return instant


def parse_guid(text: str) -> str:
    if not GUID.fullmatch(text):
        raise ValueError(f"is {text!r}; it is an id like 00000000-0000-0000-0000-000000000000")
    return text.lower()


def one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"is {text!r}; it can be {', '.join(choices)}")
        return text.lower()

    return parse


def whole_number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"is {text!r}; it is a whole number from {least} to {most}")
        return int(text)

    return parse


def parse_pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"is {text!r}, no regular expression: {error}") from None


def _names(text: str) -> list[str]:
    return [name for name in re.split(r"[\s,;]+", text) if name]


def parse_content_types(text: str) -> tuple[str, ...]:
    known = {name.lower(): name for name in CONTENT_TYPES}
    names = _names(text)
    if wrong := [name for name in names if name.lower() not in known]:
        raise ValueError(f"has {', '.join(wrong)}; known are {', '.join(CONTENT_TYPES)}")
    return tuple(dict.fromkeys(known[name.lower()] for name in names))


def parse_workloads(text: str) -> frozenset[str]:
    if wrong := [name for name in _names(text) if not re.fullmatch(r"[A-Za-z0-9]+", name)]:
        raise ValueError(f"has {', '.join(wrong)}; a workload is one word like PowerPlatform")
    return frozenset(name.lower() for name in _names(text))


def parse_replay(text: str) -> Replay | None:
    """One day, or two with a slash between; whatever follows a space only makes it another order."""
    if not text:
        return None
    days = text.split(maxsplit=1)[0].split("/")
    try:
        first, last = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
    except ValueError:
        raise ValueError(f"is {text!r}; days are written like 2026-05-01/2026-05-07") from None
    if len(days) > 2 or last < first:  # noqa: PLR2004 - a range has two ends
        raise ValueError(f"is {text!r}; it takes a first day and a last day that is not before it")
    return Replay(first, last, text)


def parse_search(text: str, cloud: str) -> Search:
    """What to search for; nothing in a cloud whose Graph has no search."""
    words = [word for word in _names(text.lower()) if word != "off"]
    days = [word for word in words if word != "monthly"]
    try:
        since = date.fromisoformat(days[0]) if days else None
    except ValueError:
        since = date.max
    if len(days) > 1 or (since and since >= datetime.now(UTC).date()):
        raise ValueError(f"is {text!r}; it is off, a day in the past like 2026-05-01, monthly, or day and monthly")
    if words and not CLOUDS[cloud].has_search:
        raise ValueError(f"is {text!r}; Graph has no audit search in the cloud {cloud}: set it to off")
    return Search(since, "monthly" in words)
