"""The undisturbed run that the trials start from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from crash.lives import one_after_another
from crash.proof import OVERTAKEN, Proof, Trial, the_proof

SHOWN = 5


@pytest.fixture(scope="module")
def proof() -> Iterator[Proof]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # thousands of invocations tell of the harm that is done to them
    with one_after_another(), the_proof() as made:
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
