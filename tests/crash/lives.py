"""One life of the app's process: every effect it has outside goes through one gate, which may end it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar
from unittest import mock

from azure.core.pipeline.transport import HttpTransport

Result = TypeVar("Result")


class Died(BaseException):
    """The process is gone; no handler of the app's may stop it."""


class Harm(StrEnum):
    BEFORE = "died before"
    AFTER = "died after"
    LOST = "lost the reply of"
    CUT = "asked in vain for the reply of"


@dataclass(frozen=True)
class Effect:
    """Something that the process does to the world, or asks of it."""

    service: str
    method: str
    target: str

    @property
    def changes(self) -> bool:
        """Whether the world is another one afterwards; a message that is taken is hidden from others."""
        taken = self.service == "queue" and "visibilitytimeout" in self.target
        return self.method not in ("GET", "HEAD") or taken

    def __str__(self) -> str:
        return f"{self.method} {self.service} {self.target}"


@dataclass
class Life:
    """Counts effects from one on, and does harm at one of them; once dead, nothing has any effect.

    `at_gate` is called before each effect; it may let somebody else go first.
    """

    harm: Harm | None = None
    number: int = 0
    at_gate: Callable[[int, Effect], None] | None = None
    effects: list[Effect] = field(default_factory=list[Effect])
    dead: bool = False
    cut: Effect | None = None

    def effect(self, effect: Effect, act: Callable[[], Result], lost: Exception) -> Result:
        if self.dead:
            raise Died
        self.effects.append(effect)
        number = len(self.effects)
        if self.at_gate:
            self.at_gate(number, effect)
        if self.cut == effect:
            raise lost
        here, self.cut = number == self.number, None
        if here and self.harm is Harm.BEFORE:
            self._die()
        result = act()
        if here and self.harm is Harm.AFTER:
            self._die()
        if here and self.harm is Harm.CUT:
            self.cut = effect
        if here and self.harm in (Harm.LOST, Harm.CUT):
            raise lost
        return result

    @property
    def harmed(self) -> bool:
        """Whether the effect came at which harm was to be done."""
        return len(self.effects) >= self.number

    def _die(self) -> None:
        self.dead = True
        raise Died


@contextmanager
def one_after_another() -> Iterator[None]:
    """Work that is handed to threads is done at once, in the order in which it is handed out; no SDK waits.

    So the number of an effect means the same in each run. What threads do to each other at the same time is not
    tried here, but in `tests/integration/test_crashes.py` and by killing real processes.
    """

    def submit(_pool: ThreadPoolExecutor, work: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*given, **named))
        except BaseException as error:  # noqa: BLE001 - as a pool does
            future.set_exception(error)
        return future

    with (
        mock.patch.object(ThreadPoolExecutor, "submit", submit),
        mock.patch.object(HttpTransport, "sleep", return_value=None),
    ):
        yield
