"""Who is watching, on a clock of the test's own."""

from __future__ import annotations

import pytest

from evidence_store.errors import Conflict, NotFound
from monitor_room.roster import LEASE_NS, Roster
from recorder.feed import Presence


def test_only_what_was_shown_is_reported() -> None:
    roster = Roster()
    roster.admit("s1", "account-1", "wide", 0)
    roster.admit("s2", "account-2", "wide", 0)
    assert roster.watching() == []
    assert roster.show("s1", 100) == Presence("joined", "account-1", "wide", 100)
    assert roster.show("s1", 101) is None
    assert [(row.viewer, row.camera, row.since_utc_ns) for row in roster.watching()] == [("account-1", "wide", 100)]
    assert roster.leave("s2", 200) is None
    assert roster.leave("s1", 200) == Presence("left", "account-1", "wide", 200)
    assert roster.leave("s1", 201) is None
    assert roster.show("s1", 202) is None
    assert roster.watching() == []


def test_a_lease_ends_on_the_nanosecond_and_cannot_be_revived() -> None:
    roster = Roster()
    roster.admit("s", "account", "wide", 0)
    assert roster.renew("s", 5) == 5 + LEASE_NS
    assert roster.run_out(4 + LEASE_NS) == []
    assert roster.run_out(5 + LEASE_NS) == ["s"]
    with pytest.raises(NotFound):
        roster.renew("s", 5 + LEASE_NS)
    with pytest.raises(NotFound):
        roster.renew("other", 0)


def test_a_session_is_admitted_once() -> None:
    roster = Roster()
    roster.admit("s", "account-1", "wide", 0)
    with pytest.raises(Conflict):
        roster.admit("s", "account-2", "close", 0)
    roster.show("s", 1)
    assert [row.viewer for row in roster.watching()] == ["account-1"]
