"""App settings and host.json, read as the real host reads them."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.host.problems import HostStartError

OVERRIDE_PREFIX = "AzureFunctionsJobHost__"
TRUE = ("true", "1")
PERCENT_NAME = re.compile(r"%([^%]+)%")
TIMESPAN = re.compile(r"(?:(\d+)\.)?(\d+):(\d+):(\d+(?:\.\d+)?)")
DEFAULT_TIMEOUT = "00:30:00"  # of the Flex Consumption plan
LARGEST_BATCH = 32  # messages one receive call may return


@dataclass(frozen=True)
class QueueOptions:
    """The `extensions.queues` section of host.json."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout_s: float = 0.0
    max_polling_interval_s: float = 60.0
    base64: bool = True


@dataclass(frozen=True)
class HostOptions:
    """What host.json says, app settings named AzureFunctionsJobHost__section__name taking precedence."""

    function_timeout_s: float | None = None
    route_prefix: str = "api"
    queues: QueueOptions = QueueOptions()


class AppSettings(dict[str, str]):
    """App settings by name."""

    def resolve(self, text: str) -> tuple[str, list[str]]:
        """Replaces %NAME% by that setting; returns the text and the names that are not set."""
        missing = [name for name in PERCENT_NAME.findall(text) if name not in self]
        return PERCENT_NAME.sub(lambda match: self.get(match[1], match[0]), text), missing

    def is_disabled(self, function: str) -> bool:
        return self.get(f"AzureWebJobs.{function}.Disabled", "").lower() in TRUE


def load_settings(app_dir: Path, given: Mapping[str, str] | None = None) -> AppSettings:
    """Settings that are given, then the process environment, then the Values of local.settings.json."""
    return AppSettings({**_local_values(app_dir / "local.settings.json"), **os.environ, **(given or {})})


def load_options(app_dir: Path, settings: Mapping[str, str]) -> HostOptions:
    """Reads host.json (defaults where it is absent).

    Raises:
        HostStartError: it is not JSON, or a value is not what its key wants; lists all of them.
    """
    document = _read_json(app_dir / "host.json")
    _override(document, settings)
    return _OptionsReader(document).read()


def _local_values(path: Path) -> dict[str, str]:
    values = _read_json(path).get("Values", {})
    if not isinstance(values, dict):
        raise HostStartError([f"{path.name}: Values must be an object"])
    wrong = [name for name, value in values.items() if not isinstance(value, str)]
    if wrong:
        raise HostStartError(f"{path.name}: the value of {name} must be a string" for name in wrong)
    return values


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise HostStartError([f"{path.name} is not JSON: {error}"]) from error
    if not isinstance(document, dict):
        raise HostStartError([f"{path.name} must be a JSON object"])
    return document


def _override(document: dict[str, Any], settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        if name.startswith(OVERRIDE_PREFIX):
            *sections, key = name.removeprefix(OVERRIDE_PREFIX).split("__")
            section = document
            for part in sections:
                section = section.setdefault(part, {})
            section[key] = value


class _OptionsReader:
    """Reads values out of host.json and collects what is wrong with them."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._problems: list[str] = []

    def read(self) -> HostOptions:
        options = HostOptions(
            function_timeout_s=self._timeout_s(),
            route_prefix=str(self._value("extensions.http.routePrefix", "api")).strip("/"),
            queues=self._queues(),
        )
        if self._problems:
            raise HostStartError(self._problems)
        return options

    def _queues(self) -> QueueOptions:
        section = "extensions.queues"
        batch_size = self._integer(f"{section}.batchSize", 16, 1, LARGEST_BATCH)
        encoding = str(self._value(f"{section}.messageEncoding", "base64")).lower()
        if encoding not in ("base64", "none"):
            self._problems.append(f"host.json {section}.messageEncoding: {encoding!r} is neither base64 nor none")
        return QueueOptions(
            batch_size=batch_size,
            new_batch_threshold=self._integer(f"{section}.newBatchThreshold", batch_size // 2, 0, 1000),
            max_dequeue_count=self._integer(f"{section}.maxDequeueCount", 5, 1, 1000),
            visibility_timeout_s=self._seconds(f"{section}.visibilityTimeout", "00:00:00"),
            max_polling_interval_s=self._seconds(f"{section}.maxPollingInterval", "00:01:00"),
            base64=encoding == "base64",
        )

    def _timeout_s(self) -> float | None:
        text = str(self._value("functionTimeout", DEFAULT_TIMEOUT))
        return None if text == "-1" else self._seconds("functionTimeout", DEFAULT_TIMEOUT)

    def _value(self, path: str, default: object) -> object:
        value: Any = self._document
        for part in path.split("."):
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value

    def _integer(self, path: str, default: int, lowest: int, highest: int) -> int:
        value = self._value(path, default)
        if re.fullmatch(r"\d+", str(value)) and lowest <= int(str(value)) <= highest:
            return int(str(value))
        self._problems.append(f"host.json {path}: {value!r} is not a whole number from {lowest} to {highest}")
        return default

    def _seconds(self, path: str, default: str) -> float:
        text = str(self._value(path, default))
        match = TIMESPAN.fullmatch(text)
        if not match:
            self._problems.append(f"host.json {path}: {text!r} is not a time span such as {default}")
            return 0.0
        days, hours, minutes, seconds = match.groups("0")
        return int(days) * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)
