"""System users of an environment, by row id."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from shared.batches import batches
from shared.clock import Deadline
from shared.dataverse.web_api import Query, WebApi
from shared.errors import AccessError, Missing
from shared.setting_values import GUID

log = logging.getLogger("flowtrail")

IDS_PER_QUERY = 25
ASKED_AGAIN_S = 3600.0


class UserNames:
    """Lower-case UPNs of system users; each is asked for until it is told, once an hour."""

    def __init__(self, api: WebApi) -> None:
        self._api = api
        self._known: dict[str, str] = {}
        self._asked_s: dict[str, float] = {}

    def of(self, user_ids: Iterable[str], deadline: Deadline) -> Mapping[str, str]:
        """The UPNs of those users that have one. Where users can't be read, runs keep the row id."""
        since_s = deadline.clock.monotonic() - ASKED_AGAIN_S
        unknown = (user_id for user_id in set(user_ids) if user_id not in self._known)
        due = (user_id for user_id in unknown if self._asked_s.get(user_id, since_s) <= since_s)
        try:
            for batch in batches(sorted(filter(GUID.fullmatch, due)), IDS_PER_QUERY):
                self._ask(batch, deadline)
        except (AccessError, Missing) as error:
            log.warning(
                "Users of %s can't be read, so runs show the ids of their owners: %s", self._api.root, error
            )
        return self._known

    def _ask(self, user_ids: list[str], deadline: Deadline) -> None:
        either = " or ".join(f"systemuserid eq {user_id}" for user_id in user_ids)
        for row in self._api.rows(Query("systemusers", ("systemuserid", "domainname"), either), deadline):
            if row.get("domainname"):
                self._known[str(row.get("systemuserid")).lower()] = str(row["domainname"]).strip().lower()
        self._asked_s.update(dict.fromkeys(user_ids, deadline.clock.monotonic()))
