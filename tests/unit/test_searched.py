"""Pages of a search: the events of one keep their blob when they are read again from `raw`."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from shared.audit.searched import as_kept, link_digest, read_kept, searched_blob
from shared.state.ledger import row_of

ASKED = datetime(2026, 5, 19, 10, 2, 3, 456_789, tzinfo=UTC)
GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize("query_id", [GUID, "168ec429", "odd/id with a space"])
def test_a_page_that_is_kept_tells_its_query_and_its_time(query_id: str) -> None:
    blob = searched_blob(query_id, ASKED)
    name = row_of(as_kept(blob, link_digest("https://next")).content_id)
    assert read_kept(name, date(2026, 5, 19)) == blob
    assert blob.created == ASKED.replace(microsecond=456_000)


def test_a_page_that_an_older_version_kept_counts_from_the_end_of_its_day() -> None:
    blob = read_kept(f"search-{GUID}-0123456789ab", date(2026, 5, 19))
    assert blob
    assert (blob.content_id, blob.created) == (f"search-{GUID}", datetime(2026, 5, 20, tzinfo=UTC))


@pytest.mark.parametrize("name", ["20260519100203000000001$20260519100203000000001$audit_general$x", "search-x"])
def test_other_files_are_none_of_a_search(name: str) -> None:
    assert read_kept(name, date(2026, 5, 19)) is None
