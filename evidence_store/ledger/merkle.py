"""Merkle tree arithmetic of RFC 6962, section 2.1. Pure: storage is the caller's.

A tree is read through `node(level, position)`: the hash of the complete subtree over the leaves
[position · 2^level, (position + 1) · 2^level). Such a hash never changes once its last leaf is there, so it can be
stored for good, and every root and proof costs O(log n) of them. Which ones are read depends on sizes and indices
only, never on hashes: `coordinates` tells beforehand, so that a database is asked once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from evidence_store.errors import ChainBroken, InvalidInput

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
MAX_PROOF: Final = 63
"""An inclusion proof has at most as many hashes as a tree of 2⁶³ leaves has levels."""

_TILE: Final = 8
"""Levels of a tile: over 256 leaves, as a tiled log's (C2SP tlog-tiles)."""
_ROW: Final = 56

Node = Callable[[int, int], bytes]
Coordinate = tuple[int, int]


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(00 ‖ data): RFC 6962's domain for leaves."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(01 ‖ left ‖ right): RFC 6962's domain for inner nodes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def node_key(level: int, position: int) -> int:
    """The coordinate of an inner node (level 1 and up, over fewer than 2⁵⁶ leaves) as one number.

    By tiles of eight levels, tile after tile, and from left to right within a tile: what a proof reads of the lower
    eight levels lies on one or two pages of a database, where level by level it would be a page for each.
    """
    row, height = divmod(level - 1, _TILE)
    across = _TILE - 1 - height
    tile, place = position >> across, position & ((1 << across) - 1)
    return (row << _ROW) + (tile << _TILE) + (((2 * place + 1) << height) - 1)


def node_at(key: int) -> Coordinate | None:
    """The inner node that has this key. None where none has: a tile leaves its last place free."""
    row, rest = key >> _ROW, key & ((1 << _ROW) - 1)
    tile, place = rest >> _TILE, rest & ((1 << _TILE) - 1)
    if place == (1 << _TILE) - 1:
        return None
    height = (~place & (place + 1)).bit_length() - 1
    return row * _TILE + height + 1, (tile << (_TILE - 1 - height)) + (place >> (height + 1))


def row_of(key: int) -> int:
    """Of tiles: 0 for those over the leaves. Its keys lie side by side."""
    return key >> _ROW


def root(size: int, node: Node) -> bytes:
    """MTH(D[0:size])."""
    if size < 0:
        raise InvalidInput("a tree has no negative size", code="tree-size")
    return EMPTY_ROOT if size == 0 else _subtree(0, size, node)


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """PATH(index, D[0:size]), from the leaf's sibling up (RFC 6962, 2.1.1). Raises InvalidInput `tree-size`."""
    if not 0 <= index < size:
        raise InvalidInput("no such entry in a tree of that size", code="tree-size")
    start, end = 0, size
    path = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    return [_subtree(start, end, node) for start, end in reversed(path)]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """PROOF(old, D[0:new]) (RFC 6962, 2.1.2); empty for old = 0 and for old = new. Raises InvalidInput `tree-size`."""
    if not 0 <= old <= new:
        raise InvalidInput("a tree grows, it does not shrink", code="tree-size")
    if old in (0, new):
        return []
    start, end = 0, new
    path = []
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    # The subtree that ends where the old tree ended; the verifier has it already when it is the whole old tree.
    if start != 0:
        path.append((start, end))
    return [_subtree(start, end, node) for start, end in reversed(path)]


def completed_nodes(size: int, leaves: Iterable[bytes], node: Node) -> Iterator[tuple[int, int, bytes]]:
    """Every (level, position, hash) that becomes complete when these leaf hashes are appended to `size` leaves.

    Level 0 included. `node` is asked for nodes of the tree as it was, of this call's own never.
    """
    fresh: dict[Coordinate, bytes] = {}
    for index, leaf in enumerate(leaves, start=size):
        level, position, value = 0, index, leaf
        fresh[level, position] = value
        yield level, position, value
        while position % 2:
            sibling = fresh.get((level, position - 1))
            value = node_hash(node(level, position - 1) if sibling is None else sibling, value)
            level, position = level + 1, position // 2
            fresh[level, position] = value
            yield level, position, value


def frontier(size: int) -> list[Coordinate]:
    """The complete subtrees that make up a tree of this size, largest first: all that appending to it can ask for."""
    return list(_cover(0, size))


def coordinates(compute: Callable[[Node], object]) -> list[Coordinate]:
    """Which nodes `compute` reads, found by running it over a tree that is not there."""
    wanted: dict[Coordinate, None] = {}

    def note(level: int, position: int) -> bytes:
        wanted[level, position] = None
        return b""

    compute(note)
    return list(wanted)


def reader(nodes: Mapping[Coordinate, bytes]) -> Node:
    """`node` over nodes that were fetched. A missing one raises ChainBroken `ledger-node-missing`."""

    def node(level: int, position: int) -> bytes:
        try:
            return nodes[level, position]
        except KeyError:
            raise ChainBroken(f"tree node {level}/{position} is missing", code="ledger-node-missing") from None

    return node


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> None:
    """Checks that the leaf with this leaf hash is entry `index` of the tree (RFC 9162, 2.1.3.2).

    Raises ChainBroken `inclusion-proof`.
    """
    broken = ChainBroken("the inclusion proof does not lead to the root", code="inclusion-proof")
    if not 0 <= index < size or len(proof) > MAX_PROOF:
        raise broken
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise broken
        if position % 2 or position == last:
            value = node_hash(sibling, value)
            while position % 2 == 0 and position != 0:
                position, last = position // 2, last // 2
        else:
            value = node_hash(value, sibling)
        position, last = position // 2, last // 2
    if last != 0 or value != expected_root:
        raise broken


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Checks that the tree of `new` leaves begins with the tree of `old` leaves (RFC 9162, 2.1.4.2).

    Raises ChainBroken `consistency-proof`. An empty old tree is consistent with every tree.
    """
    broken = ChainBroken("the later tree does not continue the earlier one", code="consistency-proof")
    if not 0 <= old <= new or len(proof) > MAX_PROOF + 1:
        raise broken
    if old in (0, new):
        if proof or old_root != (EMPTY_ROOT if old == 0 else new_root):
            raise broken
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise broken
    position, last = old - 1, new - 1
    while position % 2:
        position, last = position // 2, last // 2
    from_old = from_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise broken
        if position % 2 or position == last:
            from_old = node_hash(sibling, from_old)
            from_new = node_hash(sibling, from_new)
            while position % 2 == 0 and position != 0:
                position, last = position // 2, last // 2
        else:
            from_new = node_hash(from_new, sibling)
        position, last = position // 2, last // 2
    if last != 0 or from_old != old_root or from_new != new_root:
        raise broken


def _split(width: int) -> int:
    """The largest power of two below the width (width ≥ 2): where RFC 6962 divides a range."""
    return 1 << ((width - 1).bit_length() - 1)


def _cover(start: int, end: int) -> Iterator[Coordinate]:
    """The complete subtrees of the range, left to right. `start` is a multiple of the first one's width."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def _subtree(start: int, end: int, node: Node) -> bytes:
    hashes = [node(level, position) for level, position in _cover(start, end)]
    value = hashes.pop()
    while hashes:
        value = node_hash(hashes.pop(), value)
    return value
