"""The people of the made-up tenant, who run flows in Dataverse and leave traces in the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from local.tenant.world import Row, stable_id

DOMAIN = "nordwind.example"

_NAMES = (
    "Anna Bergström",
    "Ben Okafor",
    "Chloé Martin",
    "Dilara Şahin",
    "Emil Sørensen",
    "Fatima Zahra",
    "Grzegorz Łukasik",
    "Hana Nováková",
    "Ivan Petrov",
    "Jürgen Groß",
    "Kavita Rao",
    "Liam O'Connor",
    "Mei Tanaka 田中",
    "Nuria Peña",
    "Oskar Weiß",
    "Priya Nair",
)
_ROBOTS = ("rpa01", "rpa02", "rpa03", "rpa04")


@dataclass(frozen=True, slots=True)
class Person:
    """One account; `upn` as Dataverse holds it, which is not always lower case."""

    name: str
    upn: str
    object_id: str
    is_robot: bool

    def user_id(self, organization_id: str) -> str:
        """Its systemuser row in one organization."""
        return stable_id(organization_id, self.object_id)


def people(seed: int) -> tuple[Person, ...]:
    """People first, then the accounts that unattended robots sign in with."""
    persons = [
        Person(name, _upn(number, name), stable_id(seed, "person", number), is_robot=False)
        for number, name in enumerate(_NAMES)
    ]
    robots = [
        Person(f"Robot {name}", f"svc-{name}@{DOMAIN}", stable_id(seed, name), is_robot=True) for name in _ROBOTS
    ]
    return (*persons, *robots)


def _upn(number: int, name: str) -> str:
    first, last = name.split()[:2]
    ascii_only = "".join(letter for letter in f"{first}.{last}" if letter.isascii() and letter != "'")
    return f"{ascii_only}@{DOMAIN.capitalize() if number % 5 == 2 else DOMAIN}"  # noqa: PLR2004 - any one of five


def user_rows(
    persons: tuple[Person, ...], organization_id: str, client_id: str, unit_id: str, anchor: datetime
) -> tuple[Row, ...]:
    """The systemusers of one organization, its application user among them."""
    created = (anchor - timedelta(days=400)).replace(microsecond=0)
    rows = [
        {
            "systemuserid": person.user_id(organization_id),
            "fullname": person.name,
            "domainname": person.upn,
            "internalemailaddress": person.upn.lower(),
            "azureactivedirectoryobjectid": person.object_id,
        }
        for person in persons
    ]
    rows.append(
        {
            "systemuserid": stable_id(organization_id, client_id),
            "fullname": "# Flowtrail",
            "domainname": "",
            "applicationid": client_id,
        }
    )
    common = {"isdisabled": False, "accessmode": 0, "_businessunitid_value": unit_id}
    stamps = {"createdon": created, "modifiedon": created}
    return tuple({**row, **common, **stamps, "versionnumber": at} for at, row in enumerate(rows, 1000))
