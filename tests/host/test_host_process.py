"""The host as a process: what keeps it from starting, and how it stops."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient
from host_support import ENGINES, accepts, eventually, queue_of, send, write_app
from identity_endpoint import identity_endpoint

from local.azurite import Azurite
from local.certificate import make_certificate
from local.host.process import HostProcess, HostProcessError

ROOT = Path(__file__).resolve().parents[2]
TIMER = """
@app.timer_trigger(arg_name="timer", schedule="%TICK%")
def tick(timer: func.TimerRequest) -> None:
    print("ticked")
"""
WORK = """
import os
import time


@app.queue_trigger(arg_name="message", queue_name="%QUEUE%", connection="Data")
def work(message: func.QueueMessage) -> None:
    print("took", message.dequeue_count)
    time.sleep(float(message.get_body()))
"""
PROBLEMS = """
@app.timer_trigger(arg_name="timer", schedule="%NO_SCHEDULE%")
def without_schedule(timer: func.TimerRequest) -> None: ...

@app.timer_trigger(arg_name="timer", schedule="0 0 * * 7 MON#2")
def wrong_schedule(timer: func.TimerRequest) -> None: ...

@app.queue_trigger(arg_name="message", queue_name="%NO_QUEUE%", connection="%NO_NAME%")
def without_names(message: func.QueueMessage) -> None: ...

@app.queue_trigger(arg_name="message", queue_name="Wrong_Name", connection="Nowhere")
def without_connection(message: func.QueueMessage) -> None: ...

@app.blob_trigger(arg_name="blob", path="a/b", connection="Data")
def on_blob(blob: func.InputStream) -> None: ...

@app.timer_trigger(arg_name="timer", schedule="0 0 * * * *")
@app.queue_output(arg_name="out", queue_name="q", connection="Data")
def with_output(timer: func.TimerRequest, out: func.Out[str]) -> None: ...

@app.route(route="{id:regex(x)}")
def odd_route(req: func.HttpRequest) -> str:
    return ""
