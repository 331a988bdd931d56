"""A small reader of TMDL: what a model's files say, taken from the files alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NAME = r"('(?:[^']|'')+'|[^\s=.]+)"
MEMBER = re.compile(rf"(column|measure|partition) {NAME}(?: = ?(.*))?")
END = re.compile(rf"{NAME}\.{NAME}")


@dataclass
class Member:
    kind: str
    name: str
    text: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    description: str = ""


@dataclass
class ReadTable:
    name: str
    description: str = ""
    members: list[Member] = field(default_factory=list)
    policy: str = ""

    def of(self, kind: str) -> dict[str, Member]:
        return {member.name: member for member in self.members if member.kind == kind}


def unquoted(name: str) -> str:
    return name[1:-1].replace("''", "'") if name.startswith("'") else name


def depth(line: str) -> int:
    return len(line) - len(line.lstrip("\t"))


def read_table(path: Path) -> ReadTable:
    """One table's file; anything that is not where the format wants it is an error."""
    lines = path.read_text("utf-8").splitlines()
    assert all(not line.startswith(" ") and not line.endswith(("\t", " ")) for line in lines), path
    table: ReadTable | None = None
    member: Member | None = None
    about = ""
    blocks = iter(_blocks(lines))
    for line, body in blocks:
        text = line.strip()
        if text.startswith("///"):
            about = text[4:]
        elif depth(line) == 0:
            assert text.startswith("table "), text
            table = ReadTable(unquoted(text[6:]), about)
            about = ""
        else:
            assert table is not None
            if text == "refreshPolicy":
                table.policy = "\n".join(body)
            elif match := MEMBER.fullmatch(text):
                member = Member(match[1], unquoted(match[2]), match[3] or "", description=about)
                about = ""
                _fill(member, body)
                table.members.append(member)
            else:
                assert text.startswith("dataCategory: "), text
    assert table is not None
    return table


def _blocks(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Lines at the first two depths, each with the deeper lines below it."""
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if not line:
            continue
        assert depth(line) <= 1, line
        body: list[str] = []
        while at < len(lines) and (depth(lines[at]) >= 2 or (not lines[at] and depth(_next(lines, at)) >= 2)):
            body.append(lines[at])
            at += 1
        yield line, body


def _next(lines: list[str], at: int) -> str:
    return next((line for line in lines[at:] if line), "")


def _fill(member: Member, body: list[str]) -> None:
    text = [member.text] if member.text and member.kind == "measure" else []
    for line in body:
        if depth(line) == 2:
            name, _, value = line.strip().partition(":")
            if name.startswith("source ="):
                name = "source"
            member.properties[name] = value.strip()
        else:
            text.append(line.strip("\t") if member.kind == "measure" else line[4:])
    member.text = "\n".join(text)


def relationships(path: Path) -> list[tuple[tuple[str, str], tuple[str, str], bool]]:
    found = []
    for block in path.read_text("utf-8").strip().split("\n\n"):
        properties = dict(line.strip().split(": ", 1) for line in block.splitlines()[1:])
        ends = [END.fullmatch(properties[name]) for name in ("fromColumn", "toColumn")]
        many, one = ((unquoted(end[1]), unquoted(end[2])) for end in ends if end)
        found.append((many, one, properties.get("isActive") != "false"))
    return found


def expressions(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for block in re.split(r"\n\n(?=///)", path.read_text("utf-8").strip()):
        about, head, *rest = block.splitlines()
        assert about.startswith("/// "), block
        name, _, value = head.removeprefix("expression ").partition(" =")
        found[name] = "\n".join([value.strip(), *(line[2:] for line in rest)]).strip()
    return found
