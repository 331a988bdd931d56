"""The profile of the day as a picture: one bar a step, its CPU seconds by layer."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from local.bench.sampling import LAYERS

COLOURS = dict(zip(LAYERS, ("#3b6ea5", "#7fb2d9", "#c46a2b", "#e2a75c", "#8a8f98", "#c3c8cf"), strict=True))
LEFT, WIDTH, BAR, GAP = 190, 460, 22, 12
LEGEND = 54


def profile(steps: Mapping[str, Mapping[str, Any]]) -> str:
    longest_s = max(float(step["cpu_s"]) for step in steps.values()) or 1.0
    height = LEGEND + len(steps) * (BAR + GAP) + 8
    bars = "".join(
        _bar(name, step, LEGEND + at * (BAR + GAP), WIDTH / longest_s)
        for at, (name, step) in enumerate(steps.items())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 90} {height}" role="img" '
        'font-family="system-ui,sans-serif" font-size="12">\n'
        "<title>CPU seconds of each step of the day, by layer</title>\n"
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{_legend()}{bars}</svg>\n'
    )


def _legend() -> str:
    texts: list[str] = []
    for at, layer in enumerate(LAYERS):
        x, y = 12 + at % 3 * 215, 10 + at // 3 * 20
        texts.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{COLOURS[layer]}"/>')
        texts.append(f'<text x="{x + 18}" y="{y + 10}">{escape(layer)}</text>\n')
    return "".join(texts)


def _bar(name: str, step: Mapping[str, Any], y: int, scale: float) -> str:
    seen = step["layers"]
    total = sum(seen.values()) or 1
    parts = [f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>']
    x = float(LEFT)
    for layer in LAYERS:
        width = float(step["cpu_s"]) * scale * seen.get(layer, 0) / total
        if width:
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[layer]}">'
                f"<title>{escape(layer)}</title></rect>"
            )
        x += width
    parts.append(f'<text x="{x + 6:.1f}" y="{y + 15}">{step["cpu_s"]:.1f} s</text>\n')
    return "".join(parts)
