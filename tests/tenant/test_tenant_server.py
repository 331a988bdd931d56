from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
import urllib3
from tenant_support import Client, world

from local.tenant import Fault, Tenant, generate

Serve = Callable[..., Client]
ROOT = Path(__file__).parents[2]


def exchange(port: int, sent: bytes) -> bytes:
    """What comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def test_forty_environments_start_and_stop_without_a_trace() -> None:
    threads = threading.active_count()
    with Tenant(generate(environments=40, sessions_per_environment=2, blobs=1)) as tenant:
        urls = [url for _, url, _ in tenant.environments]
        assert len(set(urls)) == 40
        with urllib3.PoolManager(num_pools=50) as pool:
            for url in urls:
                assert pool.request("GET", f"{url}/api/data/v9.2/WhoAmI").status == 401
            assert threading.active_count() > threads + 40
    assert threading.active_count() == threads
    for url in (*urls, tenant.control_url):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port(url)), timeout=1)


def test_stopping_does_not_wait_for_delayed_answers() -> None:
    tenant = Tenant(world())
    tenant.start()
    tenant.faults.add(Fault("control", delay_s=60))
    with socket.create_connection(("127.0.0.1", port(tenant.control_url))) as connection:
        connection.sendall(b"GET /truth HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.1)
        begin = time.monotonic()
        tenant.stop()
        assert time.monotonic() - begin < 30


def test_a_connection_serves_many_requests(serve: Serve) -> None:
    client = serve(world())
    request = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = exchange(port(client.tenant.control_url), request * 3 + last)
    assert answer.count(b"HTTP/1.1 404 Not Found\r\n") == 4


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(serve: Serve, sent: bytes) -> None:
    answer = exchange(port(serve(world()).tenant.control_url), sent)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_other_methods_are_refused(serve: Serve) -> None:
    client = serve(world())
    origin = client.tenant.environments[0].url
    headers = {"Authorization": f"Bearer {client.token(origin)}"}
    for method in ("POST", "PATCH", "DELETE"):
        answer = client.http.request(method, f"{origin}/api/data/v9.2/flowsessions", headers=headers, data="{}")
        assert answer.status_code == 405


def test_latency_is_added(serve: Serve) -> None:
    client = serve(world(), latency_s=0.1)
    begin = time.monotonic()
    client.get("WhoAmI")
    assert time.monotonic() - begin >= 0.2


def test_a_mistake_in_the_simulation_is_told(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(world())
    monkeypatch.setattr(client.tenant, "truth", lambda: 1 / 0)
    answer = client.http.get(f"{client.tenant.control_url}/truth")
    assert answer.status_code == 501


def test_it_runs_alone_until_its_input_ends() -> None:
    command = [sys.executable, "-m", "local.tenant", "--environments", "2", "--sessions", "5", "--blobs", "2"]
    with Popen(command, cwd=ROOT, text=True, stdin=PIPE, stdout=PIPE) as process:  # noqa: S603 - the program under test
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        truth = urllib3.request("GET", f"{told['control_url']}/truth").json()
        assert [each["url"] for each in truth["environments"]] == [each["url"] for each in told["environments"]]
        assert told["app_settings"]["IDENTITY_ENDPOINT"] == told["identity_endpoint"]
        process.communicate()
    assert process.returncode == 0