"""
EXPECTED = [
    "host.json extensions.queues.batchSize: 99 is not a whole number from 1 to 32",
    "without_schedule: timerTrigger timer, schedule: app setting NO_SCHEDULE is not set",
    (
        "wrong_schedule: timerTrigger timer, schedule: '0 0 * * 7 MON#2', no NCRONTAB expression like "
        "'0 */5 * * * *': its weekday 'MON#2' is none; it takes *, numbers, ranges, lists and steps"
    ),
    "without_names: queueTrigger message, queueName: app setting NO_QUEUE is not set",
    "without_names: queueTrigger message, connection: app setting NO_NAME is not set",
    "without_connection: queueTrigger message, queueName: 'Wrong_Name' is no queue name",
    (
        "without_connection: queueTrigger message, connection: "
        "neither app setting Nowhere nor Nowhere__queueServiceUri is set"
    ),
    "on_blob: trigger type blobTrigger is not supported here",
    "with_output: binding out (queue) is not supported here",
    "odd_route: httpTrigger req, route: route segment '{id:regex(x)}' is not supported here",
]


def start(app: Path, engine: str, **settings: str) -> HostProcess:
    return HostProcess(app, settings, poll_s=0.1, lease_s=1, direct=engine == "direct")


@pytest.mark.parametrize("engine", ENGINES)
def test_everything_that_is_wrong_is_said_at_once(app: Callable[..., Path], engine: str) -> None:
    host_json = {"version": "2.0", "extensions": {"queues": {"batchSize": 99}}}
    with start(app(PROBLEMS, host_json), engine) as host:
        with pytest.raises(HostProcessError, match="ended with exit code 2"):
            host.wait_started()
        (failed,) = host.events
    assert failed == {"event": "failed", "problems": EXPECTED}
    assert host.logs == ["the host cannot start:", *(f"  - {problem}" for problem in EXPECTED)]


BROKEN = {
    "import no_such_module": "ModuleNotFoundError: No module named 'no_such_module'",
    "": "function_app.py defines no functions",
    "other = func.FunctionApp()": "top level function app instances",
    TIMER.replace("timer: func", "clock: func"): "clock",
    "raise SystemExit('settings are wrong')": "SystemExit: settings are wrong",
}


@pytest.mark.parametrize("engine", ENGINES)
def test_an_app_that_cannot_be_indexed_does_not_start(tmp_path: Path, engine: str) -> None:
    apps = [write_app(tmp_path / str(number), source) for number, source in enumerate(BROKEN)]
    with ExitStack() as running:  # side by side, as it takes a while
        hosts = [running.enter_context(start(app, engine, TICK="0 0 * * * *")) for app in apps]
        for host, problem in zip(hosts, BROKEN.values(), strict=True):
            with pytest.raises(HostProcessError) as caught:
                host.wait_started()
            assert problem in str(caught.value)
            assert "azure_functions_runtime/" not in str(caught.value)


def test_the_environment_precedes_local_settings(app: Callable[..., Path]) -> None:
    directory = app(TIMER)
    values = {"Values": {"TICK": "0 0 1 * * *", "OTHER": "x"}}
    (directory / "local.settings.json").write_text(json.dumps(values), "utf-8")
    with start(directory, "direct") as host:
        assert host.wait_started()["functions"][0]["schedule"] == "0 0 1 * * *"
    with start(directory, "direct", TICK="0 0 2 * * *") as host:
        assert host.wait_started()["functions"][0]["schedule"] == "0 0 2 * * *"


def run_host(app: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "local.host", "--app", str(app), "--port", "0", *arguments]
    env = {**os.environ, "TICK": "* * * * * *"}
    return subprocess.run(  # noqa: S603 - the program under test
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=90, check=False
    )


def test_the_command_line_invokes_one_function(app: Callable[..., Path]) -> None:
    directory = app(TIMER)
    done = run_host(directory, "--invoke", "tick", "--events")
    assert done.returncode == 0
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["started", "invoked", "stopped"]
    assert "tick: ok in" in done.stderr
    unknown = run_host(directory, "--invoke", "nobody")
    assert unknown.returncode == 1
    assert "functions: tick" in unknown.stderr


def test_the_command_line_runs_for_a_while(app: Callable[..., Path]) -> None:
    done = run_host(app(TIMER), "--seconds", "2.5", "--events")
    assert done.returncode == 0
    stopped = json.loads(done.stdout.splitlines()[-1])
    assert stopped["invocations"]["tick"]["ok"] >= 1


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly(app: Callable[..., Path], number: int) -> None:
    command = [sys.executable, "-m", "local.host", "--app", str(app(TIMER)), "--port", "0", "--events"]
    host = subprocess.Popen(  # noqa: S603 - the program under test
        command,
        cwd=ROOT,
        env={**os.environ, "TICK": "* * * * * *"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert host.stdout
    assert json.loads(host.stdout.readline())["event"] == "started"
    time.sleep(0.2)
    os.killpg(host.pid, number)
    output, errors = host.communicate(timeout=60)
    assert host.returncode == 0
    assert json.loads(output.splitlines()[-1])["event"] == "stopped"
    assert "Traceback" not in errors


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stop_lets_a_message_in_hand_finish(app: Callable[..., Path], azurite: Azurite, engine: str) -> None:
    queue = queue_of(azurite, f"finish-{engine}")
    settings = {**azurite.app_settings("Data"), "QUEUE": queue.queue_name}
    with start(app(WORK), engine, **settings) as host:
        host.wait_started()
        eventually(lambda: exists(azurite, queue.queue_name))
        send(queue, 0.5)
        eventually(lambda: "took 1" in host.logs)
    assert host.events[-1] == {
        "event": "stopped",
        "invocations": {"work": {"ok": 1, "failed": 0}},
        "unfinished": [],
    }
    assert queue.get_queue_properties().approximate_message_count == 0


def exists(azurite: Azurite, name: str) -> bool:
    with QueueServiceClient.from_connection_string(azurite.connection_string) as service:
        return name in [queue.name for queue in service.list_queues()]


def test_a_message_held_at_a_crash_comes_back(app: Callable[..., Path], azurite: Azurite) -> None:
    queue = queue_of(azurite, "crash")
    settings = {**azurite.app_settings("Data"), "QUEUE": queue.queue_name}
    directory = app(WORK)
    with start(directory, "direct", **settings) as host:
        host.wait_started()
        eventually(lambda: exists(azurite, "crash"))
        send(queue, 3)  # time enough to be killed in, however busy the machine is
        eventually(lambda: "took 1" in host.logs)
        host.kill()
    assert "stopped" not in [event["event"] for event in host.events]
    with start(directory, "direct", **settings) as host:
        assert host.wait_for(lambda event: event["event"] == "invoked")["dequeue_count"] == 2


def test_a_message_stays_invisible_while_it_is_worked_on(app: Callable[..., Path], azurite: Azurite) -> None:
    queue = queue_of(azurite, "lease")
    settings = {**azurite.app_settings("Data"), "QUEUE": queue.queue_name}
    with HostProcess(app(WORK), settings, poll_s=0.1, lease_s=3, direct=True) as host:
        host.wait_started()
        eventually(lambda: exists(azurite, "lease"))
        send(queue, 4)  # longer than the lease
        assert host.wait_for(lambda event: event["event"] == "invoked")["ok"]
        eventually(lambda: queue.get_queue_properties().approximate_message_count == 0)
    assert [line for line in host.logs if line.startswith("took")] == ["took 1"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_function_that_exits_only_fails(app: Callable[..., Path], engine: str) -> None:
    source = TIMER.replace('print("ticked")', "raise SystemExit(3)")
    with start(app(source), engine, TICK="0 0 3 * * *") as host:
        assert host.invoke("tick")["error"] == "SystemExit: 3"
        assert not host.invoke("tick")["ok"]


IN_PROCESS = """
import sys
from pathlib import Path
from local.host.host import Host, index_app
if sys.argv[2] == "index":
    print([(info.name, info.trigger, info.bindings[0]["schedule"]) for info in index_app(Path(sys.argv[1]))])
