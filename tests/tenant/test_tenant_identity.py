from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import pytest
from azure.identity import ManagedIdentityCredential
from tenant_support import Client, Clock, session_id, world

from local.tenant import Limits

Serve = Callable[..., Client]


def claims(token: str) -> dict[str, object]:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def test_a_token_says_what_app_service_and_azurite_want(serve: Serve) -> None:
    client = serve(world())
    answer = client.ask_token("https://storage.azure.com/", client_id=client.tenant.client_id).json()
    said = claims(answer["access_token"])
    assert int(answer["expires_on"]) > time.time() + 3600
    assert answer["token_type"] == "Bearer"
    assert answer["client_id"] == client.tenant.client_id
    assert said["aud"] == "https://storage.azure.com"
    assert said["iss"] == f"https://sts.windows.net/{client.tenant.tenant_id}/"
    assert said["appid"] == client.tenant.client_id


def test_azure_identity_gets_a_token_that_dataverse_accepts(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(world())
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        monkeypatch.setenv(name, client.tenant.app_settings()[name])
    origin = client.tenant.environments[0].url
    with ManagedIdentityCredential(client_id=client.tenant.client_id) as credential:
        token = credential.get_token(f"{origin}/.default")
    answer = client.http.get(f"{origin}/api/data/v9.2/WhoAmI", headers={"Authorization": f"Bearer {token.token}"})
    assert answer.status_code == 200
    assert client.tenant.requests[-1].audience == origin


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"header": "WRONG"}, 401),
        ({"client_id": session_id(1)}, 400),
        ({"api-version": "2017-09-01"}, 400),
        ({"resource": ""}, 400),
        ({"mi_res_id": "/subscriptions/x"}, 400),
    ],
)
def test_the_endpoint_refuses(serve: Serve, change: dict[str, str], status: int) -> None:
    client = serve(world())
    asked = {"resource": client.tenant.activity_url, **change}
    assert client.ask_token(**asked).status_code == status


def test_services_refuse_other_tokens(serve: Serve) -> None:
    client = serve(world())
    origin = client.tenant.environments[0].url
    wrong_audience = client.token(client.tenant.activity_url)
    for authorization in (None, "Bearer nonsense", f"Bearer {wrong_audience}", f"Basic {client.token(origin)}"):
        headers = {"Authorization": authorization} if authorization else {}
        answer = client.http.get(f"{origin}/api/data/v9.2/WhoAmI", headers=headers)
        assert answer.status_code == 401
        assert f"resource_id={origin}/" in answer.headers["WWW-Authenticate"]
    headers = {"Authorization": f"Bearer {client.token(origin)}"}
    path = f"/api/v1.0/{client.tenant.tenant_id}/activity/feed/subscriptions/list"
    assert client.http.get(client.tenant.activity_url + path, headers=headers).status_code == 401


def test_a_trailing_slash_of_the_audience_is_ignored(serve: Serve) -> None:
    client = serve(world())
    origin = client.tenant.environments[0].url
    token = client.ask_token(origin + "/").json()["access_token"]
    answer = client.http.get(f"{origin}/api/data/v9.2/WhoAmI", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


def test_tokens_expire_by_the_clock_of_the_tenant(serve: Serve, clock: Clock) -> None:
    client = serve(world(), limits=Limits(token_lifetime_s=3600))
    assert client.get("WhoAmI").status_code == 200
    clock.advance(seconds=3600)
    assert client.get("WhoAmI").status_code == 401


def test_revoked_tokens_are_refused_until_new_ones_are_asked_for(serve: Serve) -> None:
    client = serve(world())
    assert client.get("WhoAmI").status_code == 200
    client.tenant.revoke_tokens()
    assert client.get("WhoAmI").status_code == 401
    client.forget_tokens()
    assert client.get("WhoAmI").status_code == 200
