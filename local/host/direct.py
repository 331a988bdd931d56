"""Runs functions by calling them, for Pythons that azure-functions-runtime does not support.

Trigger values go through the converters of the azure-functions package (1.x and 2.x have the same ones), so that a
function receives the objects it receives in Azure.
"""

import asyncio
import importlib
import inspect
import os
import sys
import threading
import traceback
import typing
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from azure import functions as azure_functions
from azure.functions import meta

from local.host.engines import Outcome, index_failure
from local.host.functions import Function, FunctionInfo, function_info
from local.host.problems import HostStartError
from local.host.trigger_data import Datum, HttpRequest, HttpResponse, TriggerInput

RUNNING: ContextVar[str | None] = ContextVar("running_function", default=None)


@dataclass(frozen=True)
class InvocationContext:
    """What a function with a parameter named `context` receives."""

    function_name: str
    function_directory: str
    invocation_id: str
    trace_context: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(trace_parent="", trace_state="", attributes={})
    )
    retry_context: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(retry_count=0, max_retry_count=0, exception=None)
    )
    thread_local_storage: threading.local = field(default_factory=threading.local)


class DirectEngine:
    """The engine of Pythons older than 3.13."""

    def __init__(self) -> None:
        self._calls: dict[str, Callable[..., Any]] = {}
        self._app_dir = Path()
        threads = os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT")
        self._pool = ThreadPoolExecutor(int(threads) if threads else None)

    @property
    def description(self) -> str:
        return f"direct calls (azure-functions {version('azure-functions')})"

    async def index(self, app_dir: Path) -> list[FunctionInfo]:
        self._app_dir = app_dir
        sys.path.insert(0, str(app_dir))
        if not (app_dir / "function_app.py").is_file():
            return []
        try:
            functions = _function_app().get_functions()
        except Exception as error:
            raise index_failure(_message(error), traceback.format_exc()) from error
        self._calls = {f.get_function_name(): f.get_user_function() for f in functions}
        infos = [_describe(function) for function in functions]
        if problems := [p for info in infos for p in _signature_problems(info, self._calls[info.name])]:
            raise HostStartError(problems)
        return infos

    async def run(self, function: Function, given: TriggerInput, invocation_id: str) -> Outcome:
        RUNNING.set(function.name)
        try:
            arguments = self._arguments(function, given, invocation_id)
            returned = await self._call(self._calls[function.name], arguments)
            return Outcome(response=_http_response(returned, given))
        except Exception as error:  # noqa: BLE001 - whatever a function raises is how it failed
            return Outcome(_message(error), traceback.format_exc())

    def running_function(self) -> str | None:
        return RUNNING.get()

    def stop(self) -> None:
        self._pool.shutdown()

    async def _call(self, call: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        if inspect.iscoroutinefunction(call):
            return await call(**arguments)
        context = copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: context.run(call, **arguments))

    def _arguments(self, function: Function, given: TriggerInput, invocation_id: str) -> dict[str, Any]:
        call = self._calls[function.name]
        wanted = typing.get_type_hints(call).get(function.parameter)
        arguments: dict[str, Any] = {function.parameter: _decode(given, wanted)}
        if "context" in inspect.signature(call).parameters:
            arguments["context"] = InvocationContext(function.name, str(self._app_dir), invocation_id)
        return arguments


def _function_app() -> Any:
    module = importlib.import_module("function_app")
    apps = [value for value in vars(module).values() if isinstance(value, azure_functions.FunctionRegister)]
    if len(apps) != 1:
        raise ValueError(f"{len(apps)} top level function app instances, not one")
    return apps[0]


def _describe(function: Any) -> FunctionInfo:
    retry = function.get_settings_dict("retry_policy")
    return function_info(
        function.get_function_name(), function.get_raw_bindings(), has_retry_policy=retry is not None
    )


def _signature_problems(info: FunctionInfo, call: Callable[..., Any]) -> list[str]:
    declared = set(inspect.signature(call).parameters) - {"context"}
    bound = {binding["name"] for binding in info.bindings} - {"$return"}
    if declared == bound:
        return []
    return [f"{info.name}: has the parameters {sorted(declared)}, its bindings are {sorted(bound)}"]


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _decode(given: TriggerInput, wanted: Any) -> Any:
    if given.data.kind == "string" and wanted in (str, bytes):
        return given.data.value if wanted is str else given.data.value.encode()
    binding = {"json": "timerTrigger", "string": "queueTrigger", "http": "httpTrigger"}[given.data.kind]
    converter: Any = azure_functions.get_binding_registry().get(binding)
    metadata = {name: meta.Datum(datum.value, datum.kind) for name, datum in given.metadata.items()}
    return converter.decode(_sdk_datum(given.data), trigger_metadata=metadata)


def _sdk_datum(datum: Datum) -> meta.Datum:
    if not isinstance(datum.value, HttpRequest):
        return meta.Datum(datum.value, datum.kind)
    request = datum.value
    fields: dict[str, Any] = {
        "method": meta.Datum(request.method, "string"),
        "url": meta.Datum(request.url, "string"),
        "body": meta.Datum(request.body, "bytes"),
    }
    for name in ("headers", "query", "params"):
        values: Mapping[str, str] = getattr(request, name)
        fields[name] = {key: meta.Datum(value, "string") for key, value in values.items()}
    return meta.Datum(fields, "http")


def _http_response(returned: Any, given: TriggerInput) -> HttpResponse | None:
    if given.data.kind != "http":
        if returned is not None:
            raise RuntimeError("a function without a $return binding returned a value")
        return None
    if isinstance(returned, str):
        return HttpResponse(200, {"content-type": "text/plain; charset=utf-8"}, returned.encode())
    converter: Any = azure_functions.get_binding_registry().get("http")
    value = converter.encode(returned, expected_type=None).value
    headers = {name: datum.value for name, datum in value["headers"].items()}
    return HttpResponse(int(value["status_code"].value), headers, value["body"].value)
