"""Pages of visuals: what a page is made of and how it is laid out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum

WIDTH = 1280
HEIGHT = 720
MARGIN = 16
TOP = 60
TITLE_HEIGHT = 40


class Kind(StrEnum):
    """Visual types, by Power BI's names."""

    TITLE = "textbox"
    SLICER = "slicer"
    CARDS = "cardVisual"
    LINE = "lineChart"
    BARS = "clusteredBarChart"
    COLUMNS = "clusteredColumnChart"
    COMBO = "lineClusteredColumnComboChart"
    TABLE = "tableEx"
    MATRIX = "pivotTable"
    BACK = "actionButton"


@dataclass(frozen=True)
class Visual:
    """`by` are the columns it is divided by (`Table[Column]`), `shows` the measures (`[Measure]`) or columns.

    In a combination the last measure is the line. A matrix has rows and columns in `by`. `sorted_by` is a measure,
    from the greatest down, or a column, from the least up. The place is in points of the page.
    """

    kind: Kind
    title: str
    shows: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    sorted_by: str = ""
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0

    def at(self, x: float, y: float, width: float, height: float) -> Visual:
        return replace(self, x=x, y=y, width=width, height=height)


@dataclass(frozen=True)
class Page:
    """`drill_through` is the column whose value the page is about, chosen on another page."""

    title: str
    visuals: tuple[Visual, ...]
    drill_through: str = ""

    @property
    def name(self) -> str:
        return hashlib.sha256(self.title.encode()).hexdigest()[:20]


def page(title: str, *rows: tuple[float, tuple[Visual, ...]], drill_through: str = "") -> Page:
    """A page of rows of visuals; each row has a height, its visuals equal widths."""
    placed = [Visual(Kind.TITLE, title).at(MARGIN + 60 * bool(drill_through), 12, 700, TITLE_HEIGHT)]
    if drill_through:
        placed.append(Visual(Kind.BACK, "Back").at(MARGIN, 12, 40, 40))
    top = float(TOP)
    for height, visuals in rows:
        width = (WIDTH - MARGIN * (len(visuals) + 1)) / len(visuals)
        for number, visual in enumerate(visuals):
            placed.append(visual.at(MARGIN + number * (width + MARGIN), top, width, height))
        top += height + 12
    return Page(title, tuple(placed), drill_through)


def slicers(*columns: str) -> tuple[Visual, ...]:
    return tuple(Visual(Kind.SLICER, column.partition("[")[2].rstrip("]"), by=(column,)) for column in columns)


def cards(*measures: str) -> tuple[Visual, ...]:
    return (Visual(Kind.CARDS, "", tuple(measures)),)


def bars(title: str, by: str, *measures: str) -> Visual:
    return Visual(Kind.BARS, title, tuple(measures), (by,), sorted_by=measures[0])


def line(title: str, by: str, *measures: str) -> Visual:
    return Visual(Kind.LINE, title, tuple(measures), (by,), sorted_by=by)


def columns(title: str, by: str, *measures: str) -> Visual:
    return Visual(Kind.COLUMNS, title, tuple(measures), (by,), sorted_by=by)


def combo(title: str, by: str, *measures: str) -> Visual:
    return Visual(Kind.COMBO, title, tuple(measures), (by,), sorted_by=by)


def table(title: str, shows: tuple[str, ...], sorted_by: str) -> Visual:
    return Visual(Kind.TABLE, title, shows, sorted_by=sorted_by)


def matrix(title: str, rows: str, across: str, measure: str) -> Visual:
    return Visual(Kind.MATRIX, title, (measure,), (rows, across))
