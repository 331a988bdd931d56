"""Errors, grouped by what the caller should do.

FlowtrailError
├── Stop             an administrator must act; trying again changes nothing until then
│   ├── SettingsError    an app setting is wrong
│   ├── Damaged          a file of the app's own can't be read
│   └── AccessError      a service refuses this identity
│       └── Gone         there is nothing at an address that a setting names
├── Defer            not now: give the work back and take it up again later
│   ├── Throttled        the service wants a pause longer than this run lasts
│   └── Unreachable      nobody answers there
├── Skip             this one item can't be had: record it and go on with the others
│   ├── Missing          the service has no such item
│   ├── TooLarge         the item is there and longer than is read
│   └── Unreadable       the item is there and can't be understood
├── Conflict         somebody else changed the same state: read it again and repeat
└── SourcesFailed    some sources of this run failed after the others were done
"""

from __future__ import annotations

from collections.abc import Mapping


class FlowtrailError(Exception):
    """Base of every error that this app raises itself."""


class Stop(FlowtrailError):
    """An administrator must act; trying again changes nothing until then."""


class SettingsError(Stop):
    """App settings are wrong; the message names every problem."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(("The app settings are wrong:", *(f"- {problem}" for problem in problems))))


class Damaged(Stop):
    """A file of the app's own can't be read; `name` is empty where it is not known yet which one."""

    def __init__(self, message: str, name: str = "") -> None:
        self.name = name
        super().__init__(message)


class AccessError(Stop):
    """A service refuses this identity; `advice` says who must grant what."""

    def __init__(self, message: str, advice: str) -> None:
        self.message = message
        self.advice = advice
        super().__init__(f"{message} {advice}".strip())


class Gone(AccessError):
    """There is nothing at an address that a setting names."""


class Defer(FlowtrailError):
    """Not now: give the work back and take it up again after `after_s` seconds."""

    def __init__(self, message: str, after_s: float) -> None:
        self.after_s = after_s
        super().__init__(message)


class Throttled(Defer):
    """The service wants a pause longer than this run lasts; everything else sent to it would wait as well."""


class Unreachable(Defer):
    """Nobody answers there, or no answer comes through whole."""


class Skip(FlowtrailError):
    """This one item can't be had: record it and go on with the others."""


class Missing(Skip):
    """The service has no such item; `code` is the service's own."""

    def __init__(self, message: str, code: str = "") -> None:
        self.code = code
        super().__init__(message)


class TooLarge(Skip):
    """The item is there and longer than is read."""


class Unreadable(Skip):
    """The item is there and can't be understood."""


class Conflict(FlowtrailError):
    """Somebody else changed the same state: read it again and repeat."""


class SourcesFailed(FlowtrailError):
    """Some sources of a run failed after the others were done; `failures` maps each to its message.

    `totals` is what all of them gave together.
    """

    def __init__(self, function: str, failures: Mapping[str, str], totals: Mapping[str, int]) -> None:
        self.failures = dict(failures)
        self.totals = dict(totals)
        lines = [f"{function}: {len(failures)} of {totals['sources']} sources failed, the others are done."]
        super().__init__("\n".join(lines + [f"- {source}: {text}" for source, text in failures.items()]))
