"""Small pictures inside the page: bars by day, and a lane of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from html import escape

BAR = 8
STEP = 10
LANE = 1000


def sparkline(numbers: Sequence[int], what: str, height: int = 28) -> str:
    """A bar for each day, the last one still growing; its text holds the numbers."""
    most = max([*numbers, 1])
    bars = "".join(
        f'<rect{" class=today" if at == len(numbers) - 1 else ""} x="{at * STEP}" y="{height - tall}" '
        f'width="{BAR}" height="{tall}"/>'
        for at, tall in enumerate(_tall(number, most, height) for number in numbers)
    )
    told = f"{what} on each of {len(numbers)} days, today last: {', '.join(map(str, numbers))}"
    return (
        f'<svg class="bars" viewBox="0 0 {len(numbers) * STEP} {height}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(told)}">{bars}</svg>'
    )


def _tall(number: int, most: int, height: int) -> int:
    """Something is always seen of what is more than nothing."""
    return max(2, round(number / most * height)) if number else 1


def lane(spans: Iterable[tuple[datetime, datetime, bool]], days: Sequence[date], what: str) -> str:
    """Where on a line of days something was lost; what is harmless (`False`) is drawn paler."""
    begin = datetime(days[0].year, days[0].month, days[0].day, tzinfo=UTC)
    whole_s = len(days) * timedelta(days=1).total_seconds()
    marks = "".join(
        f'<rect class="{"loss" if is_loss else "late"}" x="{x}" y="0" width="{width}" height="16"/>'
        for from_utc, to_utc, is_loss in spans
        for x, width in [_place((from_utc - begin).total_seconds(), (to_utc - begin).total_seconds(), whole_s)]
    )
    ticks = "".join(
        f'<rect class="tick" x="{LANE * at // len(days)}" y="0" width="1" height="16"/>' for at in range(len(days))
    )
    return (
        f'<svg class="lane" viewBox="0 0 {LANE} 16" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(what)}">{ticks}{marks}</svg>'
    )


def _place(from_s: float, to_s: float, whole_s: float) -> tuple[int, int]:
    """Where a span lies on the lane; one from before its beginning is drawn at its very edge."""
    x = round(min(max(from_s / whole_s, 0), 1) * (LANE - 10))
    end = round(min(max(to_s / whole_s, 0), 1) * LANE)
    return x, max(10, end - x)
