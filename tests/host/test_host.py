"""The host's triggers against a real Azurite, through both engines."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from azure.storage.queue import QueueClient
from host_support import ENGINES, eventually, queue_of, send, write_app

from local.azurite import Azurite
from local.host.process import HostProcess, HostProcessError

APP = """
import json
import logging
import os
import threading
import time
from pathlib import Path

LOCK = threading.Lock()
MEETING = threading.Barrier(4)


def record(**facts):
    with LOCK, Path(os.environ["RECORD"]).open("a") as file:
        file.write(json.dumps(facts, default=str) + "\\n")


@app.timer_trigger(arg_name="timer", schedule="%TICK%")
def tick(timer: func.TimerRequest) -> None:
    record(function="tick", past_due=timer.past_due, status=timer.schedule_status)


@app.timer_trigger(arg_name="timer", schedule="* * * * * *")
def slow_tick(timer: func.TimerRequest) -> None:
    started = time.time()
    time.sleep(1.3)
    record(function="slow_tick", started=started, ended=time.time())


@app.timer_trigger(arg_name="timer", schedule="* * * * * *")
def disabled_tick(timer: func.TimerRequest) -> None:
    record(function="disabled_tick")


@app.timer_trigger(arg_name="timer", schedule="0 0 3 * * *", run_on_startup=True)
async def at_startup(timer: func.TimerRequest) -> None:
    logging.getLogger("app").warning("hello from the app")
    record(function="at_startup", status=timer.schedule_status)


@app.queue_trigger(arg_name="message", queue_name="%QUEUE%", connection="DataStorage")
def work(message: func.QueueMessage) -> None:
    body = message.get_json()
    record(
        function="work",
        body=body,
        id=message.id,
        pop_receipt=message.pop_receipt,
        dequeue_count=message.dequeue_count,
        inserted=message.insertion_time.isoformat(),
        lifetime_s=(message.expiration_time - message.insertion_time).total_seconds(),
        lease_s=(message.time_next_visible - message.insertion_time).total_seconds(),
    )
    print("printed by the app")
    if body.get("fail"):
        raise ValueError("told to fail")
    if body.get("meet"):
        MEETING.wait(30)
        record(function="met")


