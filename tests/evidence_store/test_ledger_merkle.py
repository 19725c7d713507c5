"""The tree against RFC 6962's definitions, its published vectors, and another implementation (pymerkle)."""

from __future__ import annotations

import hashlib
import itertools
import random

import pymerkle
import pytest

from evidence_store.errors import ChainBroken, InvalidInput
from evidence_store.ledger import merkle

# The inputs and roots of the Certificate Transparency reference tests.
INPUTS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LARGEST = 130


class Tree:
    """Nodes in memory, made by the code under test one leaf at a time."""

    def __init__(self, data: list[bytes]) -> None:
        self.nodes: dict[merkle.Coordinate, bytes] = {}
        for size, entry in enumerate(data):
            self.nodes |= {
                (level, at): value
                for level, at, value in merkle.completed_nodes(size, [merkle.leaf_hash(entry)], self.node)
            }

    def node(self, level: int, position: int) -> bytes:
        return self.nodes[level, position]


DATA = [hashlib.sha256(bytes([k])).digest() for k in range(LARGEST)]
TREE = Tree(DATA)
ROOT = [merkle.root(size, TREE.node) for size in range(LARGEST + 1)]


def other() -> pymerkle.InmemoryTree:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in DATA:
        tree.append_entry(entry)
    return tree


def naive_root(data: list[bytes]) -> bytes:
    """MTH as RFC 6962 writes it."""
    if len(data) < 2:
        return merkle.leaf_hash(data[0]) if data else hashlib.sha256().digest()
    k = 1
    while 2 * k < len(data):
        k *= 2
    return merkle.node_hash(naive_root(data[:k]), naive_root(data[k:]))


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_published_roots(size: int) -> None:
    assert merkle.root(size, Tree(INPUTS).node).hex() == ROOTS[size]


def test_roots_are_those_of_the_definition_and_of_pymerkle() -> None:
    tree = other()
    for size in range(LARGEST + 1):
        assert ROOT[size] == naive_root(DATA[:size])
        if size:
            assert ROOT[size] == tree.get_root(size)


def test_inclusion_proofs_of_every_leaf_in_every_tree() -> None:
    tree = other()
    for size in range(1, LARGEST + 1):
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, TREE.node)
            merkle.verify_inclusion(merkle.leaf_hash(DATA[index]), index, size, proof, ROOT[size])
            if size % 13 == 0 or size > LARGEST - 3:
                path = tree.prove_inclusion(index + 1, size).serialize()["path"]
                assert [h.hex() for h in proof] == path[1:]


