"""The undisturbed run of the scenario, and what becomes of it when harm is done somewhere on the way."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

import pyarrow.parquet as pq
from integration.stage import ANCHOR

from crash.lives import Died, Effect, Harm, Life
from crash.memory_tables import Entity
from crash.scenario import Scenario, Turn
from crash.stand import Account, Stand, StillClock
from shared.schema import TABLES
from shared.state.names import FORGOTTEN, Container, Queue

OF_THE_CLOCK = {"noticed_utc", "ingested_utc", "updated_utc", "deleted_at_source_utc"}
OF_THE_APP = "fact_ingest"  # what ran, and how often
OF_A_RUN = frozenset({"rows_read", "rows_written", "rows_failed", "status", "error", "note", "window_from_utc"})
OF_THE_LIST = frozenset({"since_utc"})  # by the clock of whoever has somebody forgotten
PSEUDONYM = re.compile(rf"{FORGOTTEN}\w+")
PARQUET, GZIP = b"PAR1", b"\x1f\x8b"
MOST_MESSAGES = 500
OVERTAKEN = "was overtaken before"


@dataclass(frozen=True, eq=False)
class Contents:
    """What an account holds, without the ids and ETags that storage makes up, and what the app says of itself.

    Where it is the same as in the undisturbed run at the same instant, what comes after is the same too: nothing
    else outlasts a process.
    """

    entities: Mapping[Any, str]
    messages: Counter[Any]
    blobs: Mapping[str, bytes]

    @classmethod
    def of(cls, account: Account) -> Contents:
        return cls(_entities(account), _messages(account), _blobs(account))

    def is_as(self, other: Contents) -> bool:
        return (
            (self.entities, self.messages) == (other.entities, other.messages)
            and self.blobs.keys() == other.blobs.keys()
            and all(same(content, other.blobs[name]) for name, content in self.blobs.items())
        )


def same(one: bytes, other: bytes) -> bool:
    """Whether two blobs are the same, or hold the same rows in another order, whatever a person's pseudonym is."""
    return one == other or _lines(one) == _lines(other)


def _lines(content: bytes) -> list[str]:
    if content.startswith(PARQUET):
        return sorted(plain(repr(row)) for row in _rows(content))
    text = gzip.decompress(content) if content.startswith(GZIP) else content
    return plain(text.decode("utf-8", "backslashreplace")).splitlines()


def plain(text: str) -> str:
    """The same for every pseudonym that was made up."""
    return PSEUDONYM.sub(FORGOTTEN, text)


def _rows(content: bytes) -> list[dict[str, Any]]:
    return pq.read_table(io.BytesIO(content)).to_pylist()


def _entities(account: Account) -> dict[Any, str]:
    return {
        (table, *key): _as_text(entity, _without(table, key[0]))
        for table, entities in account.tables.tables.items()
        for key, entity in entities.items()
        if key[0] != "heartbeat"
    }


def _without(table: str, partition: str) -> frozenset[str]:
    return OF_A_RUN if table == "ingestlog" else OF_THE_LIST if partition == "forgotten" else frozenset()


@lru_cache(20_000)
def _as_text(entity: Entity, without: frozenset[str]) -> str:
    """Kept, for most entities are the same from one trial to the next; an entity is replaced, never changed."""
    told = {name: value for name, value in entity.properties.items() if name.partition("@")[0] not in without}
    return plain(json.dumps(told, sort_keys=True))


def _messages(account: Account) -> Counter[Any]:
    """How many there are of each; since when one can be seen makes no difference."""
    queues, now = account.queues.queues.items(), account.queues.now()
    return Counter(
        (queue, one.text, max(one.visible, now)) for queue, messages in queues for one in messages.values()
    )


def _blobs(account: Account) -> dict[str, bytes]:
    return {
        f"{container}/{name}": blob.content
        for container, blobs in account.blobs.containers.items()
        for name, blob in blobs.items()
        if not name.startswith((f"{OF_THE_APP}/", "locks/"))
    }


