"""Route templates of HTTP triggers: literals, {name}, {name?}, {name:int}, {*rest}."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

PARAMETER = re.compile(r"\{(?P<rest>\*?)(?P<name>\w+)(?::(?P<constraint>\w+))?(?P<optional>\??)\}")
CONSTRAINTS = {
    None: "[^/]+",
    "int": r"-?\d+",
    "long": r"-?\d+",
    "alpha": "[A-Za-z]+",
    "guid": "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
}


@dataclass(frozen=True)
class Route:
    """A route template and the pattern of the paths it matches, without regard to case."""

    template: str
    pattern: re.Pattern[str]

    def match(self, path: str) -> dict[str, str] | None:
        """The route parameters of a path that is not yet percent-decoded, or None where it does not match."""
        found = self.pattern.fullmatch(path.rstrip("/"))
        if not found:
            return None
        return {name: unquote(value) for name, value in found.groupdict().items() if value is not None}

    def parameters(self) -> int:
        """How many parameters it has: of two routes that match, the one with fewer is meant."""
        return self.pattern.groups


def parse_route(template: str, prefix: str) -> Route:
    """Reads a template below the app's route prefix.

    Raises:
        ValueError: part of the template is not understood here.
    """
    segments = [*prefix.split("/"), *template.strip("/").split("/")]
    return Route(template, re.compile("".join(map(_segment, filter(None, segments))), re.IGNORECASE))


def _segment(segment: str) -> str:
    whole = PARAMETER.fullmatch(segment)
    if whole and whole["rest"]:
        return f"(?:/(?P<{whole['name']}>.*))?"
    if whole and whole["optional"]:
        return f"(?:/{_parameter(whole)})?"
    pattern, position = "/", 0
    for found in PARAMETER.finditer(segment):
        pattern += _literal(segment[position : found.start()]) + _parameter(found)
        position = found.end()
    return pattern + _literal(segment[position:])


def _parameter(found: re.Match[str]) -> str:
    if found["constraint"] not in CONSTRAINTS:
        raise ValueError(f"route constraint {found['constraint']!r} is not supported here")
    return f"(?P<{found['name']}>{CONSTRAINTS[found['constraint']]})"


def _literal(text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError(f"route segment {text!r} is not supported here")
    return re.escape(text)