def naive_subproof(m: int, data: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF as RFC 6962 writes it."""
    if m == len(data):
        return [] if whole else [naive_root(data)]
    k = 1
    while 2 * k < len(data):
        k *= 2
    if m <= k:
        return [*naive_subproof(m, data[:k], whole), naive_root(data[k:])]
    return [*naive_subproof(m - k, data[k:], False), naive_root(data[:k])]


def test_consistency_proofs_between_all_sizes() -> None:
    # pymerkle's consistency proofs carry other subtrees than RFC 6962's: the definition itself is compared with.
    for old, new in itertools.combinations_with_replacement(range(LARGEST + 1), 2):
        proof = merkle.consistency_proof(old, new, TREE.node)
        merkle.verify_consistency(old, new, proof, ROOT[old], ROOT[new])
        if old > 0 and new % 13 == 0:
            assert proof == naive_subproof(old, DATA[:new], True)


def test_published_consistency_proof() -> None:
    proof = merkle.consistency_proof(2, 5, Tree(INPUTS).node)
    assert [h.hex() for h in proof] == [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ]


def test_wrong_inclusion_proofs_are_refused() -> None:
    chance = random.Random(1)  # noqa: S311 - the same flips in every run
    for size in (1, 2, 3, 7, 8, 64, 100, 130):
        for index in {0, size // 2, size - 1}:
            leaf, proof = merkle.leaf_hash(DATA[index]), merkle.inclusion_proof(index, size, TREE.node)
            wrong: list[tuple[bytes, int, int, list[bytes], bytes]] = [
                (merkle.leaf_hash(b"other"), index, size, proof, ROOT[size]),
                (leaf, index, size, proof, ROOT[size - 1]),
                (leaf, index, size, [*proof, ROOT[3]], ROOT[size]),
                (leaf, size, size, proof, ROOT[size]),
                (leaf, -1, size, proof, ROOT[size]),
                (leaf, index, size, [ROOT[1]] * 64, ROOT[size]),
            ]
            if proof:
                flipped = list(proof)
                at = chance.randrange(len(proof))
                flipped[at] = bytes([flipped[at][0] ^ 1]) + flipped[at][1:]
                wrong += [
                    (leaf, index, size, proof[:-1], ROOT[size]),
                    (leaf, index, size, flipped, ROOT[size]),
                    (leaf, index ^ 1, size, proof, ROOT[size]),
                    (leaf, index, size, proof[::-1] if len(set(proof)) > 1 else [], ROOT[size]),
                ]
            for arguments in wrong:
                with pytest.raises(ChainBroken) as refused:
                    merkle.verify_inclusion(*arguments)
                assert refused.value.code == "inclusion-proof"


def test_wrong_consistency_proofs_are_refused() -> None:
    for old, new in ((1, 2), (3, 7), (4, 7), (64, 130), (100, 130), (129, 130)):
        proof = merkle.consistency_proof(old, new, TREE.node)
        rewritten = Tree([b"another beginning", *DATA[1:]])
        for arguments in (
            (old, new, proof[:-1], ROOT[old], ROOT[new]),
            (old, new, [*proof, ROOT[3]], ROOT[old], ROOT[new]),
            (old, new, proof, ROOT[old - 1], ROOT[new]),
            (old, new, proof, ROOT[old], ROOT[new - 1]),
            (new, old, proof, ROOT[new], ROOT[old]),
            (old, new, merkle.consistency_proof(old, new, rewritten.node), ROOT[old], merkle.root(new, rewritten.node)),
        ):
            with pytest.raises(ChainBroken) as refused:
                merkle.verify_consistency(*arguments)
            assert refused.value.code == "consistency-proof"
    for arguments in (
        (5, 5, [ROOT[1]], ROOT[5], ROOT[5]),
        (5, 5, [], ROOT[5], ROOT[4]),
        (0, 5, [], ROOT[1], ROOT[5]),
        (0, 5, [ROOT[1]], ROOT[0], ROOT[5]),
        (-1, 5, [], ROOT[0], ROOT[5]),
    ):
        with pytest.raises(ChainBroken):
            merkle.verify_consistency(*arguments)


def test_sizes_that_cannot_be_are_refused() -> None:
    for compute in (
        lambda: merkle.root(-1, TREE.node),
        lambda: merkle.inclusion_proof(3, 3, TREE.node),
        lambda: merkle.inclusion_proof(-1, 3, TREE.node),
        lambda: merkle.consistency_proof(4, 3, TREE.node),
        lambda: merkle.consistency_proof(-1, 3, TREE.node),
    ):
        with pytest.raises(InvalidInput) as refused:
            compute()
        assert refused.value.code == "tree-size"


def test_every_inner_node_has_a_key_of_its_own_and_the_key_its_node() -> None:
    nodes = [(level, position) for level in range(1, 20) for position in range((1 << 18) >> level)]
    nodes += [(level, (1 << 56 >> level) - 1) for level in range(1, 57)]
    keys = [merkle.node_key(*node) for node in nodes]
    assert len(set(keys)) == len(set(nodes))
    assert min(keys) == 0
    assert max(keys) < 1 << 63
    assert [merkle.node_at(key) for key in keys] == nodes
    assert [merkle.node_at(key) for key in (255, 511, (1 << 56) + 255)] == [None] * 3, "a tile's free place"


def test_what_a_proof_reads_of_the_lower_levels_lies_side_by_side() -> None:
    """255 nodes over 256 leaves, in one stretch, each between those that it is made of."""
    for tile in (0, 7, 39_062):
        below = [
            (level, position) for level in range(1, 9) for position in range(tile << 8 - level, tile + 1 << 8 - level)
        ]
        keys = sorted(merkle.node_key(*node) for node in below)
        assert keys == list(range(tile << 8, (tile << 8) + 255))
        assert {merkle.row_of(key) for key in keys} == {0}
        for level, position in below:
            if level > 1:
                left, right = (merkle.node_key(level - 1, 2 * position + side) for side in (0, 1))
                assert left < merkle.node_key(level, position) < right
    assert merkle.row_of(merkle.node_key(9, 0)) == 1


def test_ten_million_leaves_cost_logarithmically_few_nodes() -> None:
    size = 10_000_019
    for index in (0, 1, size // 3, size - 1):
        wanted = merkle.coordinates(lambda node, index=index: merkle.inclusion_proof(index, size, node))  # type: ignore[misc]
        assert len(wanted) <= 2 * size.bit_length()
    assert (
        len(merkle.coordinates(lambda node: merkle.consistency_proof(size // 3, size, node))) <= 2 * size.bit_length()
    )
    assert len(merkle.frontier(size)) == size.bit_count()


def test_a_missing_node_is_a_broken_chain() -> None:
    with pytest.raises(ChainBroken) as refused:
        merkle.root(3, merkle.reader({(1, 0): ROOT[2]}))
    assert refused.value.code == "ledger-node-missing"
