"""Two that do the same at once, at every effect of one of them: what is published comes out the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crash.proof import Trial

STEP = 4


def test_two_that_do_the_same_at_once(differences: Callable[[Trial], list[str]]) -> None:
    """One waits before a change until the other has done everything: what it has read is out of date then."""
    assert differences(Trial(None, STEP)) == []


@pytest.mark.soak
def test_two_at_once_wherever_one_waits(differences: Callable[[Trial], list[str]]) -> None:
    assert differences(Trial(None, reads=True, to_the_end=True)) == []
