"""Harm while messages that failed are put back, days are read again, somebody is forgotten and old days go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from integration.stage import run_id

from crash.lives import Harm
from crash.proof import Proof, Trial
from crash.scenario import Scenario
from crash.upkeep import HOPELESS, OLD_RUN, THEIRS, UPKEEP, person
from shared.state.names import FORGOTTEN, Container, Queue

STEP, WIDE_STEP = 3, 12
"""Each trial costs more here than where functions only go their way; `soak` takes them all."""

WORK = (
    ("reconcile", "POST queue /memory/additional-context/"),
    ("reconcile", "DELETE queue /memory/additional-context-poison/"),
    ("reconcile", "DELETE queue /memory/publish-day-poison/"),
    ("reconcile", "PUT blob /memory/raw/unreadable/messages/"),
    ("reconcile", "DELETE blob /memory/powerbi/fact_flow_session/"),
    ("reconcile", "DELETE blob /memory/powerbi/fact_machine_hour/"),
    ("reconcile", "DELETE blob /memory/raw/unreadable/"),
    ("poll_flow_sessions", "PUT table /memory/checkpoints(PartitionKey='replay-runs'"),
    ("poll_flow_sessions", "PUT table /memory/checkpoints(PartitionKey='replay-logs'"),
    ("poll_flow_sessions", "POST queue /memory/additional-context/"),
    ("poll_audit_content", "PUT table /memory/checkpoints(PartitionKey='replay'"),
    ("decode_additional_context", "PUT blob /memory/staging/fact_flow_action/"),
    ("forget", "POST table /memory/checkpoints"),
    ("forget", "PUT blob /memory/powerbi/fact_audit_event/"),
    ("forget", "PUT blob /memory/powerbi/dim_user/"),
    ("forget", "PUT blob /memory/raw/audit/"),
    ("forget", "DELETE blob /memory/raw/unreadable/"),
)
"""What each function is there to do, out of the effects that it has."""


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return UPKEEP


def test_the_scenario_has_everything_in_it(proof: Proof) -> None:
    """What failed is settled; of the old days and the person nothing is left, of the others nothing is lost."""
    runs = {row["session_id"]: row for row in proof.read["fact_flow_session"]}
    assert runs.keys() & {run_id(THEIRS), run_id(HOPELESS), run_id(OLD_RUN)} == {run_id(THEIRS), run_id(HOPELESS)}
    assert runs[run_id(HOPELESS)]["log_status"] == "loaded", (
        "it was given up, and an order to decode it again came"
    )
    assert runs[run_id(THEIRS)]["user_id"].startswith(FORGOTTEN)
    assert str(person(proof.stand.tenant.world)["domainname"]).lower() not in repr(proof.read).lower()
    told = ", ".join(row["kind"] for row in proof.read["fact_gap"])
    assert {*told.split(", ")} == {"action log unreadable", "message unreadable"}
    assert all(proof.read[table] for table in ("fact_flow_action", "fact_audit_event", "fact_machine_hour"))
    assert not any("unreadable/messages" not in name for name in raw(proof) if "unreadable" in name)
    assert not any(proof.stand.account.queues.queues[queue.poison] for queue in Queue)


def test_each_order_is_carried_out(proof: Proof) -> None:
    """Or there would be nothing to disturb."""
    done = {(one.function, str(effect)) for one in proof.invocations for effect in one.effects}
    assert [
        work for work in WORK if not any(work[0] == function and work[1] in effect for function, effect in done)
    ] == []


def raw(proof: Proof) -> set[str]:
    return set(proof.stand.account.blobs.containers[Container.RAW])


def test_dying_between_two_changes(differences: Callable[[Trial], list[str]]) -> None:
    assert differences(Trial(Harm.BEFORE, STEP)) == []


def test_a_change_whose_reply_is_lost(differences: Callable[[Trial], list[str]]) -> None:
    assert differences(Trial(Harm.LOST, WIDE_STEP)) == []


def test_two_that_do_the_same_at_once(differences: Callable[[Trial], list[str]]) -> None:
    assert differences(Trial(None, WIDE_STEP)) == []


@pytest.mark.soak
@pytest.mark.parametrize("harm", [Harm.BEFORE, Harm.AFTER, Harm.LOST, Harm.CUT, None])
def test_harm_at_any_effect_played_to_the_end(
    differences: Callable[[Trial], list[str]], harm: Harm | None
) -> None:
    assert differences(Trial(harm, reads=True, to_the_end=True)) == []
