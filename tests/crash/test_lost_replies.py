"""The effect has happened, and its reply is lost: what is published comes out the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crash.lives import Harm
from crash.proof import Trial

STEP = 4


def test_a_change_whose_reply_is_lost(differences: Callable[[Trial], list[str]]) -> None:
    """The SDK may do it again."""
    assert differences(Trial(Harm.LOST)) == []


def test_a_change_whose_reply_never_comes(differences: Callable[[Trial], list[str]]) -> None:
    """The SDK gives up, and the app has to deal with it."""
    assert differences(Trial(Harm.CUT, STEP)) == []


def test_a_decoder_whose_reply_never_comes(differences: Callable[[Trial], list[str]]) -> None:
    """It gives its runs back: the second look at a log stays a second look."""
    assert differences(Trial(Harm.CUT, function="decode_additional_context")) == []


@pytest.mark.soak
@pytest.mark.parametrize("harm", [Harm.LOST, Harm.CUT])
def test_any_reply_lost_played_to_the_end(differences: Callable[[Trial], list[str]], harm: Harm) -> None:
    assert differences(Trial(harm, reads=True, to_the_end=True)) == []
