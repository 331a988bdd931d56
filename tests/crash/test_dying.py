"""Dying at every effect that the app has outside: what is published comes out the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crash.lives import Harm
from crash.proof import Proof, Trial
from shared.state.names import Queue, StateTable

FUNCTIONS = {
    "poll_flow_sessions",
    "decode_additional_context",
    "poll_audit_content",
    "sync_inventory",
    "publish",
    "publish_day",
    "reconcile",
    "health and status",
}
KINDS = {"action log unreadable", "content blob lost", "runs deleted at the source", "runs taken late"}


def test_the_scenario_has_everything_in_it(proof: Proof) -> None:
    assert {turn.name for turn in proof.scenario.turns} == FUNCTIONS
    runs = proof.read["fact_flow_session"]
    assert {row["log_version"] for row in runs} == {"v1", "v2"}
    assert {row["log_status"] for row in runs} == {"loaded", "unreadable"}
    assert sum(row["deleted_at_source_utc"] is not None for row in runs) == 2
    assert {kind for row in proof.read["fact_gap"] for kind in row["kind"].split(", ")} == KINDS
    ledger = proof.stand.account.tables.tables[StateTable.AUDIT_CONTENT].values()
    assert sorted(entity.value("status") for entity in ledger) == ["done", "done", "done", "lost"]
    assert all(proof.read.values())
    assert not any(proof.stand.account.queues.queues.get(queue.poison) for queue in Queue)


def test_dying_between_any_two_changes(differences: Callable[[Trial], list[str]]) -> None:
    """Before each change, which is the same as after the one before it: reading leaves nothing behind."""
    assert differences(Trial(Harm.BEFORE)) == []


@pytest.mark.soak
@pytest.mark.parametrize("harm", [Harm.BEFORE, Harm.AFTER])
def test_dying_at_any_effect_played_to_the_end(differences: Callable[[Trial], list[str]], harm: Harm) -> None:
    """At reads too, and with nothing taken for granted: eleven minutes pass, then all turns are played."""
    assert differences(Trial(harm, reads=True, to_the_end=True)) == []
