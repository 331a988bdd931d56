from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import requests
from tenant_support import NOON, Client, Clock, blob, session, world

from local.tenant import Fault, Limits, World

Serve = Callable[..., Client]


def test_a_status_with_headers_as_often_as_scripted(serve: Serve) -> None:
    client = serve(world())
    client.tenant.faults.add(
        Fault("dataverse", path_contains="WhoAmI", status=429, headers={"Retry-After": "3"}, times=2)
    )
    first = client.get("WhoAmI")
    assert (first.status_code, first.headers["Retry-After"]) == (429, "3")
    assert first.json()["error"]["code"] == "0x80072322"
    assert [client.get("WhoAmI").status_code for _ in range(2)] == [429, 200]
    assert client.tenant.faults.pending == []


def test_faults_choose_their_requests(serve: Serve) -> None:
    client = serve(world())
    faults = client.tenant.faults
    faults.add(Fault("activity", status=500, times=None))
    faults.add(Fault("dataverse", environment="Other", status=500, times=None))
    faults.add(Fault("dataverse", method="POST", status=500, times=None))
    faults.add(Fault("dataverse", path_contains="$select=name", status=503, times=None, first_skip=1))
    assert client.get("WhoAmI").status_code == 200
    assert [client.get("flowsessions?$select=name").status_code for _ in range(3)] == [200, 503, 503]
    assert client.feed("subscriptions/list").json()["error"]["code"] == "AF50000"
    faults.clear()
    assert client.feed("subscriptions/list").status_code == 200


def test_the_first_that_matches_wins(serve: Serve) -> None:
    client = serve(world())
    client.tenant.faults.add(Fault("dataverse", status=500, body=b"first"))
    client.tenant.faults.add(Fault("dataverse", status=502, body=b"second"))
    assert [client.get("WhoAmI").text for _ in range(2)] == ["first", "second"]


def test_a_delay_keeps_the_answer(serve: Serve) -> None:
    client = serve(world())
    client.tenant.faults.add(Fault("dataverse", delay_s=0.2))
    begin = time.monotonic()
    assert client.get("WhoAmI").status_code == 200
    assert time.monotonic() - begin >= 0.2


@pytest.mark.parametrize("fault", [{"cut_after_bytes": 20}, {"wrong_length": 7}])
def test_a_broken_body_is_noticed_and_not_counted_as_served(serve: Serve, fault: dict[str, int]) -> None:
    made = blob(1, NOON - timedelta(hours=1), records=({"Id": "x" * 500},))
    client = serve(world(blobs=(made,)))
    client.tenant.faults.add(Fault("activity", path_contains=made.content_id, **fault))  # pyright: ignore[reportArgumentType]
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.feed(f"audit/{made.content_id}")
    assert client.tenant.truth()["audit"]["blobs"][0]["served"] == 0
    assert client.feed(f"audit/{made.content_id}").status_code == 200
    assert client.tenant.truth()["audit"]["blobs"][0]["served"] == 1


def test_a_body_longer_than_it_claims_arrives_cut(serve: Serve) -> None:
    client = serve(world(session(1, NOON)))
    client.tenant.faults.add(Fault("dataverse", wrong_length=-5))
    with pytest.raises(requests.exceptions.JSONDecodeError):
        client.get("WhoAmI").json()


def test_identity_can_fail(serve: Serve) -> None:
    client = serve(world())
    client.tenant.faults.add(Fault("identity", status=500))
    assert client.ask_token("https://x.example").status_code == 500


def test_too_many_requests_in_a_window(serve: Serve, clock: Clock) -> None:
    client = serve(world(), limits=Limits(dataverse_requests=3))
    answers = [client.get("WhoAmI") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[3].json()["error"]["code"] == "0x80072322"
    assert int(answers[4].headers["Retry-After"]) > int(answers[3].headers["Retry-After"]) >= 300
    clock.advance(seconds=300)
    assert client.get("WhoAmI").status_code == 200


def test_too_many_requests_at_a_time(serve: Serve) -> None:
    client = serve(world(), limits=Limits(dataverse_concurrent=2), latency_s=0.3)
    client.token(client.tenant.environments[0].url)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: client.get("WhoAmI"), range(6)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.json()["error"]["code"] for answer in refused} == {"0x80072326"}
    assert len(refused) == 4


def test_requests_are_recorded(serve: Serve) -> None:
    client = serve(world())
    client.tenant.faults.add(Fault("dataverse", status=503))
    client.get("flowsessions?$top=1", **{"X-Test": "yes"})
    record = client.tenant.requests[-1]
    assert (record.service, record.environment, record.method, record.status) == ("dataverse", "Test", "GET", 503)
    assert record.path == "/api/data/v9.2/flowsessions?$top=1"
    assert record.audience == client.tenant.environments[0].url
    assert record.authorization.startswith("Bearer ")
    assert record.headers["x-test"] == "yes"
    assert record.when == NOON
    assert [each.service for each in client.tenant.requests] == ["identity", "dataverse"]
    client.tenant.requests.clear()
    assert len(client.tenant.requests) == 0


def test_another_world_needs_the_same_environments(serve: Serve) -> None:
    client = serve(world())
    with pytest.raises(ValueError, match="same names"):
        client.tenant.world = World(())
