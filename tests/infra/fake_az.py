"""Stands in for the Azure CLI: `az rest` against a directory and an environment that live in one JSON file.

It is started as `az` by the permission scripts under test. JMESPath queries are evaluated by the library the real
one uses, so a wrong query gives a wrong answer here too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jmespath

STATE = Path(os.environ["FAKE_AZ_STATE"])
GRAPH = "https://graph.microsoft.com/"
GRAPHS = (GRAPH, "https://dod-graph.microsoft.us/")
Json = Any


def main(arguments: list[str]) -> int:
    state: Json = json.loads(STATE.read_text())
    state["calls"].append(arguments)
    if arguments[:2] == ["cloud", "show"]:
        code = answer({"endpoints": {"microsoftGraphResourceId": GRAPH}}, value_of(arguments, "--query"))
    elif arguments[0] == "rest":
        code = rest(state, arguments[1:])
    else:
        raise SystemExit(f"az {arguments} is nothing that the scripts are known to need")
    STATE.write_text(json.dumps(state))
    return code


def value_of(arguments: list[str], option: str) -> str:
    return arguments[arguments.index(option) + 1]


def rest(state: Json, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="az rest")
    for option in ("--method", "--url", "--resource", "--body", "--query", "--output"):
        parser.add_argument(option)
    parser.add_argument("--headers", nargs="*")
    parser.add_argument("--url-parameters", nargs="+", default=[])
    parser.add_argument("--only-show-errors", action="store_true")
    given = parser.parse_args(arguments)
    parts = urlsplit(given.url)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    options.update(pair.split("=", 1) for pair in given.url_parameters)
    body = json.loads(given.body) if given.body else None
    if given.method == "POST":
        assert "Content-Type=application/json" in given.headers
    assert given.resource == f"https://{parts.netloc}", "the token is for somebody else"
    if given.url.startswith(GRAPHS):
        found = graph(state, given.method, parts.path.removeprefix("/v1.0/"), options, body)
    else:
        environment = state["environments"][parts.netloc]
        path = parts.path.removeprefix("/api/data/v9.2/")
        found = dataverse(environment, given.method, path, options, body)
    if found is None:
        sys.stderr.write("ERROR: Not Found\n")
        return 3
    return answer(found, given.query)


def answer(found: Json, query: str | None) -> int:
    """Print as `--output tsv` does: a line for each item, columns between tabs, nothing for null."""
    if query is None:
        return 0
    chosen = jmespath.search(query, found)
    rows = chosen if isinstance(chosen, list) else [] if chosen is None else [chosen]
    for row in rows:
        sys.stdout.write("\t".join(map(plain, row if isinstance(row, list) else [row])) + "\n")
    return 0


def plain(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def graph(state: Json, method: str, path: str, options: dict[str, str], body: Json) -> Json:
    principals: dict[str, Json] = state["principals"]
    segments = path.split("/")
    if f"{method} {path}" in state.get("refused", []):
        return None
    if segments == ["servicePrincipals"]:
        if method == "POST":
            made = {"id": str(uuid.uuid4()), "appId": body["appId"], "appRoles": state["roles_of_new_apps"]}
            principals[made["id"]] = made
            return made
        match = re.fullmatch(r"appId eq '([\w-]+)'", options["$filter"])
        assert match
        return {"value": [one for one in principals.values() if one["appId"] == match[1]]}
    principal = principals.get(segments[1])
    if principal is None or len(segments) == len(["servicePrincipals", "id"]):
        return principal
    assignments: list[Json] = state["assignments"]
    if segments[2] == "appRoleAssignedTo":
        assert body["resourceId"] == principal["id"]
        assert body["principalId"] in principals
        assert body not in [{**one, "id": None} | body for one in assignments], "assigned twice"
        assignments.append({"id": f"assignment-{len(assignments)}", **body})
        return assignments[-1]
    assert segments[2] == "appRoleAssignments"
    return {"value": [one for one in assignments if one["principalId"] == principal["id"]]}


def dataverse(environment: Json, method: str, path: str, options: dict[str, str], body: Json) -> Json:
    unit = environment["unit"]
    if path == "businessunits":
        assert options["$filter"] == "_parentbusinessunitid_value eq null"
        return {"value": [{"businessunitid": unit}]}
    if path == "privileges":
        wanted = [name.lower() for name in re.findall(r"'(\w+)'", options["$filter"].split("PropertyValues=")[1])]
        known = environment["privileges"].items()
        return {"value": [{"name": name, "privilegeid": one} for name, one in known if name.lower() in wanted]}
    if path in ("roles", "systemusers"):
        return rows(environment, path, method, options, body)
    match = re.fullmatch(r"(\w+)\(([\w-]+)\)/(.+)", path)
    assert match
    return bound(environment, match[1], match[2], match[3], body)


def bound(environment: Json, kind: str, row: str, what: str, body: Json) -> Json:
    """What is asked of one row."""
    if what == "Microsoft.Dynamics.CRM.ReplacePrivilegesRole":
        environment["roles"][row]["privileges"] = body["Privileges"]
        return {}
    assert kind == "systemusers"
    held: list[str] = environment["systemusers"][row]["roles"]
    if what == "systemuserroles_association":
        return {"value": [{"roleid": role, "name": environment["roles"][role]["name"]} for role in held]}
    if what == "systemuserroles_association/$ref":
        match = re.fullmatch(r"https://[^/]+/api/data/v9\.2/roles\(([\w-]+)\)", body["@odata.id"])
        assert match
        held.append(match[1])
        return {}
    assert what == "Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
    return {"RolePrivileges": [one for role in held for one in environment["roles"][role]["privileges"]]}


def rows(environment: Json, path: str, method: str, options: dict[str, str], body: Json) -> Json:
    table: dict[str, Json] = environment[path]
    key = {"roles": "roleid", "systemusers": "systemuserid"}[path]
    if method == "POST":
        assert body.pop("businessunitid@odata.bind") == f"/businessunits({environment['unit']})"
        made = {key: str(uuid.uuid4()), **body, "privileges": [], "roles": [], "isdisabled": False}
        table[made[key]] = made
        return made
    column, value = re.findall(r"(name|applicationid) eq '?([\w -]+?)'?(?: and|$)", options["$filter"])[0]
    return {"value": [one for one in table.values() if one.get(column) == value]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
