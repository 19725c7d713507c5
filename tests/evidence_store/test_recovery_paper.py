"""The recovery key on paper: M of N lists give it back, fewer give nothing, and what was mistyped is named."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from evidence_store import durable
from evidence_store.errors import InvalidInput
from evidence_store.recovery import paper, sheet
from evidence_store.sealing.keys import PrivateKey

HEADING = sheet.Heading("Børnehus <Syd>", "ab" * 32, 5, 3, "2026-11-22")


@pytest.fixture(scope="module")
def private() -> PrivateKey:
    return PrivateKey.generate()


@pytest.fixture(scope="module")
def lists(private: PrivateKey) -> list[paper.PaperShare]:
    return paper.split(private, 5, 3)


def code(shares: list[paper.PaperShare]) -> str:
    with pytest.raises(InvalidInput) as refused:
        paper.combine(shares)
    return refused.value.code


def test_any_three_of_five_and_more_give_the_key_back(private: PrivateKey, lists: list[paper.PaperShare]) -> None:
    for size in (3, 4, 5):
        for chosen in itertools.combinations(lists, size):
            assert paper.combine(chosen) == private
    assert [each.number for each in lists] == [1, 2, 3, 4, 5]
    assert {len(each.words) for each in lists} == {paper.WORDS}


def test_two_are_too_few_and_the_same_one_twice_is_one(lists: list[paper.PaperShare]) -> None:
    assert code(lists[:2]) == "recovery-too-few"
    assert code([lists[0], lists[0], lists[1]]) == "recovery-mixed"
    assert code([]) == "recovery-mixed"


def test_lists_of_two_splittings_of_one_key_are_not_mixed(private: PrivateKey, lists: list[paper.PaperShare]) -> None:
    again = paper.split(private, 5, 3)
    assert code([lists[0], lists[1], again[2]]) == "recovery-mixed"
    assert paper.combine(again[:3]) == private


@pytest.mark.parametrize(("shares", "threshold"), [(5, 1), (2, 3), (17, 3), (1, 1), (0, 0)])
def test_numbers_that_make_no_sense(private: PrivateKey, shares: int, threshold: int) -> None:
    with pytest.raises(InvalidInput):
        paper.split(private, shares, threshold)


def test_the_most_there_can_be(private: PrivateKey) -> None:
    assert paper.combine(paper.split(private, 16, 8)[4:12]) == private


def test_a_list_is_read_as_people_type_it(lists: list[paper.PaperShare]) -> None:
    words = lists[0].words
    numbered = "\n".join(f"{number}. {word[:4].upper()}" for number, word in enumerate(words, start=1))
    assert paper.read_share(numbered) == lists[0]


def test_a_mistyped_list_names_the_place_and_never_a_word(lists: list[paper.PaperShare]) -> None:
    words = list(lists[0].words)
    for wrong, expected in (
        ([*words[:6], "zzzz", *words[7:]], "recovery-word"),
        ([*words[:6], words[7], words[6], *words[8:]], "recovery-share"),
        (words[:-1], "recovery-share"),
        ([*words, words[0]], "recovery-share"),
    ):
        with pytest.raises(InvalidInput) as refused:
            paper.read_share(" ".join(wrong))
        assert refused.value.code == expected
        assert not any(word in str(refused.value).split() for word in words)
        assert refused.value.__cause__ is None
    assert "word 7" in str(_refusal([*words[:6], "zzzz", *words[7:]]))


def _refusal(words: list[str]) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        paper.read_share(" ".join(words))
    return refused.value


def test_the_key_of_another_house_is_told_apart(lists: list[paper.PaperShare]) -> None:
    with pytest.raises(InvalidInput) as refused:
        paper.belongs(paper.combine(lists[:3]), PrivateKey.generate().public_key())
    assert refused.value.code == "recovery-other-escrow"


@pytest.mark.parametrize("form", [sheet.as_text, sheet.as_page])
def test_a_sheet_is_read_back_as_it_was_printed(lists: list[paper.PaperShare], form: object) -> None:
    assert callable(form)
    for share in lists:
        printed = form(share, HEADING)
        assert paper.read_share(sheet.words_on(printed)) == share
        assert f"ANDEL {share.number} AF 5" in printed
        assert "3 af de 5 andele" in printed
        assert "abababab" in printed
        assert "<Syd>" not in printed or form is sheet.as_text


def test_what_is_destroyed_was_overwritten_where_it_lay(tmp_path: Path) -> None:
    path, other = tmp_path / "key", tmp_path / "the same file under another name"
    durable.write_durably(path, b"secret" * 5)
    other.hardlink_to(path)
    durable.destroy(path)
    assert not path.exists()
    assert other.read_bytes() == bytes(30)
