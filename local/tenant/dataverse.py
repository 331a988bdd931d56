"""The Dataverse Web API of one environment, as far as run history needs it.

Behaviour after Microsoft's Web API documentation (page results, filter rows, file columns, error handling).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from itertools import islice
from typing import Any
from urllib.parse import unquote

from local.tenant import metadata
from local.tenant.columns import SETS, Column, Table
from local.tenant.download import download
from local.tenant.filters import QueryError, unknown_property
from local.tenant.identity import Tokens
from local.tenant.query import (
    Expansion,
    Preferences,
    Query,
    collection_query,
    next_cookie,
    options,
    preferences,
    row_query,
)
from local.tenant.rendering import COUNT_EXCEEDED, TOTAL_COUNT, Annotations, rendered, title_of
from local.tenant.rows import SessionRows, attachment, environment_rows
from local.tenant.wire import Request, Response, json_response, zipped
from local.tenant.world import Environment, Row, World, stable_id

COUNT_LIMIT = 5000
GLOBAL = "Global"
UNPUBLISHED = 1
USER_PRIVILEGES = "Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
_LONGEST_TARGET = 32_768
_ROOT = re.compile(r"/api/data/v9\.[0-2](/.*)")
_ROW = re.compile(r"(\w+)\((?:\w+=)?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\)")
_FILE_COLUMNS = {"additionalcontext", "inputs", "outputs"}
_FILE_COLUMN_SEGMENTS = 2


class ServiceError(Exception):
    """An error with the status, code and message that Dataverse gives it."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Dataverse:
    """Answers the requests to one environment."""

    def __init__(
        self, world: World, environment: Environment, origin: str, clock: Callable[[], datetime], tokens: Tokens
    ) -> None:
        self._world = world
        self._environment = environment
        self._origin = origin
        self._clock = clock
        self._tokens = tokens
        self._rows = environment_rows(environment)
        self._properties = {
            table.name: {
                name: column
                for name, column in table.properties.items()
                if table.name != "flowsession" or column.name in environment.columns
            }
            for table in SETS.values()
        }

    @property
    def sessions(self) -> SessionRows:
        rows = self._rows["flowsession"]
        assert isinstance(rows, SessionRows)  # noqa: S101 - what environment_rows put there
        return rows

    def answer(self, request: Request) -> Response:
        try:
            response = self._refused(request) or self._routed(request)
        except QueryError as problem:
            response = _error(HTTPStatus.BAD_REQUEST, "0x80060888", str(problem))
        except ServiceError as problem:
            response = _error(problem.status, problem.code, str(problem))
        return replace(response, headers={"OData-Version": "4.0", **response.headers})

    def _refused(self, request: Request) -> Response | None:
        grant = self._tokens.grant(request)
        if grant is None or grant.audience != self._origin:
            return Response(HTTPStatus.UNAUTHORIZED, b"", {"WWW-Authenticate": self._challenge()}, "refused")
        if len(request.target) > _LONGEST_TARGET:
            return Response(HTTPStatus.REQUEST_URI_TOO_LONG, kind="refused")
        if request.method != "GET":
            return Response(HTTPStatus.METHOD_NOT_ALLOWED, kind="refused")
        self._require_access()
        return None

    def _challenge(self) -> str:
        authority = f"https://login.microsoftonline.com/{self._world.tenant_id}/oauth2/authorize"
        return f"Bearer authorization_uri={authority}, resource_id={self._origin}/"

    def _require_access(self) -> None:
        access = self._environment.access
        if not access.member:
            message = "The user is not a member of the organization."
            raise ServiceError(HTTPStatus.FORBIDDEN, "0x80072560", message)
        if not access.roles:
            message = (
                f"RetrievePrivilegeForUser: The user with id {self._user_id()} has not been assigned any roles. "
                "They need a role with the prvReadWorkflow privilege."
            )
            raise ServiceError(HTTPStatus.FORBIDDEN, "0x80042f09", message)

    def _require(self, table: Table) -> None:
        if table.privilege in self._environment.access.missing_privileges:
            message = (
                f"Principal user (Id={self._user_id()}, type=8, roleCount=1, privilegeCount=12) is missing "
                f"{table.privilege} privilege (Id={stable_id(table.privilege)}) on OTC={table.type_code} "
                f"for entity '{table.name}'. context.Caller={self._user_id()}."
            )
            raise ServiceError(HTTPStatus.FORBIDDEN, "0x80040220", message)

    def _privileges(self) -> dict[str, Any]:
        """Every privilege of the user's roles with its depth, as RetrieveUserPrivileges tells."""
        access = self._environment.access
        names = [table.privilege for table in SETS.values() if table.privilege not in access.missing_privileges]
        return {
            "@odata.context": f"{self._base}$metadata#Microsoft.Dynamics.CRM.RetrieveUserPrivilegesResponse",
            "RolePrivileges": [
                {
                    "Depth": access.depths.get(name, GLOBAL),
                    "PrivilegeId": stable_id(name),
                    "BusinessUnitId": self._who_am_i()["BusinessUnitId"],
                    "PrivilegeName": name,
                    "RecordFilterId": "00000000-0000-0000-0000-000000000000",
                    "RecordFilterUniqueName": "",
                }
                for name in names
            ],
        }

    def _sees(self, table: Table, row: Row) -> bool:
        """Whether the depth of the privilege reaches the row: only the user's own where it is no Global one."""
        depth = self._environment.access.depths.get(table.privilege, GLOBAL)
        return depth == GLOBAL or row.get("_ownerid_value") == self._user_id()

    def _found(self, query: Query, *, unpublished: bool = True) -> Iterator[Row]:
        for row in self._rows[query.table.name].found(query, self._clock()):
            if self._sees(query.table, row) and (unpublished or row.get("componentstate") != UNPUBLISHED):
                yield row

    def _user_id(self) -> str:
        return stable_id(self._environment.organization_id, self._world.client_id)

    def _routed(self, request: Request) -> Response:
        match = _ROOT.fullmatch(request.path)
        if match is None:
            return Response(HTTPStatus.NOT_FOUND, kind="unknown")
        head, *rest = [unquote(segment) for segment in match[1].split("/")[1:]]
        given = options(request.query)
        if head in SETS and SETS[head].name in self._environment.absent_tables:
            raise _no_segment(head)
        if head in SETS:
            return self._collection(request, SETS[head], rest, given)
        if row := _ROW.fullmatch(head):
            return self._single(request, _known(SETS, row[1]), row[2].lower(), rest, given)
        content = self._function(head, rest, given)
        return json_response(HTTPStatus.OK, content, head.partition("(")[0])

    def _function(self, head: str, rest: list[str], given: Mapping[str, str]) -> dict[str, Any]:
        if head in {"WhoAmI", "WhoAmI()"} and not rest and not given:
            return self._who_am_i()
        if head.startswith("RetrieveCurrentOrganization(") and not rest:
            return metadata.current_organization(self._world, self._environment, self._origin, head, given)
        if head.startswith("EntityDefinitions("):
            self._require_described(head)
            return metadata.entity_definition(self._environment, head, rest, given)
        raise _no_segment(head)

    def _require_described(self, head: str) -> None:
        if any(f"'{name}'" in head for name in self._environment.absent_tables):
            raise ServiceError(HTTPStatus.NOT_FOUND, "0x80060888", f"Could not find an entity: {head}.")

    def _who_am_i(self) -> dict[str, Any]:
        units = self._environment.business_units
        return {
            "@odata.context": f"{self._base}$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse",
            "BusinessUnitId": units[0]["businessunitid"] if units else self._environment.organization_id,
            "UserId": self._user_id(),
            "OrganizationId": self._environment.organization_id,
        }

    @property
    def _base(self) -> str:
        return f"{self._origin}/api/data/v9.2/"

    def _collection(self, request: Request, table: Table, rest: list[str], given: Mapping[str, str]) -> Response:
        self._require(table)
        query = collection_query(table, self._properties[table.name], given)
        if rest == ["$count"]:
            total = str(self._total(query)).encode()
            return Response(HTTPStatus.OK, total, {"Content-Type": "text/plain"}, f"{table.entity_set}/$count")
        if rest:
            raise _no_segment(rest[0])
        return self._page(request, query)

    def _total(self, query: Query) -> int:
        """Matching rows, counted up to the limit, as Dataverse does."""
        return sum(1 for _ in islice(self._found(replace(query, cookie=None)), COUNT_LIMIT))

    def _page(self, request: Request, query: Query) -> Response:
        wants = preferences(request.headers.get("prefer", ""))
        size = wants.page_size if query.top is None else min(query.top, COUNT_LIMIT)
        unpublished = request.headers.get("mscrm.includeunpublished", "").lower() == "true"
        rows = list(islice(self._found(query, unpublished=unpublished), size + 1))
        content = self._envelope(query, wants)
        content["value"] = self._shown(query, rows[:size], wants)
        if len(rows) > size and query.top is None:
            content["@odata.nextLink"] = self._next_link(request, query, rows[size - 1])
        response = json_response(HTTPStatus.OK, content, query.table.entity_set, Preference_Applied=wants.applied)
        return zipped(replace(response, served=_served(query.table, rows[:size])), request)

    def _envelope(self, query: Query, wants: Preferences) -> dict[str, Any]:
        content: dict[str, Any] = {"@odata.context": f"{self._base}$metadata#{query.table.entity_set}"}
        if query.count:
            total = content["@odata.count"] = self._total(query)
            annotations = self._annotations(wants)
            values = {TOTAL_COUNT: total, COUNT_EXCEEDED: total >= COUNT_LIMIT}
            content |= {f"@{term}": value for term, value in values.items() if annotations.includes(term)}
        return content

    def _annotations(self, wants: Preferences) -> Annotations:
        return Annotations(wants.annotations, self._environment.language, self._label)

    def _label(self, table: str, key: str) -> str | None:
        rows = self._rows.get(table)
        return title_of(table, rows.row(key, self._clock())) if rows else None

    def _next_link(self, request: Request, query: Query, last: Row) -> str:
        given = [pair for pair in request.query.split("&") if pair and not unquote(pair).startswith("$skiptoken=")]
        return f"{self._origin}{request.path}?{'&'.join([*given, f'$skiptoken={next_cookie(query, last)}'])}"

    def _shown(self, query: Query, rows: list[Row], wants: Preferences) -> list[dict[str, Any]]:
        annotations = self._annotations(wants)
        shown = rendered(rows, query.table, query.selected, annotations)
        for expansion in query.expansions:
            for row, out in zip(rows, shown, strict=True):
                out[expansion.name] = self._expanded(query.table, row, expansion, annotations)
        return shown

    def _expanded(self, table: Table, row: Row, expansion: Expansion, annotations: Annotations) -> Any:
        if table.name == "flowsession" and expansion.name == "flowsession_FileAttachments":
            session = self.sessions.session(str(row["flowsessionid"]).lower(), self._clock())
            file = session.file_at(self._clock()) if session else None
            return [_chosen(attachment(session, file), expansion)] if session and file else []
        if expansion.name == "owninguser" and "_owninguser_value" in table.properties:
            users = SETS["systemusers"]
            user = self._rows[users.name].row(str(row.get("_owninguser_value")).lower(), self._clock())
            columns = _named(users, users.properties, expansion.select)
            return rendered([user], users, columns, annotations)[0] if user else None
        raise unknown_property(expansion.name, table)

    def _single(
        self, request: Request, table: Table, key: str, rest: list[str], given: Mapping[str, str]
    ) -> Response:
        self._require(table)
        if rest == [USER_PRIVILEGES] and table.name == "systemuser" and key == self._user_id():
            return json_response(HTTPStatus.OK, self._privileges(), "RetrieveUserPrivileges")
        if rest == ["flowsession_flowlog_parentobjectid"] and table.name == "flowsession":
            return self._flowlogs(request, key, given)
        if rest and rest[0] in _FILE_COLUMNS and table.name == "flowsession":
            return self._file(request, key, rest)
        if rest:
            raise _no_segment(rest[0])
        wants = preferences(request.headers.get("prefer", ""))
        query = row_query(table, self._properties[table.name], given)
        row = self._existing(table, key)
        content = {"@odata.context": f"{self._base}$metadata#{table.entity_set}/$entity"}
        content |= self._shown(query, [row], wants)[0]
        response = json_response(HTTPStatus.OK, content, table.name, Preference_Applied=wants.applied)
        return replace(response, served=_served(table, [row]))

    def _existing(self, table: Table, key: str) -> Row:
        row = self._rows[table.name].row(key, self._clock())
        if row is None:
            message = f"{table.name} With Id = {key} Does Not Exist"
            raise ServiceError(HTTPStatus.NOT_FOUND, "0x80040217", message)
        if not self._sees(table, row):
            message = f"Principal user (Id={self._user_id()}, type=8) is missing {table.privilege} privilege."
            raise ServiceError(HTTPStatus.FORBIDDEN, "0x80040220", message)
        return row

    def _flowlogs(self, request: Request, key: str, given: Mapping[str, str]) -> Response:
        table = SETS["flowlogs"]
        self._require(table)
        self._existing(SETS["flowsessions"], key)
        query = collection_query(table, self._properties[table.name], given)
        own = collection_query(table, table.properties, {"$filter": f"_parentobjectid_value eq {key}"})
        narrowed = replace(query.filter, parts=(*own.filter.parts, *query.filter.parts))
        return self._page(request, replace(query, filter=narrowed))

    def _file(self, request: Request, key: str, rest: list[str]) -> Response:
        self._existing(SETS["flowsessions"], key)
        session = self.sessions.session(key, self._clock())
        if rest[0] not in self._properties["flowsession"]:
            raise _no_segment(rest[0])
        file = session.file_at(self._clock()) if session and rest[0] == "additionalcontext" else None
        as_value = len(rest) == _FILE_COLUMN_SEGMENTS and rest[1] == "$value"
        if rest[1:] and not as_value:
            raise _no_segment(rest[1])
        return download(request, key, file, self._base, as_value=as_value)