def published(files: Mapping[str, bytes]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each published table out of its files."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES if name != OF_THE_APP}
    for name, content in files.items():
        found.get(name.partition("/")[0], []).extend(_rows(content))
    return found


def told(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Rows as text, in order; of what is the clock's only whether it is there."""
    return sorted(
        plain(
            repr(
                [
                    (name, value is not None if name in OF_THE_CLOCK else value)
                    for name, value in sorted(row.items())
                ]
            )
        )
        for row in rows
    )


@dataclass(frozen=True)
class Invocation:
    """One run of a function in the undisturbed run, with what was before and after it."""

    turn: int
    function: str
    before: tuple[Any, ...]
    effects: tuple[Effect, ...]
    after: Contents


@dataclass(frozen=True)
class Trial:
    """Harm at every effect that changes something, or being overtaken before it where there is no `harm`.

    `step` takes only one in so many, `function` those of one function only, `reads` those as well that change
    nothing; `to_the_end` plays the whole scenario each time.
    """

    harm: Harm | None
    step: int = 1
    function: str = ""
    reads: bool = False
    to_the_end: bool = False


@dataclass
class Proof:
    """Plays the scenario once undisturbed, then again from before one invocation, with harm done to it."""

    scenario: Scenario
    stand: Stand
    invocations: list[Invocation] = field(default_factory=list[Invocation])
    ends: dict[int, Contents] = field(default_factory=dict[int, Contents])
    expected: dict[str, list[str]] = field(default_factory=dict[str, "list[str]"])
    read: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, "list[dict[str, Any]]"])
    to_the_end: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stand.tenant.stop()

    def record(self) -> None:
        for number, turn in enumerate(self.scenario.schedule):
            self._set_clock(turn)
            while self._record(number, turn) and turn.is_queue:
                pass
            self.ends[number] = Contents.of(self.stand.account)
        self.read = published(self.stand.account.published())
        self.expected = {table: told(rows) for table, rows in self.read.items()}

    def _record(self, number: int, turn: Turn) -> object:
        before, life = self.stand.snapshot(), Life()
        process = self.stand.process(life, turn.settings)
        more = turn.run(process)
        assert not process.failures, process.failures
        after = Contents.of(self.stand.account)
        self.invocations.append(Invocation(number, turn.name, before, tuple(life.effects), after))
        return more

    def harm(self, invocation: Invocation, harm: Harm, number: int) -> list[str]:
        """Do harm at one effect of an invocation, let everything run on, and return what differs in the end."""
        self.stand.restore(invocation.before)
        life = Life(harm, number)
        turn = self.scenario.schedule[invocation.turn]
        with suppress(Died):
            turn.run(self.stand.process(life, turn.settings))
        assert life.harmed, f"{invocation.function} has no effect {number} this time"
        return self.let_run_on(invocation)

    def meanwhile(self, invocation: Invocation, number: int) -> list[str]:
        """Stop before one effect until another process has done the same work, and return what differs in the end.

        The other one gets the same message, and a lease that is held in its way has run out.
        """
        self.stand.restore(invocation.before)
        turn = self.scenario.schedule[invocation.turn]

        def let_the_other_run(now: int, _effect: Effect) -> None:
            if now == number:
                self.stand.account.let_time_pass()
                turn.run(self.stand.process(settings=turn.settings))

        life = Life(number=number, at_gate=let_the_other_run)
        turn.run(self.stand.process(life, turn.settings))
        assert life.harmed, f"{invocation.function} has no effect {number} this time"
        return self.let_run_on(invocation)

    def tried(self, trial: Trial) -> tuple[int, list[str]]:
        """Go through with a trial; return at how many effects, and all that came out different."""
        self.to_the_end = trial.to_the_end
        points = [
            (invocation, number, effect)
            for invocation in self.invocations
            if self.scenario.is_harmed(invocation.turn) and trial.function in ("", invocation.function)
            for number, effect in enumerate(invocation.effects, 1)
            if trial.reads or effect.changes
        ][:: trial.step]
        found = [told for point in points for told in self._told(trial.harm, *point)]
        return len(points), found

    def _told(self, harm: Harm | None, invocation: Invocation, number: int, effect: Effect) -> Iterator[str]:
        found = self.harm(invocation, harm, number) if harm else self.meanwhile(invocation, number)
        for difference in found:
            yield f"{invocation.function} {harm or OVERTAKEN} its effect {number}, {effect}: {difference}"

    def let_run_on(self, invocation: Invocation) -> list[str]:
        """Give the function its next turn, then the others theirs, until all is as in the undisturbed run."""
        self.stand.account.let_time_pass()
        if self.to_the_end:
            self.stand.clock.advance(minutes=11)
        elif self._is_as(invocation.after):
            return []
        self._take_turn(self.scenario.schedule[invocation.turn], once=True)
        if self._is_as(invocation.after):
            return []
        for number, turn in list(enumerate(self.scenario.schedule))[invocation.turn :]:
            self._set_clock(turn)
            if turn.is_queue or number > invocation.turn:
                self._take_turn(turn)
            if self._is_as(self.ends[number]):
                return []
        return list(self._differences())

    def _take_turn(self, turn: Turn, *, once: bool = False) -> None:
        process = self.stand.process(settings=turn.settings)
        for _ in range(MOST_MESSAGES):
            if not turn.run(process) or not turn.is_queue or once:
                return
        raise AssertionError(f"{turn.name} never ends")

    def _set_clock(self, turn: Turn) -> None:
        self.stand.clock.at = max(self.stand.clock.at, ANCHOR + turn.at)

    def _is_as(self, other: Contents) -> bool:
        return not self.to_the_end and Contents.of(self.stand.account).is_as(other)

    def _differences(self) -> Iterator[str]:
        tables = published(self.stand.account.published())
        if len(names := set(PSEUDONYM.findall(repr(tables)))) > 1:
            yield f"one person has several names: {', '.join(sorted(names))}"
        for table, rows in tables.items():
            found, wanted = Counter(told(rows)), Counter(self.expected[table])
            yield from (f"{table} lacks {row}" for row in (wanted - found).elements())
            yield from (f"{table} has {row}" for row in (found - wanted).elements())
        queues = self.stand.account.queues.queues
        yield from (f"{queue.poison} has messages" for queue in Queue if queues.get(queue.poison))
        staged = (name for name in self.stand.account.blobs.containers[Container.STAGING] if "lock" not in name)
        yield from (f"{name} stays staged" for name in staged if not name.startswith(OF_THE_APP))


def proof_of(scenario: Scenario) -> Proof:
    """The scenario, played undisturbed; to be used within `one_after_another`."""
    stand = Stand(scenario.world(), StillClock(ANCHOR))
    scenario.prepare(stand.tenant)
    proof = Proof(scenario, stand)
    proof.record()
    return proof