else:
    host = Host(Path(sys.argv[1]), settings={"TICK": "* * * * * *"})
    host.start()
    print(host.invoke("tick", past_due=True).ok)
    host.run(2.5)
    print(host.stop())
"""


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("index", "[('tick', 'timerTrigger', '%TICK%')]\n"), ("run", "ticked\nTrue\nticked\n")],
    ids=["index", "run"],
)
def test_the_host_in_this_very_process(app: Callable[..., Path], argument: str, expected: str) -> None:
    command = [sys.executable, "-c", IN_PROCESS, str(app(TIMER)), argument]
    done = subprocess.run(  # noqa: S603 - this file's own program
        command, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(expected)


def test_a_run_beyond_the_function_timeout_counts_as_failed(app: Callable[..., Path]) -> None:
    source = "import time\n" + TIMER.replace('print("ticked")', "time.sleep(1.2)")
    with start(app(source, {"functionTimeout": "00:00:01"}), "direct", TICK="0 0 3 * * *") as host:
        outcome = host.invoke("tick")
    assert outcome["error"] == "ran longer than the functionTimeout of 1 s"
    assert any("Azure would end it now" in line for line in host.logs)


def test_a_queue_through_a_managed_identity(app: Callable[..., Path], tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with identity_endpoint() as variables, Azurite(certificate=certificate) as azurite:
        settings = {**azurite.app_settings("Data"), **variables, **certificate.trust(), "QUEUE": "identity"}
        settings["Data__clientId"] = "11111111-2222-3333-4444-555555555555"
        with start(app(WORK), "direct", **settings) as host:
            host.wait_started()
            os.environ |= certificate.trust()
            try:
                queue = queue_of(azurite, "identity")
                eventually(lambda: exists(azurite, "identity"))
                send(queue, 0)
            finally:
                del os.environ["REQUESTS_CA_BUNDLE"]
            assert host.wait_for(lambda event: event["event"] == "invoked")["ok"]


PARENT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from local.azurite import Azurite
from local.host.process import HostProcess
directory = Path(sys.argv[2])
with Azurite(directory / "data") as azurite, HostProcess(directory / "app", {"TICK": "0 0 3 * * *"}) as host:
    print(host.url, azurite.connection_string, flush=True)
    time.sleep(100)
"""


@pytest.mark.usefixtures("azurite")
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda pid: os.kill(pid, signal.SIGKILL), id="killed"),
        pytest.param(lambda pid: os.killpg(pid, signal.SIGKILL), id="killed with its guards"),
        pytest.param(lambda pid: os.killpg(pid, signal.SIGINT), id="Ctrl-C"),
    ],
)
def test_nothing_is_left_and_nothing_lost_when_the_parent_ends(
    app: Callable[..., Path], tmp_path: Path, end: Callable[[int], None]
) -> None:
    app(TIMER)
    parent = subprocess.Popen(  # noqa: S603 - this file's own program
        [sys.executable, "-c", PARENT, str(ROOT), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout
    url, connection = parent.stdout.readline().split()
    container = BlobServiceClient.from_connection_string(connection).create_container("kept")
    container.upload_blob("b", b"")
    assert accepts(url)
    end(parent.pid)
    parent.communicate()
    eventually(lambda: not accepts(url) and not accepts(container.url))
    eventually(lambda: "kept" in (tmp_path / "data" / "__azurite_db_blob__.json").read_text("utf-8"))
    with Azurite(tmp_path / "data") as again:
        kept = BlobServiceClient.from_connection_string(again.connection_string).get_container_client("kept")
        assert [blob.name for blob in kept.list_blobs()] == ["b"]
