"""Runs functions through azure-functions-runtime, the library that runs them in Azure on Python 3.13 and newer."""

import logging
import sys
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Any

import azure_functions_runtime as runtime

from local.host import worker_messages as messages
from local.host.engines import Outcome, index_failure
from local.host.functions import Function, FunctionInfo, function_info
from local.host.trigger_data import Datum, HttpRequest, HttpResponse, TriggerInput

log = logging.getLogger("host")


class WorkerEngine:
    """The engine of Python 3.13 and newer."""

    def __init__(self) -> None:
        self._function_ids: dict[str, str] = {}
        self._running: dict[str, str] = {}

    @property
    def description(self) -> str:
        return f"azure-functions-runtime {version('azure-functions-runtime')}"

    async def index(self, app_dir: Path) -> list[FunctionInfo]:
        sys.path.insert(0, str(app_dir))
        runtime.start_threadpool_executor()
        start = messages.Message(capabilities={}, function_app_directory=str(app_dir))
        started = await runtime.worker_init_request(_request(worker_init_request=start))
        if started.result.status != messages.StatusResult.Success:
            failure = started.result.exception
            raise index_failure(failure.message, failure.stack_trace)
        described = await runtime.functions_metadata_request(_request())
        found = described.function_metadata_results or []
        self._function_ids = {function.name: function.function_id for function in found}
        return [function_info(f.name, f.raw_bindings, has_retry_policy=f.retry_options is not None) for f in found]

    async def run(self, function: Function, given: TriggerInput, invocation_id: str) -> Outcome:
        self._running[invocation_id] = function.name
        # the library itself does so for sync functions only
        runtime.invocation_id_cv.set(invocation_id)  # pyright: ignore[reportArgumentType] - inferred from its default
        try:
            request = self._invocation(function, given, invocation_id)
            response = await runtime.invocation_request(_request(invocation_request=request))
        finally:
            del self._running[invocation_id]
        return _outcome(response)

    def running_function(self) -> str | None:
        return self._running.get(runtime.invocation_id_cv.get() or "")

    def stop(self) -> None:
        runtime.stop_threadpool_executor()

    def _invocation(self, function: Function, given: TriggerInput, invocation_id: str) -> messages.Message:
        data = messages.ParameterBinding(name=function.parameter, data=_typed(given.data))
        trace_parent = f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"
        return messages.Message(
            invocation_id=invocation_id,
            function_id=self._function_ids[function.name],
            input_data=[data],
            trigger_metadata={name: _typed(datum) for name, datum in given.metadata.items()},
            trace_context=messages.Message(trace_parent=trace_parent, trace_state="", attributes={}),
            retry_context=messages.Message(retry_count=0, max_retry_count=0, exception=None),
        )


def _request(**content: messages.Message) -> messages.Message:
    properties = {"host": "127.0.0.1", "protos": messages}
    return messages.Message(request=messages.Message(**content), properties=properties)


def _typed(datum: Datum) -> messages.TypedData:
    value: Any = datum.value
    if isinstance(value, HttpRequest):
        body = messages.TypedData(bytes=value.body)
        value = messages.RpcHttp(**vars(value) | {"body": body})
    return messages.TypedData(**{datum.kind: value})


def _outcome(response: Any) -> Outcome:
    if response.result.status != messages.StatusResult.Success:
        failure = response.result.exception
        return Outcome(failure.message, failure.stack_trace)
    return Outcome(response=_http_response(response.return_value))


def _http_response(returned: Any) -> HttpResponse | None:
    match returned and returned.WhichOneof("data"):
        case "http":
            if returned.http.cookies:
                log.warning("response cookies are not passed on by this host")
            headers = dict(returned.http.headers)
            return HttpResponse(int(returned.http.status_code), headers, returned.http.body.bytes)
        case "string":
            return HttpResponse(200, {"content-type": "text/plain; charset=utf-8"}, returned.string.encode())
        case _:
            return None