def _known(sets: Mapping[str, Table], name: str) -> Table:
    if name not in sets:
        raise _no_segment(name)
    return sets[name]


def _no_segment(name: str) -> ServiceError:
    return ServiceError(HTTPStatus.NOT_FOUND, "0x8006088a", f"Resource not found for the segment '{name}'.")


def _error(status: HTTPStatus, code: str, message: str) -> Response:
    return json_response(status, {"error": {"code": code, "message": message}}, "error")


def _served(table: Table, rows: list[Row]) -> tuple[tuple[str, str], ...]:
    if table.name != "flowsession":
        return ()
    return tuple(("session", str(row["flowsessionid"]).lower()) for row in rows)


def _chosen(row: Row, expansion: Expansion) -> dict[str, Any]:
    """The selected columns of a fileattachment row."""
    for name in expansion.select:
        if name not in row:
            raise QueryError(
                f"Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.fileattachment'."
            )
    names = {*expansion.select, "fileattachmentid"} if expansion.select else row.keys()
    return {
        name: f"{row[name]:%Y-%m-%dT%H:%M:%SZ}" if isinstance(row[name], datetime) else row[name]
        for name in sorted(names)
    }


def _named(table: Table, properties: Mapping[str, Column], names: tuple[str, ...]) -> list[Column]:
    for name in names:
        if name not in properties:
            raise unknown_property(name, table)
    return [properties[name] for name in dict.fromkeys([*(names or properties), table.key])]
