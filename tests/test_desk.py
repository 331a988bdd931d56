"""The desk uses what is given and starts only what is not; the demo tells the truth about both sides."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ManagedIdentityCredential

from local.bench.cases.publishing import SETTINGS
from local.cli_identity import CliIdentity, token_for
from local.desk import ROOT, Desk, DeskError, Scene, given_settings
from local.reconciliation import Line, Reconciliation, reconcile
from local.start import host_settings
from local.tenant import Tenant
from shared.app import App
from shared.publishing.layout import day_name
from shared.publishing.parquet import rows_of, write_rows
from shared.publishing.staging import Destination
from shared.schema import FACT_FLOW_ACTION
from shared.settings import load_settings
from shared.state.names import Container

SMALL = Scene(environments=1, runs=3, blobs=2, records=10, live_s=1)


def write_settings(folder: Path, **values: str) -> None:
    (folder / "local.settings.json").write_text(json.dumps({"Values": values}), encoding="utf-8")


def test_the_process_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_settings(tmp_path, TENANT_ID="from file", CLOUD="gcc")
    monkeypatch.setenv("TENANT_ID", "from process")
    given = given_settings(tmp_path)
    assert (given["TENANT_ID"], given["CLOUD"]) == ("from process", "gcc")


def test_without_a_file_there_is_only_the_process(tmp_path: Path) -> None:
    assert given_settings(tmp_path) == dict(os.environ)


def test_nothing_given_starts_everything(tmp_path: Path, azurite: object) -> None:
    assert azurite
    with Desk(tmp_path, {}, SMALL) as desk:
        assert set(desk.settings) >= {
            "DataStorage",
            "ENVIRONMENTS",
            "TENANT_ID",
            "IDENTITY_ENDPOINT",
            "IDENTITY_HEADER",
        }
        assert desk.tenant is not None
        assert len(desk.started) == 2
        load_settings(host_settings(desk))


def test_given_storage_and_environments_are_used(tmp_path: Path) -> None:
    given = {
        "DataStorage__blobServiceUri": "https://a.blob.core.windows.net",
        "ENVIRONMENTS": "https://a.crm.dynamics.com",
        "IDENTITY_ENDPOINT": "http://127.0.0.1:1/token",
        "PUBLISH_SCHEDULE": "0 0 * * * *",
    }
    with Desk(tmp_path, given, SMALL) as desk:
        assert (desk.settings, desk.started, desk.tenant) == ({}, [], None)
        settings = host_settings(desk)
        assert settings["PUBLISH_SCHEDULE"] == "0 0 * * * *"
        assert settings["INVENTORY_SCHEDULE"] == "0 0 3 * * *"


def test_real_environments_need_real_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    given = {"DataStorage": "UseDevelopmentStorage=true", "ENVIRONMENTS": "https://a.crm.dynamics.com"}
    with pytest.raises(DeskError, match="az login"), Desk(tmp_path, given, SMALL):
        pass


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An Azure CLI that gives a token for every resource but one."""
    if sys.platform == "win32":
        pytest.skip("the stand-in is a shell script")
    script = tmp_path / "az"
    script.write_text(
        "#!/bin/sh\nfor resource; do :; done\n"
        'if [ "$resource" = "https://forbidden" ]; then echo "ERROR: no access" >&2; exit 1; fi\n'
        'echo "{\\"accessToken\\": \\"token for $resource\\", \\"expires_on\\": 4000000000}"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return script


def test_the_cli_s_tokens_are_handed_out_as_app_service_would(az: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert az
    with CliIdentity() as identity:
        for name, value in identity.app_settings().items():
            monkeypatch.setenv(name, value)
        credential = ManagedIdentityCredential()
        assert (
            credential.get_token("https://a.crm.dynamics.com/.default").token
            == "token for https://a.crm.dynamics.com"
        )
        with pytest.raises(ClientAuthenticationError):
            credential.get_token("https://forbidden/.default")


def test_who_does_not_know_the_header_gets_no_token(az: Path) -> None:
    assert az
    with CliIdentity() as identity:
        endpoint = identity.app_settings()["IDENTITY_ENDPOINT"]
        request = Request(f"{endpoint}?resource=https://a", headers={"X-IDENTITY-HEADER": "guess"})  # noqa: S310
        with pytest.raises(HTTPError) as caught:
            urlopen(request, timeout=5)  # noqa: S310 - our own loopback address
        assert caught.value.code == HTTPStatus.UNAUTHORIZED


def test_a_cli_without_an_answer_gives_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert token_for("https://a")[0] == HTTPStatus.BAD_REQUEST


def test_a_scene_is_the_same_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "scene.json"
    assert Scene.load(path) is None
    with Tenant(SMALL.world()) as tenant:
        SMALL.save(path, tenant)
        ports = tenant.ports
    assert Scene.load(path) == replace(SMALL, ports=tuple(ports))
    with Tenant(SMALL.world(), ports=ports) as again:
        assert again.ports == ports
        with Tenant(SMALL.world(), ports=ports) as beside:
            assert not set(beside.ports) & set(ports)
    path.write_text("{}")
    assert Scene.load(path) is None


def test_what_is_missing_counts_as_lost(account: str) -> None:
    with Tenant(replace(SMALL, anchor=datetime(2026, 5, 19, tzinfo=UTC)).world()) as tenant:
        app = App(load_settings({**tenant.app_settings(), "DataStorage": account}))
        result = reconcile(tenant.truth(), app)
        runs, actions, _, events = result.lines
        assert len(runs.lost) == runs.served > 0
        assert len(actions.lost) == actions.served > 0
        assert len(events.lost) == events.served > 0
        assert result.published == 0


def test_a_hole_in_a_log_and_an_action_that_is_there_twice_are_told(account: str) -> None:
    wanted = {"whole": 3, "hole": 3, "short": 2, "twice": 2, "longer": 1, "none": 0, "absent": 1}
    published = {"whole": (0, 1, 2), "hole": (0, 2), "short": (0,), "twice": (0, 1, 1), "longer": (0, 1)}
    known = {"deleted": False, "completed": True, "log": "v1", "status_code": 4}
    sessions = [{"session_id": name, "actions": count, **known} for name, count in wanted.items()]
    app = App(load_settings({**SETTINGS, "DataStorage": account}))
    place, file = Destination(FACT_FLOW_ACTION, date(2026, 5, 19)), io.BytesIO()
    rows = [{"session_id": name, "seq": seq} for name, seqs in published.items() for seq in seqs]
    write_rows(FACT_FLOW_ACTION, [rows_of(FACT_FLOW_ACTION, rows)], file)
    app.storage.blobs.put(Container.POWERBI, day_name(place), file.getvalue())
    truth = {"environments": [{"sessions": sessions}], "audit": {"blobs": [], "events": []}}
    _, actions, *_ = reconcile(truth, app).lines
    assert actions.lost == (("hole", 1), ("short", 1), ("absent", 0))
    assert (actions.served, actions.published, actions.duplicated) == (12, 11, 1)


def test_sums_of_a_reconciliation() -> None:
    lines = (Line("a", 3, 3, 2, (("x",),), 0), Line("b", 1, 1, 2, (), 1))
    result = Reconciliation(lines)
    assert (result.lost, result.duplicated, result.published) == (1, 1, 4)


def test_the_demo_loses_nothing_and_adds_nothing_the_second_time(tmp_path: Path, azurite: object) -> None:
    assert azurite
    command = [
        sys.executable,
        "-m",
        "local.demo",
        "--folder",
        str(tmp_path / "demo"),
        "--live",
        "0",
        "--runs",
        "20",
    ]
    outputs: list[str] = []
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)  # noqa: S603
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout)
    assert all("Lost 0, duplicated 0." in output for output in outputs)
    assert "Success rate:" in outputs[0]
    assert "New in the published tables since the demo began: 0 rows" in outputs[1]
    assert "New in the published tables since the demo began: 0 rows" not in outputs[0]
    assert list((tmp_path / "demo" / "powerbi" / "fact_flow_session").rglob("*.parquet"))
