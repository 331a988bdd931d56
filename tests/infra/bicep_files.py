"""Bicep files as far as tests need them: parameters, variables and resources, read by a real grammar."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

from local.desk import ROOT

INFRA = ROOT / "infra"
FILES = sorted(INFRA.rglob("*.bicep"))
PARSER = Parser(Language(tree_sitter_bicep.language()))
# statements that the grammar does not know, blanked out so that the rest parses
UNKNOWN = re.compile(rb"(?m)^extension\b[^\n]*")


@dataclass(frozen=True)
class Parameter:
    """A `param`: its type, the text of its default (`None`: required) and of its decorators."""

    name: str
    type: str
    default: str | None
    decorators: dict[str, str]

    @property
    def value(self) -> str | None:
        """The default as an app setting would hold it."""
        return self.default.strip("'") if self.default is not None else None

    @property
    def description(self) -> str:
        return self.decorators.get("description", "").strip("'")

    @property
    def allowed(self) -> list[str | int]:
        return ast.literal_eval(self.decorators["allowed"])


@cache
def root_of(path: Path) -> Node:
    return PARSER.parse(UNKNOWN.sub(lambda found: b" " * len(found[0]), path.read_bytes())).root_node


def text(node: Node) -> str:
    return (node.text or b"").decode()


def broken(node: Node) -> list[str]:
    """Where a file is no Bicep."""
    if node.type == "ERROR" or node.is_missing:
        return [f"line {node.start_point[0] + 1}: {text(node)[:60]!r}"]
    return [problem for child in node.children for problem in broken(child)] if node.has_error else []


@cache
def parameters(path: Path) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    decorators: dict[str, str] = {}
    for node in root_of(path).named_children:
        if node.type == "decorators":
            decorators = dict(map(_decorator, node.named_children))
        elif node.type == "parameter_declaration":
            name, kind, *default = map(text, node.named_children)
            found[name] = Parameter(name, kind, default[0] if default else None, decorators)
            decorators = {}
        elif node.type != "comment":
            decorators = {}
    return found


def _decorator(node: Node) -> tuple[str, str]:
    called = node.named_children[0]
    return text(called.named_children[0]), text(called.named_children[1])[1:-1]


@cache
def variable(path: Path, name: str) -> Node:
    for node in root_of(path).named_children:
        if node.type == "variable_declaration" and text(node.named_children[0]) == name:
            return node.named_children[-1]
    raise AssertionError(f"{path} has no variable {name}")


def entries(node: Node) -> dict[str, str]:
    """The properties of an object, as text."""
    properties = (child.named_children for child in node.named_children if child.type == "object_property")
    return {text(key).strip("'"): text(value) for key, value in properties}


def names(node: Node) -> list[str]:
    """The items of an array of names or strings."""
    return [text(child).strip("'") for child in node.named_children if child.type != "comment"]


def without_comments(path: Path) -> str:
    return re.sub(r"(?m)(^|\s)//.*$", "", path.read_text())
