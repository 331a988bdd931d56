"""Functions as indexing reports them, and their triggers with every setting resolved."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from local.host.connection import DEFAULT_CONNECTION, Connection, find_connection
from local.host.problems import HostStartError
from local.host.routes import Route, parse_route
from local.host.schedule import Schedule
from local.host.settings import AppSettings

# https://learn.microsoft.com/rest/api/storageservices/naming-queues-and-metadata
QUEUE_NAME = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class FunctionInfo:
    """A function as its decorators describe it; `bindings` are the objects of a function.json."""

    name: str
    trigger: str
    bindings: tuple[dict[str, Any], ...]
    has_retry_policy: bool = False


@dataclass(frozen=True)
class TimerTrigger:
    schedule: Schedule
    run_on_startup: bool
    is_monitored: bool


@dataclass(frozen=True)
class QueueTrigger:
    queue: str
    connection: Connection


@dataclass(frozen=True)
class HttpTrigger:
    route: Route
    methods: frozenset[str]


@dataclass(frozen=True)
class Function:
    """A function the host can run; `parameter` receives what triggered it."""

    name: str
    parameter: str
    trigger: TimerTrigger | QueueTrigger | HttpTrigger
    disabled: bool

    def summary(self) -> dict[str, object]:
        """JSON for the event stream: name, trigger, disabled, and schedule, queue or route."""
        match self.trigger:
            case TimerTrigger(schedule=schedule):
                detail = {"trigger": "timer", "schedule": schedule.expression}
            case QueueTrigger(queue=queue):
                detail = {"trigger": "queue", "queue": queue}
            case HttpTrigger(route=route, methods=methods):
                detail = {"trigger": "http", "route": route.template, "methods": sorted(methods)}
        return {"name": self.name, **detail, "disabled": self.disabled}


def function_info(name: str, raw_bindings: Iterable[str], *, has_retry_policy: bool) -> FunctionInfo:
    bindings = tuple(json.loads(raw) for raw in raw_bindings)
    trigger = next((b["type"] for b in bindings if b["type"].lower().endswith("trigger")), "none")
    return FunctionInfo(name, trigger, bindings, has_retry_policy)


def resolve_functions(infos: Sequence[FunctionInfo], settings: AppSettings, route_prefix: str) -> list[Function]:
    """Gives every function its resolved trigger.

    Raises:
        HostStartError: names every function, binding and setting that is wrong or that is not supported here.
    """
    resolvers = [_Resolver(info, settings, route_prefix) for info in infos]
    functions = [resolver.function() for resolver in resolvers]
    problems = [problem for resolver in resolvers for problem in resolver.problems]
    if not infos:
        problems.append("function_app.py defines no functions")
    if problems:
        raise HostStartError(problems)
    return [function for function in functions if function]


@dataclass
class _Resolver:
    info: FunctionInfo
    settings: AppSettings
    route_prefix: str
    problems: list[str] = field(default_factory=list)

    def function(self) -> Function | None:
        self.problems += self._unsupported()
        binding = next((b for b in self.info.bindings if b["type"] == self.info.trigger), {})
        trigger = self._trigger(binding)
        if not trigger:
            return None
        return Function(self.info.name, binding["name"], trigger, self.settings.is_disabled(self.info.name))

    def _unsupported(self) -> Iterator[str]:
        for binding in self.info.bindings:
            is_response = binding["type"].lower() == "http"
            if binding["type"] != self.info.trigger and not is_response:
                yield f"{self.info.name}: binding {binding['name']} ({binding['type']}) is not supported here"
        if self.info.has_retry_policy:
            yield f"{self.info.name}: retry policies are not supported here"

    def _trigger(self, binding: dict[str, Any]) -> TimerTrigger | QueueTrigger | HttpTrigger | None:
        match self.info.trigger.lower():
            case "timertrigger":
                return self._timer(binding)
            case "queuetrigger":
                return self._queue(binding)
            case "httptrigger":
                return self._http(binding)
            case _:
                self.problems.append(f"{self.info.name}: trigger type {self.info.trigger} is not supported here")
                return None

    def _timer(self, binding: dict[str, Any]) -> TimerTrigger | None:
        expression = self._resolved(binding, "schedule")
        if expression is None:
            return None
        try:
            schedule = Schedule(expression)
        except ValueError as error:
            self._problem(binding, "schedule", str(error))
            return None
        monitored = binding.get("useMonitor") is not False and schedule.is_monitored()
        return TimerTrigger(schedule, bool(binding.get("runOnStartup")), monitored)

    def _queue(self, binding: dict[str, Any]) -> QueueTrigger | None:
        queue = self._resolved(binding, "queueName")
        if queue is not None and not QUEUE_NAME.fullmatch(queue):
            self._problem(binding, "queueName", f"{queue!r} is no queue name")
        name = self._resolved({"connection": DEFAULT_CONNECTION} | binding, "connection")
        if name is None or queue is None:
            return None
        connection = find_connection(name, self.settings)
        if not connection:
            missing = f"neither app setting {name} nor {name}__queueServiceUri is set"
            self._problem(binding, "connection", missing)
            return None
        return QueueTrigger(queue, connection)

    def _http(self, binding: dict[str, Any]) -> HttpTrigger | None:
        template = self._resolved({"route": self.info.name} | binding, "route")
        if template is None:
            return None
        try:
            route = parse_route(template, self.route_prefix)
        except ValueError as error:
            self._problem(binding, "route", str(error))
            return None
        return HttpTrigger(route, frozenset(method.upper() for method in binding.get("methods") or ()))

    def _resolved(self, binding: dict[str, Any], attribute: str) -> str | None:
        text, missing = self.settings.resolve(str(binding.get(attribute) or ""))
        for name in missing:
            self._problem(binding, attribute, f"app setting {name} is not set")
        return None if missing else text

    def _problem(self, binding: dict[str, Any], attribute: str, text: str) -> None:
        self.problems.append(f"{self.info.name}: {self.info.trigger} {binding['name']}, {attribute}: {text}")