@app.route(route="items/{id:int}/{part?}", methods=["GET", "PUT"])
async def items(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    if req.params.get("fail"):
        raise ValueError("told to fail")
    seen = {
        "method": req.method,
        "url": req.url,
        "id": req.route_params["id"],
        "part": req.route_params.get("part"),
        "query": dict(req.params),
        "accept": req.headers.get("Accept"),
        "body": req.get_body().decode(),
        "invocation": context.invocation_id,
        "function": context.function_name,
    }
    headers = {"X-Kind": "item"}
    return func.HttpResponse(json.dumps(seen), status_code=201, headers=headers, mimetype="application/json")


@app.route()
def disabled_route(req: func.HttpRequest) -> str:
    return "only by hand"
"""


@dataclass
class Running:
    host: HostProcess
    queue: QueueClient
    record: Path

    def recorded(self, function: str) -> list[dict[str, Any]]:
        text = self.record.read_text("utf-8") if self.record.exists() else ""
        return [line for line in map(json.loads, text.splitlines()) if line["function"] == function]

    def worked(self, body: object) -> list[dict[str, Any]]:
        return [line for line in self.recorded("work") if line["body"] == body]

    def poison(self) -> list[str]:
        name = f"{self.queue.queue_name}-poison"
        poison = self.queue.from_queue_url(
            self.queue.url.replace(self.queue.queue_name, name), self.queue.credential
        )
        return [message.content for message in poison.peek_messages(max_messages=32)]


@pytest.fixture(scope="module", params=ENGINES)
def running(
    request: pytest.FixtureRequest, azurite: Azurite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("host")
    queue = queue_of(azurite, f"work-{request.param}")
    settings = {
        **azurite.app_settings(),
        "TICK": "* * * * * *",
        "QUEUE": queue.queue_name,
        "RECORD": str(directory / "record.jsonl"),
        "AzureWebJobs.disabled_tick.Disabled": "true",
        "AzureWebJobs.disabled_route.Disabled": "1",
    }
    app = write_app(directory / "app", APP)
    with HostProcess(app, settings, poll_s=0.1, direct=request.param == "direct") as host:
        host.wait_started()
        yield Running(host, queue, directory / "record.jsonl")


def get(url: str, **options: Any) -> tuple[int, dict[str, str], bytes]:
    """Status, headers with lower-case names, body."""
    request = urllib.request.Request(url, **options)  # noqa: S310 - loopback
    response: Any
    try:
        response = urllib.request.urlopen(request)  # noqa: S310 - loopback
    except urllib.error.HTTPError as error:
        response = error
    with response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        return response.status, headers, response.read()


def test_the_start_names_the_functions_and_the_engine(running: Running, request: pytest.FixtureRequest) -> None:
    started = running.host.wait_started()
    functions = {function["name"]: function for function in started["functions"]}
    assert functions["tick"] == {"name": "tick", "trigger": "timer", "schedule": "* * * * * *", "disabled": False}
    assert functions["work"]["queue"] == running.queue.queue_name
    assert functions["items"]["route"] == "items/{id:int}/{part?}"
    assert functions["disabled_tick"]["disabled"]
    engine = {"worker": "azure-functions-runtime", "direct": "direct calls (azure-functions"}
    assert started["engine"].startswith(engine[request.node.callspec.params["running"]])
    assert started["url"].startswith("http://127.0.0.1:")


def test_a_timer_fires_when_its_schedule_says_so(running: Running) -> None:
    eventually(lambda: len(running.recorded("tick")) >= 2)
    # of a timer that fires more than once a minute Azure keeps no status
    assert running.recorded("tick")[0] == {"function": "tick", "past_due": False, "status": {}}


def test_a_timer_never_overlaps_itself_and_missed_ticks_become_one(running: Running) -> None:
    eventually(lambda: len(running.recorded("slow_tick")) >= 2)
    runs = running.recorded("slow_tick")
    for earlier, later in pairwise(runs):
        assert 0 <= later["started"] - earlier["ended"] < 0.9


def test_a_disabled_function_runs_only_by_hand(running: Running) -> None:
    eventually(lambda: running.recorded("tick"))
    before = running.recorded("disabled_tick")
    assert running.host.invoke("disabled_tick")["ok"]
    assert len(running.recorded("disabled_tick")) == len(before) + 1
    assert not [e for e in running.host.events if e["event"] == "invoked" and e["function"] == "disabled_tick"][1:]
    assert get(f"{running.host.url}/api/disabled_route")[0] == 404
    assert running.host.invoke("disabled_route")["result"]["body"] == "only by hand"


def test_run_on_startup_sees_the_schedule_status(running: Running) -> None:
    eventually(lambda: running.recorded("at_startup"))
    (line,) = running.recorded("at_startup")
    assert line["status"]["Last"] == line["status"]["LastUpdated"] == "0001-01-01T00:00:00+00:00"
    assert line["status"]["Next"].endswith("T03:00:00+00:00")


def test_the_log_names_level_and_function(running: Running) -> None:
    eventually(lambda: any("hello from the app" in line for line in running.host.logs))
    (line,) = [line for line in running.host.logs if "hello from the app" in line]
    assert line.split()[1:3] == ["WARNING", "at_startup"]
    assert not [line for line in running.host.logs if "x-ms-version" in line]


def test_past_due_can_be_asked_for(running: Running) -> None:
    assert running.host.invoke("tick", past_due=True)["ok"]
    assert any(line["past_due"] for line in running.recorded("tick"))


def test_a_message_is_handed_over_with_its_metadata_and_deleted(running: Running) -> None:
    send(running.queue, {"n": 1})
    eventually(lambda: running.worked({"n": 1}))
    (line,) = running.worked({"n": 1})
    assert len(line["id"]) == 36
    assert line["pop_receipt"]
    assert line["dequeue_count"] == 1
    assert line["lifetime_s"] == 7 * 24 * 3600
    assert 59 <= line["lease_s"] <= 62
    eventually(lambda: running.queue.get_queue_properties().approximate_message_count == 0)


def test_a_failing_message_comes_back_and_ends_in_the_poison_queue(running: Running) -> None:
    text = send(running.queue, {"fail": True})
    poisoned = running.host.wait_for(
        lambda event: event["event"] == "poisoned" and "told to fail" in event["error"]
    )
    assert [line["dequeue_count"] for line in running.worked({"fail": True})] == [1, 2]
    assert poisoned["dequeue_count"] == 2
    assert text in running.poison()
    failed = [
        e for e in running.host.events if e["event"] == "invoked" and e["trigger"] == "queue" and not e["ok"]
    ]
    assert [event["error"] for event in failed] == ["ValueError: told to fail"] * 2
    logged = "\n".join(running.host.logs)
    assert 'raise ValueError("told to fail")' in logged
    assert "concurrent" not in logged


def test_a_message_that_is_not_base64_goes_to_the_poison_queue(running: Running) -> None:
    running.queue.send_message("{not base64}")
    poisoned = running.host.wait_for(lambda event: event["event"] == "poisoned" and event["error"] == "not base64")
    assert poisoned["queue"] == f"{running.queue.queue_name}-poison"
    assert "{not base64}" in running.poison()


def test_messages_are_worked_on_side_by_side(running: Running) -> None:
    for _ in range(4):
        send(running.queue, {"meet": True})
    eventually(lambda: len(running.recorded("met")) == 4)


def test_an_http_function_sees_the_request(running: Running) -> None:
    url = f"{running.host.url}/api/Items/5/a%20b?x=1&x=2"
    status, headers, body = get(url, data=b"hello", method="PUT", headers={"Accept": "text/plain"})
    assert status == 201
    assert headers["x-kind"] == "item"
    assert headers["content-type"] == "application/json"
    seen = json.loads(body)
    assert seen["method"] == "PUT"
    assert seen["url"] == url
    assert (seen["id"], seen["part"]) == ("5", "a b")
    assert seen["query"] == {"x": "1,2"}
    assert seen["accept"] == "text/plain"
    assert seen["body"] == "hello"
    assert seen["function"] == "items"


def test_what_no_function_serves_is_not_found(running: Running) -> None:
    url = running.host.url
    assert get(f"{url}/api/items/5")[0] == 201
    assert get(f"{url}/api/items/five")[0] == 404
    assert get(f"{url}/api/items/5", data=b"", method="POST")[0] == 404
    assert get(f"{url}/items/5")[0] == 404
    status, _, body = get(f"{url}/api/items/5?fail=1")
    assert (status, body) == (500, b"")


def test_the_admin_endpoint_invokes_by_name(running: Running) -> None:
    outcome = running.host.invoke("work", '{"by": "hand"}', dequeue_count=4)
    assert (outcome["ok"], outcome["error"]) == (True, None)
    assert running.worked({"by": "hand"})[0]["dequeue_count"] == 4
    assert running.host.invoke("work", '{"fail": 1}')["error"] == "ValueError: told to fail"
    result = running.host.invoke("items", "text", method="PUT", params={"id": "7"}, query={"q": "1"})["result"]
    assert result["status"] == 201
    assert json.loads(result["body"])["body"] == "text"
    with pytest.raises(HostProcessError, match=r"404 .*there is no function nobody"):
        running.host.invoke("nobody")
    with pytest.raises(HostProcessError, match=r"400 .*unexpected keyword argument 'color'"):
        running.host.invoke("tick", color="red")
    admin = f"{running.host.url}/admin/functions/tick"
    assert get(admin, data=b"{}", headers={"content-type": "text/plain"})[0] == 415
    assert get(admin)[0] == 405


def test_what_the_app_prints_is_no_event(running: Running) -> None:
    send(running.queue, {"print": 1})
    eventually(lambda: running.worked({"print": 1}))
    eventually(lambda: "printed by the app" in running.host.logs)
