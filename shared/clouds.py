"""The Microsoft clouds: where each keeps the Management Activity API and Graph, and who issues their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

GRAPH = "https://graph.microsoft.com"


@dataclass(frozen=True)
class Cloud:
    """The roots of the Management Activity API and of Microsoft Graph, which are the audiences of their tokens.

    A managed identity is given its tokens by the host, which knows the `authority` itself; it is named for
    whoever signs in another way. `has_search` says whether Graph can search the audit log there.
    """

    activity_root: str
    graph_root: str
    authority: str
    has_search: bool = True


CLOUDS: Mapping[str, Cloud] = MappingProxyType(
    {
        "commercial": Cloud("https://manage.office.com", GRAPH, "https://login.microsoftonline.com"),
        "gcc": Cloud("https://manage-gcc.office.com", GRAPH, "https://login.microsoftonline.com"),
        "gcchigh": Cloud(
            "https://manage.office365.us",
            "https://graph.microsoft.us",
            "https://login.microsoftonline.us",
            has_search=False,
        ),
        "dod": Cloud(
            "https://manage.protection.apps.mil",
            "https://dod-graph.microsoft.us",
            "https://login.microsoftonline.us",
            has_search=False,
        ),
    }
)
"""By value of `CLOUD`. Sources: Office 365 Management Activity API reference, "Activity API operations"; Microsoft
Graph, "National cloud deployments", and the reference of `auditLogQuery`.
"""

ACTIVITY_ROOTS: Mapping[str, str] = MappingProxyType({name: cloud.activity_root for name, cloud in CLOUDS.items()})
GRAPH_ROOTS: Mapping[str, str] = MappingProxyType({name: cloud.graph_root for name, cloud in CLOUDS.items()})
