"""What the written policy makes of cosignatures, silence and a no; and which policies are none."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evidence_store.errors import InvalidInput
from evidence_store.ledger.checkpoint import NoteSigner
from evidence_store.ledger.cosignature import Cosigner
from evidence_store.ledger.policy import Cosigned, Policy, Refused, State, decide

NOW = 1_795_000_000


def key(name: str) -> str:
    return str(Cosigner(name, Ed25519PrivateKey.generate()).verifier)


KEYS = [key(f"witness.example/w{n}") for n in range(3)]
OLD = key("witness.example/w0")
UNTIL = 1_801_439_999  # 2027-01-31T23:59:59Z


def text(quorum: int = 1, lag: int = 60, count: int = 2, extra: str = "") -> str:
    tables = [
        f'[[witness]]\nname = "W{n}"\nurl = "https://w{n}.example:7810/"\nkey = "{KEYS[n]}"\n' for n in range(count)
    ]
    return f"quorum = {quorum}\ngreatest_lag = {lag}\n" + "".join(tables) + extra


def always(size: int, at: int) -> Callable[[int], int | None]:
    """A log of that size, all of it signed then."""
    return lambda covered: at if covered < size else None


def test_a_policy_is_read() -> None:
    policy = Policy.parse(
        text(extra=f'authority = "a.pem"\nold_key = "{OLD}"\nold_key_until = 2027-01-31\n'), Path("/x")
    )
    first, second = policy.members
    assert (policy.quorum, policy.greatest_lag, first.name, first.url) == (1, 60, "W0", "https://w0.example:7810")
    assert (first.authority, second.authority) == (None, Path("/x/a.pem"))
    assert (str(second.old_key), second.old_key_until) == (OLD, UNTIL)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", r"\[\[witness\]\]"),
        ("quorum = [", "not TOML"),
        (text(quorum=3), "there are 2 witnesses"),
        (text(quorum=0), "quorum has to be"),
        (text().replace("quorum = 1", "quorum = true"), "quorum has to be"),
        (text().replace("greatest_lag = 60", ""), "greatest_lag has to be"),
        (text().replace(KEYS[1], KEYS[0]), "given twice"),
        (text().replace(KEYS[1], KEYS[1][:-4] + "AAAA"), "not a verifier key"),
        (text().replace(KEYS[1], str(NoteSigner("w", Ed25519PrivateKey.generate()).verifier)), "not a verifier key"),
        (text().replace("https://w1", "http://w1"), "has to begin with https"),
        (text().replace("https://w1.example:7810/", "w1.example"), "url is an address"),
        (text().replace("https://w1", "https://me:secret@w1"), "url is an address"),
        (text(extra="quorom = 1\n"), "has no quorom"),
        ("quorun = 1\n" + text(), "has no quorun"),
        (text(extra=f'old_key = "{OLD}"\n'), "go together"),
        (text(extra=f'old_key = "{OLD}"\nold_key_until = "soon"\n'), "is a date"),
        (text(extra=f'old_key = "{OLD}"\nold_key_until = 2027-01-31T10:00:00\n'), "time zone"),
        (text(count=0), r"\[\[witness\]\]"),
    ],
)
def test_what_cannot_be_followed_is_no_policy(given: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        Policy.parse(given)
    assert caught.value.code == "witness-policy"
    assert "secret" not in str(caught.value)


def test_loopback_needs_no_tls() -> None:
    assert Policy.parse(text().replace("https://w1.example", "http://127.0.0.1")).members[1].url.startswith("http://")


def test_a_quorum_covers_what_so_many_witnesses_have_reached() -> None:
    """Against counting by hand, for random cosignatures of three witnesses."""
    chance = random.Random(3)  # noqa: S311 - the same cases each time
    for _ in range(300):
        quorum = chance.randint(1, 3)
        policy = Policy.parse(text(quorum=quorum, count=3))
        cosigned = [
            Cosigned(chance.choice([*KEYS, OLD]), chance.randint(1, 9), NOW - chance.randint(0, 99))
            for _ in range(chance.randint(0, 8))
        ]
        decision = decide(policy, cosigned, {}, always(9, NOW), NOW)
        by_hand = [
            n for n in range(10) if sum(any(c.key == k and c.size >= n for c in cosigned) for k in KEYS) >= quorum
        ]
        assert decision.covered == max(by_hand, default=0)
        assert decision.state is State.COVERED, "nothing has waited for longer than the policy allows"


@pytest.mark.parametrize(("waited", "state"), [(60, State.COVERED), (61, State.LAGGING)])
def test_silence_is_declared_when_it_is_longer_than_the_policy_allows(waited: int, state: State) -> None:
    decision = decide(Policy.parse(text()), [Cosigned(KEYS[0], 5, NOW)], {}, always(6, NOW - waited), NOW)
    assert (decision.state, decision.covered) == (state, 5)
    assert [each.late for each in decision.members] == [waited > 60] * 2


def test_one_that_is_late_is_named_while_the_quorum_holds() -> None:
    decision = decide(Policy.parse(text()), [Cosigned(KEYS[0], 6, NOW)], {}, always(6, NOW - 500), NOW)
    assert decision.state is State.COVERED
    assert [each.late for each in decision.members] == [False, True]


def test_a_ledger_in_which_nothing_happens_is_never_late() -> None:
    policy, cosigned = Policy.parse(text(quorum=2)), [Cosigned(k, 6, NOW - 10**6) for k in KEYS[:2]]
    assert decide(policy, cosigned, {}, always(6, NOW - 10**6), NOW).state is State.COVERED


def test_a_no_of_one_is_a_veto_whatever_others_say_and_of_a_stranger_nothing() -> None:
    policy, no = Policy.parse(text()), Refused("ledger-rewritten", 6, 6, NOW)
    cosigned = [Cosigned(k, 6, NOW) for k in KEYS[:2]]
    vetoed = decide(policy, cosigned, {KEYS[1]: no}, always(6, NOW), NOW)
    assert vetoed.state is State.VETOED
    assert [each.member.id for each in vetoed.vetoes] == [KEYS[1]]
    assert decide(policy, cosigned, {KEYS[2]: no}, always(6, NOW), NOW).state is State.COVERED


@pytest.mark.parametrize(("at", "covered"), [(UNTIL, 5), (UNTIL + 1, 0)])
def test_an_old_key_is_believed_until_its_day_is_over_and_is_the_same_voice(at: int, covered: int) -> None:
    rollover = f'old_key = "{OLD}"\nold_key_until = 2027-01-31\n'
    policy = Policy.parse(text(count=1, extra=rollover))
    assert decide(policy, [Cosigned(OLD, 5, at)], {}, always(5, NOW), NOW).covered == covered
    both = Policy.parse(text(quorum=2, extra=rollover))
    by_one = [Cosigned(KEYS[1], 5, NOW), Cosigned(OLD, 5, NOW)]
    assert decide(both, by_one, {}, always(5, NOW), NOW).covered == 0, "two keys of one witness are one voice"
