"""What an error of a service means for us: one table for each service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Act(StrEnum):
    """What the caller does about an answer."""

    ACCEPT = "accept"
    RETRY = "retry"
    THROTTLE = "throttle"
    REFRESH = "refresh the token"
    SKIP = "skip"
    RESTART = "restart the listing"
    SUBSCRIBE = "subscribe"
    STOP = "stop"


@dataclass(frozen=True)
class Rule:
    act: Act
    advice: str = ""


@dataclass(frozen=True)
class Policy:
    """Rules by service code (its first word, in lower case), which win, and by HTTP status."""

    service: str
    by_code: Mapping[str, Rule]
    by_status: Mapping[int, Rule] = field(default_factory=dict[int, Rule])

    def rule(self, status: int, code: str) -> Rule:
        first_word = code.lower().partition(" ")[0]
        known = self.by_code.get(first_word) or self.by_status.get(status) or STATUSES.get(status)
        return known or _unlisted(status)


def _unlisted(status: int) -> Rule:
    if status >= 500:  # noqa: PLR2004 - the class of server errors
        return Rule(Act.RETRY)
    return Rule(Act.STOP, "This answer is not expected; please report it.")


NO_REDIRECT = Rule(Act.STOP, "The service redirects elsewhere, and a token goes only where it was issued for.")
STATUSES: Mapping[int, Rule] = {
    301: NO_REDIRECT,
    302: NO_REDIRECT,
    303: NO_REDIRECT,
    307: NO_REDIRECT,
    308: NO_REDIRECT,
    401: Rule(Act.REFRESH),
    403: Rule(Act.STOP, "The identity lacks a permission."),
    404: Rule(Act.SKIP),
    408: Rule(Act.RETRY),
    410: Rule(Act.SKIP),
    425: Rule(Act.RETRY),
    429: Rule(Act.THROTTLE),
    503: Rule(Act.RETRY),
}

ADD_APP_USER = (
    "Add the app's identity as an application user of this environment: admin center, the environment, "
    "Settings, Users + permissions, Application users."
)
GIVE_ROLE = "Give the application user the Flowtrail reader role, at organization depth."

DATAVERSE = Policy(
    "Dataverse",
    by_code={
        "0x80072560": Rule(Act.STOP, ADD_APP_USER),
        "0x80040220": Rule(Act.STOP, GIVE_ROLE),
        "0x80042f09": Rule(Act.STOP, GIVE_ROLE),
        "0x80040225": Rule(Act.STOP, "The application user is disabled in this environment: enable it."),
        "0x80072321": Rule(Act.THROTTLE),
        "0x80072322": Rule(Act.THROTTLE),
        "0x80072326": Rule(Act.THROTTLE),
        "0x80040217": Rule(Act.SKIP),
        "0x80090017": Rule(Act.SKIP),
    },
    by_status={416: Rule(Act.ACCEPT)},
)
"""Sources: Power Apps docs, "Service protection API limits", "Compose HTTP requests and handle errors", and, for
the file that can't be had in parts (0x80090017), "Use file column data".
"""

REPORT = Rule(Act.STOP, "The request is malformed; please report it.")
CHECK_TENANT = Rule(Act.STOP, "TENANT_ID is not the tenant that the app's identity belongs to.")

TURN_ON_AUDITING = Rule(
    Act.STOP,
    "If the tenant does not exist there, unified auditing is off: turn it on in the Purview portal, or with "
    "Set-AdminAuditLogConfig -UnifiedAuditLogIngestionEnabled $true, and wait up to an hour.",
)

ACTIVITY = Policy(
    "Management Activity API",
    by_code={
        "af10001": Rule(
            Act.STOP, "Grant the app role ActivityFeed.Read to the app's identity: infra/grant-audit."
        ),
        "af20001": REPORT,
        "af20002": REPORT,
        "af20003": REPORT,
        "af20010": CHECK_TENANT,
        "af20011": CHECK_TENANT,
        "af20012": CHECK_TENANT,
        "af20013": CHECK_TENANT,
        "af20020": Rule(Act.STOP, "AUDIT_CONTENT_TYPES names a content type that the service does not know."),
        "af20021": REPORT,
        "af20022": Rule(Act.SUBSCRIBE),
        "af20023": Rule(Act.SUBSCRIBE),
        "af20024": Rule(Act.ACCEPT),
        "af20030": Rule(Act.RESTART),
        "af20031": Rule(Act.RESTART),
        "af20050": Rule(Act.SKIP),
        "af20051": Rule(Act.SKIP),
        "af20052": Rule(Act.SKIP),
        "af20053": REPORT,
        "af20054": REPORT,
        "af20055": Rule(Act.RESTART),
        "af429": Rule(Act.THROTTLE),
        "af50000": Rule(Act.RETRY),
        "af50005": Rule(Act.RETRY),
        "af50006": Rule(Act.RETRY),
        "startsubscription": TURN_ON_AUDITING,
    },
    by_status={400: Rule(Act.STOP, "The activity feed refuses the request.")},
)
"""Source: Office 365 Management Activity API reference, "Errors", and its troubleshooting guide (AF429 comes as
HTTP 403; AF20024, which means that the subscription is on already, is in neither).
"""

GRANT_SEARCH = Rule(
    Act.STOP, "Grant the app role AuditLogsQuery.Read.All to the app's identity: infra/grant-audit --search."
)

GRAPH = Policy(
    "Microsoft Graph",
    by_code={},
    by_status={
        400: Rule(Act.RESTART),
        403: GRANT_SEARCH,
    },
)
"""Source: Microsoft Graph, "Error responses". What is refused with 400 can be an old link to a next page."""
