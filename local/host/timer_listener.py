"""Fires a timer trigger when its schedule says so, as TimerListener.cs of azure-webjobs-sdk-extensions does."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from local.host.functions import Function, TimerTrigger
from local.host.trigger_data import NEVER, ScheduleStatus, TriggerInput, timer_input

# a computer may be put to sleep: look at the clock again at least this often
LONGEST_SLEEP_S = 30.0


class TimerListener:
    """One timer, in one task: it never overlaps itself, and occurrences missed meanwhile become one."""

    def __init__(
        self,
        function: Function,
        trigger: TimerTrigger,
        invoke: Callable[[Function, TriggerInput], Awaitable[object]],
    ) -> None:
        self._function = function
        self._trigger = trigger
        self._invoke = invoke

    async def run(self, stopping: asyncio.Event) -> None:
        now = datetime.now(UTC)
        status = ScheduleStatus(NEVER, self._trigger.schedule.next_after(now))
        if self._trigger.run_on_startup:
            status = await self._fire(status, now)
        while await _sleep_until(status.next, stopping):
            status = await self._fire(status, max(status.next, datetime.now(UTC)))

    async def _fire(self, status: ScheduleStatus, moment: datetime) -> ScheduleStatus:
        await self._invoke(self._function, timer_input(status if self._trigger.is_monitored else None))
        # from when it started, not from when it ended: an occurrence missed meanwhile is made up for at once
        return ScheduleStatus(moment, self._trigger.schedule.next_after(moment))


async def _sleep_until(moment: datetime, stopping: asyncio.Event) -> bool:
    """Waits for the moment; returns False where the host stops first."""
    while not stopping.is_set():
        remaining_s = (moment - datetime.now(UTC)).total_seconds()
        if remaining_s <= 0:
            return True
        await sleep(min(remaining_s, LONGEST_SLEEP_S), stopping)
    return False


async def sleep(seconds: float, stopping: asyncio.Event) -> None:
    """Waits that long, or until the host stops."""
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return
