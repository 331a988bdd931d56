"""Why the host does not start: every problem at once, each on a line of its own."""

from collections.abc import Iterable


class HostStartError(Exception):
    """The host cannot start; `problems` lists everything that is wrong."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the host cannot start:\n" + "\n".join(f"  - {problem}" for problem in self.problems))
