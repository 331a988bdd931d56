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
TAKEN = re.compile(r"audit\..*|dlp\.all|retention|(redrive|replay) of .*", re.IGNORECASE)
"""Sources of another kind, which stand beside the environments in every list of sources."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
CONTENT_TYPES = (
    "Audit.AzureActiveDirectory",
    "Audit.Exchange",
    "Audit.SharePoint",
    "Audit.General",
    "DLP.All",
)
HARMLESS_URL = re.compile(r"([a-z]+://)?[^:/@?#]*(:[0-9]{0,5})?(/[^:@?#]*)?", re.IGNORECASE)
STORAGE_SERVICES = frozenset({"blob", "queue", "table", "file", "dfs", "web"})
EARLIEST_HISTORY = datetime(1900, 1, 1, tzinfo=UTC)
"""Long before any run, for whoever means everything; Dataverse takes dates from 1753 on, tables from 1601."""


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
    environments = _named([_environment(entry, at) for at, entry in enumerate(entries, 1)])
    if not environments:
        raise ValueError("names no environment")
    for what in ([env.url for env in environments], [env.name for env in environments]):
        if twice := sorted({text for text in what if what.count(text) > 1}):
            raise ValueError(f"names {', '.join(twice)} more than once")
    return environments


def _named(environments: list[Environment]) -> tuple[Environment, ...]:
    """Those without a name get the first part of their host, or the whole of it where that part is taken."""
    labels = [environment.name or environment.host.split(".")[0] for environment in environments]

    def is_free(label: str) -> bool:
        return labels.count(label) == 1 and not TAKEN.fullmatch(label)

    return tuple(
        replace(environment, name=label if environment.name or is_free(label) else environment.host)
        for environment, label in zip(environments, labels, strict=True)
    )


def _json_list(text: str) -> list[Any]:
    try:
        return cast("list[Any]", json.loads(text))
    except ValueError as error:
        raise ValueError(f"starts like a JSON list and is none: {error}") from None


def _environment(entry: Any, at: int) -> Environment:
    fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {"url": entry}
    url, name = fields.get("url"), fields.get("name") or ""
    if not isinstance(url, str) or not isinstance(name, str) or not set(fields) <= {"url", "name"}:
        raise ValueError(f"has an entry, number {at}, that is neither a URL nor an object with url and name")
    origin = parse_origin(url)
    if TAKEN.fullmatch(name.strip()):
        raise ValueError(f"names an environment {name!r}, which is what another kind of source is called")
    return Environment(origin, name.strip())


def parse_origin(text: str) -> str:
    """The origin of a URL that is nothing but an origin: scheme, host, port."""
    parts, port = _split(text)
    host = (parts.hostname or "").lower()
    if problem := _origin_problem(parts, host):
        raise ValueError(f"has {_shown(text)}, {problem}")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}"


def _split(text: str) -> tuple[SplitResult, int | None]:
    """A URL in its parts, and its port."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise ValueError(f"has {_shown(text)}, which is no URL") from None
    return parts, port


def _shown(text: str) -> str:
    """A URL for a message; of one that may hold a password or a signature, no more than its host."""
    if HARMLESS_URL.fullmatch(text):
        return repr(text)
    try:
        host = urlsplit(text).hostname
    except ValueError:
        host = None
    return f"an address of {host!r}" if host else "an address"


def _origin_problem(parts: SplitResult, host: str) -> str:
    if not host or not host.isascii():
        return "which is no URL like https://contoso.crm4.dynamics.com"
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        return "which is not https (http is for loopback only)"
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        return "of which only scheme and host are wanted, like https://contoso.crm4.dynamics.com"
    return ""


def service_uri(service: str) -> Callable[[str], str]:
    """The parser for the endpoint of a storage service; the accounts of an emulator are paths of one host."""
    like = f"like https://<account>.{service}.core.windows.net, with no path or signature"

    def parse(text: str) -> str:
        parts, _ = _split(text)
        host = (parts.hostname or "").lower()
        origin = parts._replace(path="") if host in LOOPBACK else parts
        others = (STORAGE_SERVICES - {service}).intersection(host.split(".")[1:])
        if _origin_problem(origin, host) or others:
            raise ValueError(f"has {_shown(text)}; it is {like}")
        return text.rstrip("/")

    return parse


def parse_connection_string(text: str) -> str:
    """A connection string that names an account, or its endpoints, and a way in; it is a secret, never shown."""
    parts = [part.partition("=") for part in text.strip("; ").lower().split(";")]
    given = {name for name, _, value in parts if value}
    has_key = {"accountname", "accountkey"} <= given or "usedevelopmentstorage" in given
    has_signature = "sharedaccesssignature" in given and (
        "accountname" in given or {"blobendpoint", "queueendpoint", "tableendpoint"} <= given
    )
    if len(given) < len(parts) or not (has_key or has_signature):
        raise ValueError(
            "is no connection string of a storage account; it looks like "
            "DefaultEndpointsProtocol=https;AccountName=<account>;AccountKey=<key>;EndpointSuffix=core.windows.net"
        )
    return text


def optional(parse: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: parse(text) if text else ""


def parse_past(text: str) -> datetime | None:
    if not text:
        return None
    instant = parse_utc(text)
    if instant is None or not EARLIEST_HISTORY <= instant <= datetime.now(UTC):
        raise ValueError(f"is {text!r}; it is a date in the past like 2026-01-31, from 1900-01-01 on")
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
    except (re.error, OverflowError) as error:
        raise ValueError(f"is {text!r}, no regular expression: {error}") from None


def _names(text: str) -> list[str]:
    return [name for name in re.split(r"[\s,;]+", text) if name]


def _some_names(text: str) -> list[str]:
    if names := _names(text):
        return names
    raise ValueError(f"is {text!r}, which names nothing; leave it empty for the default")


def parse_content_types(text: str) -> tuple[str, ...]:
    known = {name.lower(): name for name in CONTENT_TYPES}
    names = _some_names(text)
    if wrong := [name for name in names if name.lower() not in known]:
        raise ValueError(f"has {', '.join(wrong)}; known are {', '.join(CONTENT_TYPES)}")
    return tuple(dict.fromkeys(known[name.lower()] for name in names))


def parse_workloads(text: str) -> frozenset[str]:
    names = _some_names(text)
    if wrong := [name for name in names if not re.fullmatch(r"[A-Za-z0-9]+", name)]:
        raise ValueError(f"has {', '.join(wrong)}; a workload is one word like PowerPlatform")
    return frozenset(name.lower() for name in names)


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
