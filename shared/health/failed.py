"""What an app says that can't even look: its settings are wrong, or it may not open its own storage."""

from __future__ import annotations

import re

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from shared.errors import SettingsError
from shared.health.codes import Code
from shared.health.facts import Reason

ACCOUNT = "the data storage account"
SERVICE = re.compile(r"^https?://[^/:]+\.(blob|queue|table)\.")
ROLES = {
    "blob": "Storage Blob Data Contributor",
    "queue": "Storage Queue Data Contributor",
    "table": "Storage Table Data Contributor",
}
REFUSED = (401, 403)
MEND_SETTING = (
    "Correct it in the function app's settings, or with azd env set and azd provision. The app starts again by "
    "itself."
)
REPORT = "Look at the page again in a minute. If it stays, report this with the app's log of that time."


def reasons_of(error: Exception) -> list[Reason]:
    """What keeps the app from looking; since when, nothing can tell."""
    if isinstance(error, SettingsError):
        return [_setting(problem) for problem in error.problems]
    if isinstance(error, HttpResponseError) and (
        error.status_code in REFUSED or isinstance(error, ClientAuthenticationError)
    ):
        return [_refused(error)]
    if isinstance(error, AzureError) and not isinstance(error, HttpResponseError):
        return [_unreachable(error)]
    problem = f"{type(error).__name__}: {first_line(error)}"
    return [Reason(code=Code.HEALTH_FAILED, where="health", since_utc=None, problem=problem, remedy=REPORT)]


def _setting(problem: str) -> Reason:
    name, _, wrong = problem.partition(" ")
    return Reason(
        code=Code.SETTINGS_WRONG,
        where=name,
        since_utc=None,
        problem=f"{name} {wrong}{'' if wrong.endswith('.') else '.'} No function runs until it is right.",
        remedy=MEND_SETTING,
    )


def _refused(error: HttpResponseError) -> Reason:
    """The address that refused tells which of the three services it was, and so which role is missing."""
    match = SERVICE.match(_url(error))
    roles = [ROLES[match[1]]] if match else list(ROLES.values())
    service = f"the {match[1]} service of {ACCOUNT}" if match else ACCOUNT
    return Reason(
        code=Code.STORAGE_REFUSED,
        where=service,
        since_utc=None,
        problem=f"It refuses the app's identity ({first_line(error)}). No function can do anything; what happens "
        "meanwhile is caught up with afterwards, audit events of the last seven days.",
        remedy=f"Give the identity {_listed(roles)} on the account, or run azd provision, which does. A new role "
        "takes up to ten minutes to work.",
    )


def _unreachable(error: AzureError) -> Reason:
    return Reason(
        code=Code.UNREACHABLE,
        where=ACCOUNT,
        since_utc=None,
        problem=f"No answer comes from it: {first_line(error)}",
        remedy="See that the account of DataStorage exists, and that the app's network and the account's firewall "
        "let the app in.",
    )


def _url(error: HttpResponseError) -> str:
    request = getattr(error.response, "request", None)
    return str(getattr(request, "url", ""))


def first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
