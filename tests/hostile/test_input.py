"""Anything at all as an action log or an audit blob: rows, or a refusal that the app knows, in bounded memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from readers import CORPUS, cases, decoded, read

from local.desk import ROOT
from shared.errors import TooLarge, Unreadable

REFUSALS = (Unreadable, TooLarge)
PEAK = Path(__file__).with_name("peak.py")
FUZZ = Path(__file__).with_name("fuzz.py")
FUZZ_S = int(os.environ.get("FLOWTRAIL_FUZZ_S", "300"))
LIMITS = ("-timeout=60", "-rss_limit_mb=2048", f"-dict={FUZZ.with_suffix('.dict')}")
"""One input may take so many seconds and MiB."""
UNREADABLE_LOGS = frozenset(
    {
        "base64-that-stops",
        "bracket",
        "brackets",
        "digits-without-end",
        "empty",
        "gzip",
        "infinity",
        "no-end",
        "no-list",
        "no-number",
        "number-out-of-range",
        "raw-control-characters",
        "two-documents",
        "utf-16",
        "web-page",
        "white-space",
        "wrapped-base64-of-nothing",
        "wrapped-in-itself",
    }
)
UNREADABLE_BLOBS = frozenset({"brackets", "empty", "no-end", "no-list", "no-number", "web-page"})

ODD_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(min_value=1 << 62),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
        st.sampled_from(
            ["0001-01-01T00:00:00", "9999-12-31T23:59:59.9999999Z", "2026-05-19T12:00:00Z", "Failed", "="]
        ),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
ACTION_FIELDS = (
    "name startTime endTime index functionName insideErrorHandling status inputs outputs error errorCode"
)
RECORD_FIELDS = (
    "Id CreationTime Workload RecordType Operation UserId UserType ResultStatus ClientIP PropertyCollection "
    "AdditionalInfo FlowDetailsUrl ObjectId BotId ResourceId AppName EntityId RecipientUPN"
)


def refusal_of(reader: Callable[[bytes], object], data: bytes) -> str:
    """The message of a refusal that the app knows; any other error comes out."""
    try:
        reader(data)
    except REFUSALS as refusal:
        return str(refusal)
    return ""


def members(fields: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(fields.split()), ODD_VALUES, max_size=6)


@st.composite
def damaged(draw: st.DrawFn, folder: str) -> bytes:
    """A case of the corpus with a few bytes changed, left out or said twice."""
    data = bytearray(draw(st.sampled_from(cases(folder))).read_bytes()[:4000])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 20))
        piece = draw(st.one_of(st.binary(max_size=4), st.just(bytes(data[at : at + length]) * 2)))
        data[at : at + length] = piece
    return bytes(data)


@pytest.mark.parametrize("case", cases("action_logs"), ids=lambda case: case.stem)
def test_each_odd_log_is_rows_or_refused(case: Path) -> None:
    if case.stem in UNREADABLE_LOGS:
        with pytest.raises(Unreadable):
            decoded(case.read_bytes())
    else:
        assert decoded(case.read_bytes()) >= 1


@pytest.mark.parametrize("case", cases("audit_blobs"), ids=lambda case: case.stem)
def test_each_odd_blob_gives_its_good_record(case: Path) -> None:
    if case.stem in UNREADABLE_BLOBS:
        with pytest.raises(Unreadable):
            read(case.read_bytes())
    elif case.stem != "empty-list":
        assert "11111111-1111-1111-1111-111111111111" in {row["event_id"] for row in read(case.read_bytes())}


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for reader in (decoded, read):
        assert len(refusal_of(reader, data)) < 500


@given(damaged("action_logs"))
def test_any_damage_to_a_log(data: bytes) -> None:
    assert len(refusal_of(decoded, data)) < 500


@given(damaged("audit_blobs"))
def test_any_damage_to_a_blob(data: bytes) -> None:
    assert len(refusal_of(read, data)) < 500


@given(st.lists(st.one_of(members(ACTION_FIELDS), ODD_VALUES), min_size=1, max_size=4))
def test_any_values_are_rows_of_a_log(actions: list[Any]) -> None:
    assert decoded(json.dumps({"actions": actions}).encode()) == len(actions)


@given(st.lists(members(RECORD_FIELDS), min_size=1, max_size=4))
@example([{"Workload": "PowerApps", "RecordType": 1 << 63}])
def test_any_values_are_read_or_left_out(records: list[dict[str, Any]]) -> None:
    read(json.dumps(records).encode())
    wanted = [{**record, "Workload": "PowerApps"} for record in records]
    assert len(read(json.dumps(wanted).encode())) == len(wanted)


def peak_of(case: str, size: int) -> tuple[str, float]:
    """What became of a generated case in a process of its own, and the MiB that it took above those before it."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, PEAK, case, str(size)], check=True, capture_output=True, text=True, cwd=ROOT
    )
    told = json.loads(done.stdout)
    return told["outcome"], told["peak_mib"]


@pytest.mark.parametrize(
    ("case", "size", "outcome", "most_mib"),
    [
        ("tiny actions", 200_000, "200000 rows", 250),
        ("nested log", 100_000, "Unreadable", 60),
        ("nested blob", 100_000, "Unreadable", 60),
        ("long text", 30_000_000, "1 rows", 250),
        ("text full of cuts", 5_000_000, "1 rows", 150),
        ("endless action", 60_000_000, "TooLarge", 250),
        ("tiny records", 20_000, "20000 rows", 150),
        ("base64 in base64", 12, "1 rows", 60),
    ],
)
def test_memory_has_a_bound(case: str, size: int, outcome: str, most_mib: float) -> None:
    found, peak_mib = peak_of(case, size)
    assert found == outcome
    assert peak_mib < most_mib


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_million_actions_are_too_many_and_take_no_more_memory_than_one_million() -> None:
    found, peak_mib = peak_of("tiny actions", 10_000_000)
    assert found == "TooLarge"
    assert peak_mib < 900


@pytest.mark.soak
@pytest.mark.timeout(24 * 3600)
@pytest.mark.parametrize("folder", ["action_logs", "audit_blobs"])
def test_fuzzing_by_coverage_finds_nothing(folder: str, tmp_path: Path) -> None:
    """Each reader for a while, from the corpus on; what is found becomes a case of the corpus."""
    python = python_with_atheris()
    grown = tmp_path / "grown"
    grown.mkdir()
    command = [python, FUZZ, folder, grown, CORPUS / folder, f"-max_total_time={FUZZ_S}", *LIMITS]
    done = subprocess.run(command, check=False, capture_output=True, cwd=tmp_path)  # noqa: S603 - our own program
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert (done.returncode, found) == (0, {}), done.stderr.decode(errors="replace")[-4000:]


def python_with_atheris() -> str:
    """The Python that `dev.py soak` has made for it, else this one."""
    python = os.environ.get("FLOWTRAIL_FUZZ_PYTHON", sys.executable)
    asked = [python, "-c", "import atheris"]
    if subprocess.run(asked, check=False, capture_output=True).returncode:  # noqa: S603 - a Python of ours
        pytest.skip("there is no atheris, which is made for Linux on x86-64 and Python 3.12 or newer only")
    return python


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=20_000)
@given(st.one_of(damaged("action_logs"), damaged("audit_blobs")))
def test_much_damage(data: bytes) -> None:
    for reader in (decoded, read):
        assert len(refusal_of(reader, data)) < 500
