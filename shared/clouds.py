"""The Microsoft clouds: where each keeps the Management Activity API, and who issues its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Cloud:
    """`activity_root` is the root of the Management Activity API and the audience of its tokens.

    A managed identity is given its tokens by the host, which knows the `authority` itself; it is named for
    whoever signs in another way.
    """

    activity_root: str
    authority: str


CLOUDS: Mapping[str, Cloud] = MappingProxyType(
    {
        "commercial": Cloud("https://manage.office.com", "https://login.microsoftonline.com"),
        "gcc": Cloud("https://manage-gcc.office.com", "https://login.microsoftonline.com"),
        "gcchigh": Cloud("https://manage.office365.us", "https://login.microsoftonline.us"),
        "dod": Cloud("https://manage.protection.apps.mil", "https://login.microsoftonline.us"),
    }
)
"""By value of `CLOUD`. Source: Office 365 Management Activity API reference, "Activity API operations"."""

ACTIVITY_ROOTS: Mapping[str, str] = MappingProxyType({name: cloud.activity_root for name, cloud in CLOUDS.items()})
