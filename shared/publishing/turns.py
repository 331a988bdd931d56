"""Large publications of one process, one after another, so that its memory has to hold only one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Protocol

import pyarrow as pa

from shared.errors import Conflict


class Renewable(Protocol):
    def renew(self) -> None: ...


class Turns:
    """A large publication takes some 300 MiB (measured), and a host starts a dozen side by side.

    Who waits looks every `look_s` seconds after its lease, which runs out sooner than the longest wait.
    """

    def __init__(self, longest_wait_s: float = 300.0, look_s: float = 5.0) -> None:
        self._lock = threading.Lock()
        self._longest_wait_s = longest_wait_s
        self._look_s = look_s

    @contextmanager
    def one(self, lease: Renewable) -> Generator[None]:
        """Wait for the turn, have it until the block ends, and give back then what the block took of memory.

        Raises:
            Conflict: the others take too long, or the lease was lost meanwhile.
        """
        self._wait(lease)
        try:
            yield
        finally:
            pa.default_memory_pool().release_unused()
            self._lock.release()

    @contextmanager
    def at_need(self, lease: Renewable) -> Generator[Callable[[], None]]:
        """The same for who learns on the way how large it is: what is given takes the turn, the first time."""
        is_taken = False
        with ExitStack() as turn:

            def take() -> None:
                nonlocal is_taken
                if not is_taken:
                    turn.enter_context(self.one(lease))
                    is_taken = True

            yield take

    def _wait(self, lease: Renewable) -> None:
        for _ in range(round(self._longest_wait_s / self._look_s)):
            if self._lock.acquire(timeout=self._look_s):
                return
            lease.renew()
        raise Conflict(f"other large publications take longer than {self._longest_wait_s:.0f} s")
