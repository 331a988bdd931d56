"""Whatever happens in whatever order: the app's memory against a model that is a dict."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from integration.stage import ANCHOR, a_log, a_run, bare_world, run_id, with_runs
from integration.test_action_logs import log_of

from crash.lives import Died, Harm, Life, one_after_another
from crash.proof import published
from crash.stand import Stand, StillClock
from local.tenant import SessionState
from shared.audit.feed import ContentBlob
from shared.dataverse.sessions import LogStatus, Outcome, Session, amended, succeed
from shared.errors import Unreadable
from shared.publishing.parquet import rows_of
from shared.publishing.staging import Destination
from shared.schema import FACT_AUDIT_EVENT, FACT_FLOW_ACTION, FACT_FLOW_SESSION, Table
from shared.state.ledger import LedgerEntry
from shared.state.names import Queue

FEW, MANY = 10, 300
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
WORLD = bare_world()
TYPE = "Audit.General"
RUNNING, SUCCEEDED = 2, 4
runs, numbers = st.integers(1, 4), st.integers(0, 6)


@contextmanager
def quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def check(machine: type[Any], examples: int = FEW, steps: int = 25) -> None:
    limits = hypothesis.settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, phases=[hypothesis.Phase.generate]
    )
    with quiet(), one_after_another():
        run_state_machine_as_test(machine, settings=limits)


class Model(RuleBasedStateMachine):
    """An app on an account of its own, and a clock that goes on at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.stand = Stand(WORLD, StillClock(ANCHOR))
        self.app = self.stand.process().app

    def teardown(self) -> None:
        self.stand.tenant.stop()

    def tick(self) -> datetime:
        self.stand.clock.advance(seconds=1)
        return self.stand.clock.at


def state_of(run: int, number: int, now: datetime) -> Session:
    """The `number`th state of a run: it is opened and ends by turns, each time with another log."""
    ended = number % 2 == 1
    return Session(
        session_id=run_id(run),
        environment_id="environment",
        status_code=SUCCEEDED if ended else RUNNING,
        status="Succeeded" if ended else "Running",
        outcome=Outcome.SUCCEEDED if ended else Outcome.RUNNING,
        created_utc=ANCHOR,
        modified_utc=ANCHOR + number * SECOND,
        start_date=ANCHOR.date(),
        start_hour=12,
        ingested_utc=now,
        version_number=1000 + number,
    )


