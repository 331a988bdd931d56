"""What stands around the app on a desk: what is given is used, and only what is not is started here."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from local.azurite import Azurite
from local.cli_identity import CliIdentity
from local.tenant import Tenant, World, generate

ROOT = Path(__file__).resolve().parents[1]
LOCAL = ROOT / ".local"
STORAGE = "DataStorage"


class DeskError(RuntimeError):
    """The desk can't be set up as it is; the message says what to do."""


@dataclass(frozen=True)
class Scene:
    """The world of a simulated tenant, kept in a file so that it is the same one the next time."""

    seed: int = 7
    anchor: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    environments: int = 3
    runs: int = 150
    blobs: int = 80
    records: int = 250
    live_s: int = 20
    ports: tuple[int, ...] = ()

    def world(self) -> World:
        return generate(
            seed=self.seed,
            anchor=self.anchor,
            environments=self.environments,
            sessions_per_environment=self.runs,
            blobs=self.blobs,
            events_per_blob=self.records,
            history_days=5,
            live_s=self.live_s,
        )

    def save(self, path: Path, tenant: Tenant) -> None:
        values = {**self.__dict__, "anchor": self.anchor.isoformat(), "ports": tenant.ports}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values, indent=2), "utf-8")

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """The kept scene; `None` where none is, or one that this version can't read."""
        try:
            values = json.loads(path.read_text("utf-8"))
            anchor = datetime.fromisoformat(values.pop("anchor"))
            return cls(**{**values, "anchor": anchor, "ports": tuple(values["ports"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None


def shown(path: Path) -> str:
    """A path as a person wants it: from the project's folder on, where it lies in it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def given_settings(app_dir: Path = ROOT) -> dict[str, str]:
    """The app settings of `local.settings.json`, under those of the process."""
    path = app_dir / "local.settings.json"
    values: Mapping[str, Any] = json.loads(path.read_text("utf-8-sig")).get("Values", {}) if path.is_file() else {}
    return {**{name: str(value) for name, value in values.items()}, **os.environ}


class Desk:
    """A context manager: `settings` are the app settings that lead to whatever was started or given."""

    def __init__(self, folder: Path, given: Mapping[str, str], scene: Scene | None = None) -> None:
        self.folder = folder
        self.given = given
        self.scene = scene or Scene.load(folder / "scene.json") or Scene()
        self.settings: dict[str, str] = {}
        self.started: list[str] = []
        self.tenant: Tenant | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._storage()
            if self._is_given("ENVIRONMENTS"):
                self._identity()
            else:
                self._simulated_tenant()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def _is_given(self, name: str) -> bool:
        return bool(self.given.get(name, "").strip())

    def _storage(self) -> None:
        if any(name.split("__")[0] == STORAGE and self._is_given(name) for name in self.given):
            return
        azurite = self._stack.enter_context(Azurite(self.folder / "azurite"))
        self.settings |= azurite.app_settings(STORAGE)
        self.started.append(f"Azurite, data in {shown(self.folder / 'azurite')}")

    def _simulated_tenant(self) -> None:
        tenant = self._stack.enter_context(Tenant(self.scene.world(), ports=self.scene.ports))
        self.scene.save(self.folder / "scene.json", tenant)
        self.tenant = tenant
        self.settings |= tenant.app_settings()
        names = ", ".join(environment.name for environment in tenant.environments)
        self.started.append(f"a simulated tenant with the environments {names}")

    def _identity(self) -> None:
        """Real environments want real tokens: from the identity endpoint given, else from the Azure CLI."""
        if self._is_given("IDENTITY_ENDPOINT"):
            return
        if shutil.which("az") is None:
            raise DeskError(
                "ENVIRONMENTS is set, so tokens are needed that they accept: install the Azure CLI and run "
                "'az login', or set IDENTITY_ENDPOINT and IDENTITY_HEADER."
            )
        identity = self._stack.enter_context(CliIdentity())
        self.settings |= identity.app_settings()
        self.started.append("an identity endpoint that hands out the tokens of 'az login'")
