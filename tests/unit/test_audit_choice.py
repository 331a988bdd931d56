"""Which records of a content blob are wanted, and that they come out as they were received."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import WORKLOADS

from shared.audit.blob import select
from shared.errors import Unreadable


def kept(*records: Any, workloads: frozenset[str] = WORKLOADS) -> int:
    return len(select(json.dumps(records).encode(), workloads).kept)


@pytest.mark.parametrize(
    "record",
    [
        {"Workload": "PowerPlatform"},
        {"Workload": "POWERAPPS"},
        {"Workload": "Other", "RecordType": 30},
        {"Workload": "Other", "RecordType": "45"},
        {"RecordType": "PowerPlatformAdministratorActivity"},
        {"Workload": 5, "RecordType": 256},
        {"Workload": ["PowerApps"], "RecordType": 256},
        {"Workload": "Other", "RecordType": "PowerAppsResource"},
        {"Workload": "Other", "RecordType": 79, "AdditionalInfo": {"EnvironmentName": "e", "ActionName": "Put"}},
        {"Workload": "Other", "RecordType": 187, "AdditionalInfo": '{"policyId": "p"}'},
        {"Workload": "Other", "FlowDetailsUrl": "https://x.example/environments/e/flows/f/flowDetails"},
        {"Workload": "Other", "BotId": "b", "BotSchemaName": "s"},
        {"Workload": "PowerPlatform "},
        {"Workload": "Other", "RecordType": "256 "},
        {"Workload": "Other", "RecordType": 256.0},
        {"Workload": "Other", "RecordType": " PowerAppsResource"},
        {"Workload": "Other", "FlowDetailsUrl": "https://x.example/Environments/e/Flows/f"},
        {
            "Workload": "Other",
            "PropertyCollection": [{"Name": "PowerPlatform.analytics.resource.id", "Value": "x"}],
        },
    ],
)
def test_a_record_is_wanted_by_workload_or_type_or_form(record: dict[str, Any]) -> None:
    assert kept(record) == 1


@pytest.mark.parametrize(
    "record",
    [
        {"Workload": "MicrosoftTeams", "RecordType": 25},
        {"Workload": "Other", "RecordType": 79},
        {"Workload": "Other", "RecordType": 187},
        {"Workload": "Other", "RecordType": 25, "AdditionalInfo": {"EnvironmentName": "e"}},
        {"Workload": "Other", "FlowDetailsUrl": "none"},
        {"Workload": "Other", "BotId": None},
        {"Workload": "Other", "BotId": " "},
        {"Workload": "Other", "RecordType": 256.5},
        {"Workload": "CRM", "RecordType": 21},
        {"Workload": "Exchange", "Text": '"Workload":"PowerApps"'},
        {"Workload": "Exchange", "PropertyCollection": [{"Name": "other", "Value": "x"}]},
        {},
    ],
)
def test_other_records_are_not(record: dict[str, Any]) -> None:
    assert kept(record) == 0


@pytest.mark.parametrize("numbers", [b"256 256.0", b"256.0 256", b"1 true 256", b"true 1 256.0"])
def test_a_record_type_is_one_however_its_number_is_written(numbers: bytes) -> None:
    records = b",".join(b'{"Workload":"Other","RecordType":%b}' % number for number in numbers.split())
    assert len(select(b"[%b]" % records, WORKLOADS).kept) == numbers.count(b"256")


def test_the_address_of_a_flow_with_escaped_slashes() -> None:
    record = rb'[{"Workload":"Other","FlowDetailsUrl":"https:\/\/x.example\/environments\/e\/Flows\/f"}]'
    assert len(select(record, WORKLOADS).kept) == 1


@pytest.mark.parametrize(("workload", "count"), [("powerplatform", 1), ("powerapps", 1), ("microsoftflow", 0)])
@pytest.mark.parametrize("number", [79, 187])
def test_a_contested_type_is_of_either_workload(number: int, workload: str, count: int) -> None:
    record = {"Workload": "Other", "RecordType": number, "AdditionalInfo": {"EnvironmentName": "e"}}
    assert kept(record, workloads=frozenset({workload})) == count


def test_what_is_dropped_is_counted_by_workload() -> None:
    selection = select(json.dumps([{"Workload": "Teams"}, {"Workload": "Teams"}, {}]).encode(), WORKLOADS)
    assert selection.dropped == {"Teams": 2, "(none)": 1}
    assert selection.records == 3


def test_dataverse_can_be_added() -> None:
    assert kept({"Workload": "CRM"}, {"RecordType": 21}, workloads=WORKLOADS | {"crm"}) == 2


def test_a_workload_that_is_not_wanted_is_not_kept_by_its_type() -> None:
    assert kept({"Workload": "MicrosoftFlow", "RecordType": 30}, workloads=frozenset({"powerplatform"})) == 0


def test_what_is_no_record_is_set_aside_alone() -> None:
    selection = select(b'[{"Workload":"PowerApps"}, 5, null, "x", {"Workload":"Teams"}]', WORKLOADS)
    assert (len(selection.kept), selection.failed, selection.records) == (1, [b"5", b"null", b'"x"'], 5)


SAYINGS = st.one_of(
    st.none(),
    st.integers(),
    st.sampled_from(["},{", '"Id":', "[{", '}]"', "\\", "{", "{}", ":", ":1,"]),
    st.dictionaries(st.sampled_from(["Id", ":", ","]), st.sampled_from([1, "{", ":1,"]), max_size=2),
    st.lists(st.fixed_dictionaries({"Id": st.text(max_size=3), "x": st.text(max_size=9)}), max_size=2),
)


RECORDS = st.dictionaries(st.sampled_from(["a", "b", "Id", "id", "Workload", "PropertyCollection"]), SAYINGS)


@given(
    before=st.lists(RECORDS, max_size=12),
    behind=st.lists(RECORDS, max_size=12),
    wanted=RECORDS,
    separators=st.sampled_from([(",", ":"), (" ,\n", " : ")]),
    ids=st.booleans(),
)
def test_a_wanted_record_is_cut_out_as_it_was_received(
    before: list[Any], behind: list[Any], wanted: dict[str, Any], separators: tuple[str, str], ids: bool
) -> None:
    """Whatever its neighbours hold, and whether or not all of them have the ids by which it is found."""

    def written(record: Any) -> str:
        return json.dumps({"Id": "1"} | record if ids else record, separators=separators)

    def with_workload(record: dict[str, Any], workload: str) -> dict[str, Any]:
        return record | {"Workload": workload, "PropertyCollection": []}

    others = [[written(with_workload(record, "Exchange")) for record in records] for records in (before, behind)]
    ours = written(with_workload(wanted, "PowerApps"))
    body = " [ " + separators[0].join([*others[0], ours, *others[1]]) + " ] "
    selection = select(body.encode(), WORKLOADS)
    assert selection.kept == [ours.encode()]
    assert selection.dropped == Counter({"Exchange": len(before) + len(behind)} if before or behind else {})


def test_many_records_among_others_come_in_their_order() -> None:
    records = [
        {"Id": str(at), "Workload": "PowerApps" if at in (0, 40, 41, 99) else "Exchange"} for at in range(100)
    ]
    kept_ones = select(json.dumps(records).encode(), WORKLOADS).kept
    assert [json.loads(record)["Id"] for record in kept_ones] == ["0", "40", "41", "99"]


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'[{"a":1}', b"[" * 100_000])
def test_a_blob_that_is_no_list_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        select(body, WORKLOADS)