class RegisterModel(Model):
    """States of runs arrive in any order and again and again; logs are decoded now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.newest: dict[int, int] = {}
        self.loaded: dict[int, bool] = {}
        self.ingested: dict[int, datetime] = {}

    @rule(arriving=st.dictionaries(runs, numbers, min_size=1))
    def states_arrive(self, arriving: dict[int, int]) -> None:
        now = self.tick()
        sessions = [state_of(run, number, now) for run, number in arriving.items()]
        self.app.register.update(sessions, lambda newer, known: succeed(known, newer, now))
        for run, number in arriving.items():
            if number > self.newest.get(run, -1):
                self.loaded[run] = self.loaded.get(run, False) and number % 2 == self.newest[run] % 2 == 1
                self.newest[run] = number

    @rule(run=runs)
    def a_log_is_decoded(self, run: int) -> None:
        now, known = self.tick(), self.known(run)
        if known and known.is_finished:
            self.app.register.update(
                [known], lambda session, state: amended(state or session, now, log_status=LogStatus.LOADED)
            )
            self.loaded[run] = True

    def known(self, run: int) -> Session | None:
        registered = self.app.register.get("environment", ANCHOR.date(), run_id(run))
        return registered.session if registered else None

    @invariant()
    def the_newest_state_holds(self) -> None:
        for run, number in self.newest.items():
            known = self.known(run)
            assert known is not None
            assert known.version_number == 1000 + number
            wanted = None if number % 2 == 0 else LogStatus.LOADED if self.loaded[run] else LogStatus.PENDING
            assert known.log_status == wanted
            assert known.ingested_utc >= self.ingested.get(run, ANCHOR)
            self.ingested[run] = known.ingested_utc


class LedgerModel(Model):
    """Blobs are listed in any order and again, fetched or not, by several at once with what they read earlier."""

    def __init__(self) -> None:
        super().__init__()
        self.status: dict[str, str] = {}
        self.seen: dict[str, LedgerEntry] = {}

    @rule(listed=st.sets(numbers, min_size=1))
    def blobs_are_listed(self, listed: set[int]) -> None:
        blobs = [content_blob(number) for number in listed]
        added = self.app.ledger.add(blobs, self.tick())
        assert added == sum(blob.content_id not in self.status for blob in blobs)
        for blob in blobs:
            self.status.setdefault(blob.content_id, "pending")

    @rule()
    def somebody_looks(self) -> None:
        self.seen = {entry.content_id: entry for entry in self.pending()}

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def one_that_was_seen_is_done(self, data: st.DataObject) -> None:
        entry = self.seen[data.draw(st.sampled_from(sorted(self.seen)))]
        self.app.ledger.done([replace(entry, status="done", done_utc=self.tick())])
        self.status[entry.content_id] = "done"

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def one_that_was_seen_fails(self, data: st.DataObject) -> None:
        """An attempt that failed takes nothing back from one that was quicker."""
        entry = self.seen[data.draw(st.sampled_from(sorted(self.seen)))]
        failed = replace(entry, attempts=entry.attempts + 1, last_error=str(Unreadable("no")))
        self.app.ledger.failed(failed)

    def pending(self) -> list[LedgerEntry]:
        return list(self.app.ledger.pending(TYPE, (ANCHOR - DAY).date()))

    @invariant()
    def what_is_not_done_is_pending_in_order(self) -> None:
        waiting = {content_id for content_id, status in self.status.items() if status == "pending"}
        found = self.pending()
        assert {entry.content_id for entry in found} == waiting
        assert [entry.expires_utc for entry in found] == sorted(entry.expires_utc for entry in found)


def content_blob(number: int) -> ContentBlob:
    created = ANCHOR - number * timedelta(hours=5)
    content_id = f"{created:%Y%m%d%H%M%S}000000000${number}"
    return ContentBlob(content_id, TYPE, f"https://example/{number}", created, created + 7 * DAY)


class PublishingModel(Model):
    """Rows are staged again and again, published, and publishers die anywhere; the winners are always the same."""

    def __init__(self) -> None:
        super().__init__()
        self.events: dict[str, int] = {}
        self.logs: dict[int, int] = {}

    @rule(event=runs, blob=numbers)
    def an_event_comes(self, event: int, blob: int) -> None:
        """In several blobs; the oldest one counts."""
        at = ANCHOR + blob * SECOND
        row = {"event_id": f"{event}", "operation": "o", "created_utc": ANCHOR, "content_created_utc": at}
        row |= {"content_id": f"{blob}", "ingested_utc": self.tick()}
        self.stage(FACT_AUDIT_EVENT, [row], f"{event} {blob}")
        self.events[f"{event}"] = min(blob, self.events.get(f"{event}", blob))

    @rule(run=runs, actions=st.integers(1, 4))
    def a_log_comes(self, run: int, actions: int) -> None:
        """Whole, in place of the one before it."""
        row = {"session_id": run_id(run), "environment_id": "e", "created_utc": ANCHOR}
        self.tick()
        self.stage(FACT_FLOW_ACTION, [{**row, "seq": number} for number in range(actions)], f"{run}")
        self.logs[run] = actions

    def stage(self, table: Table, rows: list[dict[str, Any]], holds: str) -> None:
        self.app.staging.put(Destination(table, ANCHOR.date()), [rows_of(table, rows)], [holds])

    @rule(table=st.sampled_from([FACT_AUDIT_EVENT, FACT_FLOW_ACTION]), number=st.integers(1, 40))
    def a_publisher_dies(self, table: Table, number: int) -> None:
        process = self.stand.process(Life(Harm.BEFORE, number))
        with suppress(Died):
            process.app.publisher.publish(Destination(table, ANCHOR.date()))
        self.stand.account.let_time_pass()

    @rule()
    def all_is_published(self) -> None:
        for table in (FACT_AUDIT_EVENT, FACT_FLOW_ACTION):
            self.app.publisher.publish(Destination(table, ANCHOR.date()))
        tables = published(self.stand.account.published())
        events = {row["event_id"]: int(row["content_id"]) for row in tables["fact_audit_event"]}
        assert events == self.events
        assert len(tables["fact_audit_event"]) == len(events)
        actions = sorted((row["session_id"], row["seq"]) for row in tables["fact_flow_action"])
        assert actions == sorted((run_id(run), seq) for run, count in self.logs.items() for seq in range(count))


class AppModel(Model):
    """Runs begin and end at the tenant while functions are called in any order, and die anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[int, list[SessionState]] = {}
        self.logs: dict[int, int] = {}

    @rule(run=runs, late_s=st.integers(0, 500))
    def a_run_changes(self, run: int, late_s: int) -> None:
        """It begins, ends or is opened again, and shows at once or somewhat later than its change time says."""
        now, before = self.tick(), self.states.get(run, [])
        ended = len(before) % 2 == 1
        created = before[0].values["createdon"] if before else now  # type: ignore[index] - values are eager here
        values = {"createdon": created, "startedon": created, "completedon": now if ended else None, "runmode": 2}
        status = {"statuscode": SUCCEEDED if ended else RUNNING, "additionalcontext": run_id(len(before) + 1)}
        modified = max([now - timedelta(seconds=late_s), *(state.modified_at + SECOND for state in before)])
        state = SessionState(now, modified, 1000 + 10 * run + len(before), {**values, **status})
        self.states[run] = [*before, state]
        self.logs[run] = len(before) + 1
        files = {run: a_log(log_of(count), ANCHOR) for run, count in self.logs.items()}
        sessions = (
            replace(a_run(run, file=files[run]), states=tuple(states)) for run, states in self.states.items()
        )
        self.stand.tenant.world = with_runs(WORLD, *sessions)

    @rule(minutes=st.integers(1, 90))
    def time_passes(self, minutes: int) -> None:
        self.stand.clock.advance(minutes=minutes)
        self.stand.account.let_time_pass()

    @rule(function=st.sampled_from(["poll_flow_sessions", "publish"]), number=st.integers(0, 60))
    def a_timer_comes(self, function: str, number: int) -> None:
        """And dies at that effect, if it has so many."""
        self.tick()
        with suppress(Died):
            self.stand.process(Life(Harm.AFTER, number)).timer(function)
        self.stand.account.let_time_pass()

    @rule(queue=st.sampled_from(list(Queue)), number=st.integers(0, 60))
    def a_message_comes(self, queue: Queue, number: int) -> None:
        self.tick()
        with suppress(Died):
            self.stand.process(Life(Harm.AFTER, number)).message(queue)
        self.stand.account.let_time_pass()

    def teardown(self) -> None:
        """In the end every run is there, in its newest state and with the log of that state."""
        for _ in range(3):
            self.stand.clock.advance(minutes=90)
            self.stand.account.let_time_pass()
            for function in ("poll_flow_sessions", "publish"):
                self.stand.process().timer(function)
                for queue in Queue:
                    while self.stand.process().message(queue):
                        pass
        tables = published(self.stand.account.published())
        rows = {row["session_id"]: row for row in tables[FACT_FLOW_SESSION.name]}
        assert rows.keys() == {run_id(run) for run in self.states}
        for run, states in self.states.items():
            self._is_as(rows[run_id(run)], states, self.logs[run])
        super().teardown()

    def _is_as(self, row: dict[str, Any], states: list[SessionState], actions: int) -> None:
        ended = len(states) % 2 == 0
        assert row["outcome"] == ("Succeeded" if ended else "Running")
        assert row["modified_utc"] == states[-1].modified_at
        assert (
            (row["log_status"], row["action_count"]) == ("loaded", actions)
            if ended
            else (None, row["action_count"])
        )


@pytest.mark.parametrize("machine", [RegisterModel, LedgerModel, PublishingModel])
def test_its_memory_is_that_of_a_dict(machine: type[Model]) -> None:
    check(machine)


def test_the_app_comes_to_the_same_end_whatever_the_order() -> None:
    check(AppModel, examples=8, steps=12)


@pytest.mark.soak
@pytest.mark.parametrize("machine", [RegisterModel, LedgerModel, PublishingModel, AppModel])
def test_models_for_long(machine: type[Model]) -> None:
    check(machine, MANY, 50)
