"""Every error code of the activity feed over real HTTP: what the app does about it, and that nothing is lost."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from integration.stage import ANCHOR, Stage, on_stage
from integration.test_audit_content import a_blob, collected, ledger, states, world_of
from local.tenant import ContentBlob, Fault, Limits
from shared.errors import SourcesFailed
from shared.net.policy import ACTIVITY, STATUSES, Act

BLOBS = ["0", "1", "2"]
LIST, START, CONTENT, BLOB = "subscriptions/list", "subscriptions/start", "subscriptions/content", "/audit/"
LONG_CODE = "StartSubscription [CorrId=5f] failed. Exception: DataServiceException: Tenant 5f does not exist."
HTTP_STATUS = {"af10001": 401, "af20050": 404, "af429": 403, "af50000": 500, "af50005": 500, "af50006": 500}
PLACES = {
    "af10001": (LIST, CONTENT, BLOB),
    "af20001": (START, CONTENT, BLOB),
    "af20002": (START, CONTENT, BLOB),
    "af20003": (START,),
    "af20010": (LIST, START, CONTENT, BLOB),
    "af20011": (LIST, START, CONTENT, BLOB),
    "af20012": (LIST, START, CONTENT, BLOB),
    "af20013": (LIST, START, CONTENT, BLOB),
    "af20020": (START, CONTENT),
    "af20021": (START,),
    "af20022": (CONTENT,),
    "af20023": (CONTENT,),
    "af20024": (START,),
    "af20030": (CONTENT,),
    "af20031": ("nextPage",),
    "af20050": (BLOB,),
    "af20051": (BLOB,),
    "af20052": (BLOB,),
    "af20053": (LIST,),
    "af20054": (LIST,),
    "af20055": (CONTENT,),
    "af429": (LIST, START, CONTENT, BLOB),
    "af50000": (LIST, START, CONTENT, BLOB),
    "af50005": (CONTENT, BLOB),
    "af50006": (CONTENT, BLOB),
    "startsubscription": (START,),
}
"""Where each code comes from; a code of the policy that is missing here fails the first test."""

CASES = [(code, place) for code, places in PLACES.items() for place in places]


def acting(act: Act) -> list[tuple[str, str]]:
    return [(code, place) for code, place in CASES if ACTIVITY.by_code[code].act is act]


def answer(code: str, place: str, times: int | None = None, contains: str = "") -> Fault:
    shown = LONG_CODE if code == "startsubscription" else code.upper()
    body = json.dumps({"error": {"code": shown, "message": "made up"}}).encode()
    status = HTTP_STATUS.get(code, 400)
    return Fault("activity", path_contains=contains or place, times=times, status=status, body=body)


def staged(account: str, place: str) -> AbstractContextManager[Stage]:
    """Three blobs, two on a page; no subscription yet where it is the start that fails."""
    world = world_of(*[a_blob(number) for number in range(3)])
    world = replace(world, subscriptions={}) if place == START else world
    return on_stage(world, account, limits=Limits(listing_page_size=2))


def comes_in_the_end(stage: Stage) -> None:
    """Without the fault everything is there after a while, each blob once, and no gap was told."""
    stage.tenant.faults.clear()
    stage.clock.advance(minutes=70)
    assert collected(stage) == BLOBS
    assert states(stage) == {"done": 3}
    assert not list(stage.app.journal.gaps())


def test_every_code_of_the_policy_is_tried() -> None:
    assert set(PLACES) == set(ACTIVITY.by_code)


@pytest.mark.parametrize("place", [LIST, START, CONTENT, BLOB])
def test_what_an_administrator_must_change_is_said_and_costs_nothing(account: str, place: str) -> None:
    with staged(account, place) as stage:
        for code in [code for code, where in acting(Act.STOP) if where == place]:
            stage.tenant.faults.add(answer(code, place))
            with pytest.raises(SourcesFailed) as caught:
                stage.run("poll_audit_content")
            assert ACTIVITY.by_code[code].advice in str(caught.value), code
            stage.tenant.faults.clear()
            stage.clock.advance(minutes=70)
        comes_in_the_end(stage)


@pytest.mark.parametrize(("code", "place"), acting(Act.RETRY))
def test_what_may_pass_is_tried_again(account: str, code: str, place: str) -> None:
    with staged(account, place) as stage:
        stage.tenant.faults.add(answer(code, place, times=2))
        assert collected(stage) == BLOBS
        assert not stage.tenant.faults.pending
        comes_in_the_end(stage)


@pytest.mark.parametrize(("code", "place"), acting(Act.THROTTLE))
def test_throttling_is_waited_for_by_all(account: str, code: str, place: str) -> None:
    with staged(account, place) as stage:
        before = stage.clock.at
        stage.tenant.faults.add(answer(code, place, times=2))
        assert collected(stage) == BLOBS
        assert stage.clock.at - before >= timedelta(seconds=15)
        assert {entry.attempts for entry in ledger(stage)} == {1}
        comes_in_the_end(stage)


@pytest.mark.parametrize(("code", "place"), acting(Act.RESTART))
def test_a_listing_that_is_broken_off_starts_again(account: str, code: str, place: str) -> None:
    with staged(account, place) as stage:
        stage.tenant.faults.add(answer(code, place, times=2))
        assert collected(stage) == BLOBS
        assert not stage.tenant.faults.pending
        comes_in_the_end(stage)


@pytest.mark.parametrize(("code", "place"), acting(Act.RESTART))
def test_a_listing_that_stays_broken_is_no_silent_success(account: str, code: str, place: str) -> None:
    with staged(account, place) as stage:
        stage.run("poll_audit_content")
        late = a_blob(3, created=ANCHOR + timedelta(minutes=1))
        more = tuple(a_blob(number, created=late.created) for number in (3, 4, 5))
        stage.tenant.world = replace(stage.tenant.world, blobs=(*stage.tenant.world.blobs, *more))
        stage.clock.advance(minutes=20)
        stage.tenant.faults.add(answer(code, place))
        with pytest.raises(SourcesFailed):
            stage.run("poll_audit_content")
        stage.tenant.faults.clear()
        stage.clock.advance(minutes=20)
        assert collected(stage) == [*BLOBS, "3", "4", "5"]
        assert not list(stage.app.journal.gaps())


@pytest.mark.parametrize(("code", "place"), acting(Act.SUBSCRIBE))
def test_a_feed_that_is_off_in_spite_of_its_subscription_is_started(account: str, code: str, place: str) -> None:
    with staged(account, place) as stage:
        stage.tenant.faults.add(answer(code, place, times=1))
        stage.run("poll_audit_content")
        assert [r.method for r in stage.tenant.requests if START in r.path] == ["POST"]
        comes_in_the_end(stage)


@pytest.mark.parametrize(("code", "place"), acting(Act.ACCEPT))
def test_a_subscription_that_is_on_already_is_fine(account: str, code: str, place: str) -> None:
    with staged(account, place) as stage:
        body = b"[]"
        stage.tenant.world = replace(stage.tenant.world, subscriptions={"Audit.General": True})
        stage.tenant.faults.add(Fault("activity", path_contains=LIST, times=2, status=200, body=body))
        stage.tenant.faults.add(answer(code, place))
        assert collected(stage) == BLOBS
        assert any(START in request.path for request in stage.tenant.requests)
        comes_in_the_end(stage)


@pytest.mark.parametrize("code", ["af20051", "af20052"])
def test_what_is_gone_for_good_is_a_gap_at_once(account: str, code: str) -> None:
    with staged(account, BLOB) as stage:
        blob = stage.tenant.world.blobs[0]
        stage.tenant.faults.add(answer(code, BLOB, contains=blob.content_id[:23]))
        assert collected(stage) == ["1", "2"]
        assert states(stage) == {"lost": 1, "done": 2}
        (gap,) = stage.app.journal.gaps()
        assert gap.subject == blob.content_id
        assert gap.from_utc <= blob.created <= gap.to_utc + timedelta(milliseconds=1)
        assert code.upper() in gap.reason


def test_what_is_not_found_is_looked_for_a_day_long(account: str) -> None:
    with staged(account, BLOB) as stage:
        blob = stage.tenant.world.blobs[0]
        stage.tenant.faults.add(answer("af20050", BLOB, contains=blob.content_id[:23]))
        for _ in range(7):
            assert collected(stage) == ["1", "2"]
            assert states(stage) == {"pending": 1, "done": 2}
            stage.clock.advance(hours=3)
        comes_in_the_end(stage)


def test_what_is_not_found_after_a_day_is_lost(account: str) -> None:
    with staged(account, BLOB) as stage:
        blob = stage.tenant.world.blobs[0]
        stage.tenant.faults.add(answer("af20050", BLOB, contains=blob.content_id[:23]))
        for _ in range(6):
            stage.run("poll_audit_content")
            stage.clock.advance(hours=6)
        assert states(stage) == {"lost": 1, "done": 2}
        assert [gap.subject for gap in stage.app.journal.gaps()] == [blob.content_id]


def test_a_day_without_answers_is_no_day_of_not_finding(account: str) -> None:
    with staged(account, BLOB) as stage:
        blob = stage.tenant.world.blobs[0]
        one = blob.content_id[:23]
        stage.tenant.faults.add(Fault("activity", path_contains=one, times=None, status=503))
        for _ in range(9):
            stage.run("poll_audit_content")
            stage.clock.advance(hours=3)
        stage.tenant.faults.clear()
        stage.tenant.faults.add(answer("af20050", BLOB, contains=one))
        stage.run("poll_audit_content")
        assert states(stage) == {"pending": 1, "done": 2}
        comes_in_the_end(stage)


@pytest.mark.parametrize("code", ["af20022", "af20023"])
def test_a_blob_refused_for_want_of_a_subscription_is_not_given_up(account: str, code: str) -> None:
    with staged(account, BLOB) as stage:
        stage.tenant.faults.add(answer(code, BLOB))
        for _ in range(10):
            stage.run("poll_audit_content")
            stage.clock.advance(hours=4)
        assert states(stage) == {"pending": 3}
        assert not list(stage.app.journal.gaps())
        comes_in_the_end(stage)


def test_many_blobs_that_are_refused_keep_no_other_one_waiting_for_long(account: str) -> None:
    """Those that were refused come first again and again."""
    with staged(account, BLOB) as stage:
        earlier = ANCHOR - timedelta(hours=2)
        refused = [a_blob(number, created=earlier) for number in range(300)]
        stage.tenant.world = world_of(*refused, a_blob(1), a_blob(2))
        stage.tenant.faults.add(answer("af20002", BLOB, contains=f"/audit/{earlier:%Y%m%d%H%M%S}"))
        for _ in range(3):
            with suppress(SourcesFailed):
                stage.run("poll_audit_content")
            stage.clock.advance(minutes=15)
        assert states(stage) == {"pending": 300, "done": 2}


@pytest.mark.parametrize("place", [CONTENT, BLOB])
def test_an_answer_without_a_code_loses_nothing(account: str, place: str) -> None:
    with staged(account, place) as stage:
        blobs: list[ContentBlob] = []
        for number, status in enumerate(sorted(STATUSES)):
            blobs.append(a_blob(number, created=stage.clock.at - timedelta(minutes=1)))
            stage.tenant.world = world_of(*blobs)
            body = b"<html>sorry</html>"
            stage.tenant.faults.add(Fault("activity", path_contains=place, times=6, status=status, body=body))
            with suppress(SourcesFailed):  # some of them are failures, none is a loss
                stage.run("poll_audit_content")
            assert len(stage.tenant.faults.pending) <= 1, status
            stage.tenant.faults.clear()
            stage.clock.advance(minutes=70)
        stage.run("poll_audit_content")
        assert states(stage) == {"done": len(STATUSES)}
        assert not list(stage.app.journal.gaps())


@pytest.mark.parametrize("place", [LIST, CONTENT, BLOB])
def test_an_answer_that_breaks_off_is_asked_for_again(account: str, place: str) -> None:
    with staged(account, place) as stage:
        stage.tenant.faults.add(Fault("activity", path_contains=place, times=2, cut_after_bytes=5))
        assert collected(stage) == BLOBS
        comes_in_the_end(stage)


@pytest.mark.parametrize("place", [LIST, CONTENT, BLOB])
def test_a_token_that_ends_in_the_middle_is_renewed(account: str, place: str) -> None:
    with staged(account, place) as stage:
        stage.tenant.faults.add(Fault("activity", path_contains=place, times=1, status=401, body=b""))
        assert collected(stage) == BLOBS
        assert not stage.tenant.faults.pending
        comes_in_the_end(stage)


def test_one_blob_that_is_refused_keeps_no_other_one_waiting(account: str) -> None:
    with staged(account, BLOB) as stage:
        blob = stage.tenant.world.blobs[0]
        stage.tenant.faults.add(answer("af20002", BLOB, contains=blob.content_id[:23]))
        with pytest.raises(SourcesFailed):
            stage.run("poll_audit_content")
        assert states(stage) == {"pending": 1, "done": 2}
        comes_in_the_end(stage)


def test_blobs_that_wait_are_fetched_while_the_listing_fails(account: str) -> None:
    with staged(account, BLOB) as stage:
        stage.tenant.faults.add(Fault("activity", path_contains=BLOB, times=None, status=503))
        stage.run("poll_audit_content")
        assert states(stage) == {"pending": 3}
        stage.tenant.faults.clear()
        stage.tenant.faults.add(Fault("activity", path_contains="subscriptions", times=None, status=500))
        stage.clock.advance(minutes=20)
        with pytest.raises(SourcesFailed):
            stage.run("poll_audit_content")
        assert states(stage) == {"done": 3}
