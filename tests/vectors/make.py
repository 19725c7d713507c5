"""Makes what the vectors start from: two small packages of one house's own store, and that house's keys.

    python -m tests.vectors.make        writes tests/vectors/packages.tar.xz and keys.json anew

The takes go the whole way: recorder, spool, intake, manifest, copy desk, age, tar. The keys are handed out with them
because many defects have to be signed anew to be worth refusing; they are of an invented house and guard nothing.
"""

from __future__ import annotations

import datetime
import io
import json
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.asymmetric import ec

from api.desk.copies import CopyDesk
from api.services import Account, CopyState
from evidence_store.database.schema import AccountRow, InterviewRow
from evidence_store.intake import end
from evidence_store.people import Role
from evidence_store.sealing.tick import Kind, Message
from recorder.recovery import recover
from recorder.sealer import Tick
from recorder.take import Order
from tests.house import BEGAN, TICK_NS, House, begin, gap, tick

HERE = Path(__file__).parent
MINUTE = 60 * 10**9


def whole(t: int, began: int = BEGAN, lost: range = range(0)) -> Tick:
    """A tick of the house with an init for each track; without the picture in those that are `lost`."""
    made = tick(t, began=began, size=200)
    if t == 0:
        sound = Message(Kind.INIT, 1, 0, b"init of the sound", 1024, {"codec": "opus"})
        made = replace(made, messages=[*made.messages, sound])
        made.messages.sort(key=lambda each: (each.kind, each.track))
    if t in lost:
        made = replace(made, messages=[each for each in made.messages if each.track == 1])
    if lost and t == lost.stop:
        made = replace(made, events=[*made.events, gap(lost.start, lost.stop, began=began)])
    return made


def interview(house: House) -> Order:
    """Stopped with a hole in the picture that is declared; crashed; a void number; stopped again."""
    order, spool, device = house.interview(), house.spool(), house.device()
    sealer = begin(house, spool, order)
    for t in range(18):
        sealer.write(whole(t, lost=range(5, 9)))
    sealer.close(Tick([], [], 18 * TICK_NS, BEGAN + 19 * TICK_NS))
    sealer = begin(house, spool, order, began=BEGAN + MINUTE)
    for t in range(4):
        sealer.write(whole(t, began=BEGAN + MINUTE))
    sealer.forget()
    recover(spool, device, BEGAN + 2 * MINUTE)
    spool.new_take(device.enrolment)
    recover(spool, device, BEGAN + 2 * MINUTE)
    one_take(house, order, BEGAN + 3 * MINUTE)
    return order


def one_take(house: House, order: Order, began: int) -> Order:
    sealer = begin(house, house.spool(), order, began=began)
    for t in range(3):
        sealer.write(whole(t, began=began))
    sealer.close(Tick([], [], 3 * TICK_NS, began + 4 * TICK_NS))
    return order


def deliver(house: House, order: Order) -> None:
    """Everything on the spool to the store, and the interview ended and sealed."""
    for take in house.spool().takes():
        house.deliver(take)
    with house.store.book.database.writing() as session:
        end(session.get_one(InterviewRow, order.interview.hex()))
    assert house.store.sealing.seal(order.interview.hex())


def package(house: House, order: Order) -> bytes:
    """A copy of the interview as the copy desk makes it, opened: a tar."""
    identity, store = pyrage.x25519.Identity.generate(), house.store
    with store.book.reading() as session:
        row = session.get_one(AccountRow, house.account)
        by = Account(row.id, row.username, row.display_name, Role(row.role))
    folder = house.folder / "copies"
    desk = CopyDesk(store.book, store.authority, store.keys, folder, "Børnehus Demo", lambda: False)
    copy = desk.request(order.interview.hex(), by, "hovedforhandling", str(identity.to_public()))
    desk.make_next()
    status = desk.status(copy)
    assert status.state is CopyState.READY, status.error
    return bytes(pyrage.decrypt((folder / f"{copy}.tar.age").read_bytes(), [identity]))


def keys(house: House) -> dict[str, str]:
    """Private keys in hexadecimal: P-256 scalars, ML-DSA-65 and Ed25519 seeds; and the root's fingerprint."""
    authority, device = house.store.authority, house.device()
    scalars: dict[str, ec.EllipticCurvePrivateKey] = {
        "root": authority.root_key, "store": authority.store_key, "device": device.key,
    }  # fmt: skip
    seeds = {"store_ml_dsa": authority.store_ml_dsa_key, "device_ml_dsa": device.ml_dsa_key}
    return {
        "fingerprint": authority.fingerprint,
        **{name: key.private_numbers().private_value.to_bytes(32, "big").hex() for name, key in scalars.items()},
        **{name: key.private_bytes_raw().hex() for name, key in seeds.items()},
        "ledger": authority.ledger_key.private_bytes_raw().hex(),
    }


def make(folder: Path) -> None:
    """Unpacks two packages of one house under `folder`, `good` and `other`, with `keys.json` beside them."""
    with tempfile.TemporaryDirectory(prefix="vidne-vectors-") as name:
        house = House(Path(name))
        good = interview(house)
        deliver(house, good)
        other = one_take(house, house.interview(), BEGAN + 10 * MINUTE)
        deliver(house, other)
        for target, order in (("good", good), ("other", other)):
            with tarfile.open(fileobj=io.BytesIO(package(house, order))) as archive:
                top = archive.getnames()[0].partition("/")[0]
                archive.extractall(folder, filter="data")
            (folder / top).rename(folder / target)
        (folder / "keys.json").write_text(json.dumps(keys(house), indent=1, sort_keys=True) + "\n")
        house.close()


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="vidne-vectors-") as name:
        folder = Path(name)
        make(folder)
        with tarfile.open(HERE / "packages.tar.xz", "w:xz") as archive:
            for part in ("good", "other"):
                archive.add(folder / part, part)
        (HERE / "keys.json").write_bytes((folder / "keys.json").read_bytes())
    sys.stdout.write(f"made {datetime.datetime.now(datetime.UTC):%Y-%m-%d}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
