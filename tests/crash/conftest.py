"""The undisturbed run that the trials start from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from crash.lives import one_after_another
from crash.proof import OVERTAKEN, Proof, Trial, proof_of
from crash.scenario import A_DAY_AND_A_HALF, Scenario

SHOWN = 5


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """The one that most trials are made in."""
    return A_DAY_AND_A_HALF


@pytest.fixture(scope="module")
def proof(scenario: Scenario) -> Iterator[Proof]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # thousands of invocations tell of the harm that is done to them
    with one_after_another(), proof_of(scenario) as made:
        yield made
    logging.disable(before)


@pytest.fixture
def differences(proof: Proof, record_property: Callable[[str, object], None]) -> Callable[[Trial], list[str]]:
    """The first differences that a trial makes; how often harm was done goes into the last lines of the run."""

    def made_by(trial: Trial) -> list[str]:
        count, found = proof.tried(trial)
        record_property("harmed", [str(trial.harm or OVERTAKEN), count])
        return found[:SHOWN]

    return made_by
