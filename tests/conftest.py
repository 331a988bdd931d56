"""What all tests share: a clock that only moves when told to, settings that are right, and one Azurite."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
from support import FakeClock, settings_with

from local.azurite import Azurite, install_azurite
from shared.settings import Settings

# how long an example takes says nothing on a machine that has other things to do
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

ACCOUNTS = tuple(f"account{number:04d}" for number in range(150))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def settings() -> Settings:
    return settings_with()


@pytest.fixture(scope="module")
def azurite() -> Iterator[Azurite]:
    """A storage emulator for each file of tests: it becomes slower with everything that it ever held."""
    install_azurite()
    with Azurite(accounts=ACCOUNTS) as running:
        yield running


@pytest.fixture(scope="module")
def _unused_accounts() -> Iterator[str]:
    return iter(ACCOUNTS[1:])


@pytest.fixture
def account(azurite: Azurite, _unused_accounts: Iterator[str]) -> str:
    """The connection string of a storage account that no other test uses."""
    return azurite.connection_string_of(next(_unused_accounts))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say at how many effects harm was done to the app, and that there are longer tests."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    for harm, count in (value for report in reports for name, value in report.user_properties if name == "harmed"):
        terminalreporter.write_line(f"The app {harm} one of its effects {count} times")
    if config.option.markexpr == "not soak":
        terminalreporter.write_line("The long tests are left to python3 dev.py soak")
