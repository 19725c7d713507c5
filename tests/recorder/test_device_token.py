"""The room node's signing key in a token: in a TPM (swtpm) and in an HSM (SoftHSM) by one road."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pkcs11
import pytest

from evidence_store.custody import Verb
from evidence_store.errors import KeysOutOfReach
from evidence_store.hsm import keys as hsm
from evidence_store.hsm.token import Token, TokenPlace, Tokens
from recorder import delivery as delivering
from recorder.recovery import recover
from tests.house import BEGAN, House, begin, crash, record, tick, until
from tests.recorder.test_delivery import delivered, running
from tests.soft_hsm import SoftHsm
from tests.soft_tpm import SoftTpm


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftTpm]:
    tpm = SoftTpm(tmp_path_factory.mktemp("tpm")).start()
    yield tpm
    tpm.stop()


@pytest.fixture(params=["TPM", "HSM"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> TokenPlace:
    if request.param == "TPM":
        tpm: SoftTpm = request.getfixturevalue("tpm")
        return tpm.place
    return SoftHsm.create(tmp_path / "soft", "room").place("room")


def test_takes_signed_by_a_token_are_taken_in_sealed_and_audited_like_others(place: TokenPlace, tmp_path: Path) -> None:
    house = House(tmp_path / "house", device_tokens=Tokens([place]))
    device, spool, order = house.device(), house.spool(), house.interview()
    assert isinstance(device.key, hsm.SigningKey)
    assert sorted(path.name for path in (house.room / "device").iterdir()) == [
        "device-ml-dsa.key", "device.hsm", "enrolment.json",
    ]  # fmt: skip
    take = record(house, spool, order, ticks=9)
    house.deliver(take)
    torn = crash(house, spool, order)
    recover(spool, house.device(), BEGAN + 60 * 10**9)
    house.deliver(torn)
    assert house.store.sealing.seal(order.interview.hex())
    assert [each.event.details["how"] for each in house.custody(Verb.TAKE_CLOSED)] == ["stopped", "crashed"]
    assert house.findings() == {}

    identity = device.key.place.key

    def taken_out(session: pkcs11.Session) -> object:
        return session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, id=identity)[pkcs11.Attribute.VALUE]

    with pytest.raises(KeysOutOfReach, match=r"AttributeSensitive|AttributeTypeInvalid"):
        Token(place).run(taken_out)
    house.close()


async def test_while_the_token_is_away_no_take_begins_and_what_runs_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "HEARTBEAT_SECONDS", 0.05)
    soft = SoftHsm.create(tmp_path / "soft", "room")
    house = House(tmp_path / "house", device_tokens=Tokens([soft.place("room")]))
    device, spool, order = house.device(), house.spool(), house.interview()
    sealer = begin(house, spool, order, device)
    sealer.write(tick(0))
    tokens, away = soft.folder / "tokens", soft.folder / "away"
    tokens.rename(away)
    tokens.mkdir()
    soft.use()

    for t in range(1, 17):
        sealer.write(tick(t))  # every tick is signed by the take's own key
    async with house.client() as client, running(house.delivery(spool, client)) as delivery:
        await until(lambda: delivery.state.device_key_away)
        await until(lambda: sealer.folder.acknowledged(sealer.folder.segment(1)))
        assert delivery.state.trouble is None, "segments are delivered all the same"
        for refused in (lambda: sealer.close(tick(17)), lambda: begin(house, spool, order)):
            with pytest.raises(KeysOutOfReach, match="recordings go on") as error:
                refused()
            assert error.value.code == "device-key-away"
        sealer.forget()
        assert spool.highest_take() == sealer.folder.take, "a start that is refused makes no void take"
        assert recover(spool, house.device(), BEGAN + 60 * 10**9).full, "left open, and tried again"

        tokens.rmdir()
        away.rename(tokens)
        found = recover(spool, house.device(), BEGAN + 60 * 10**9)
        assert (found.full, [each.how for each in found.closed]) == (False, ["crashed"])
        delivery.poke()
        await until(lambda: all(map(delivered, spool.takes())) and not delivery.state.device_key_away)
    assert house.findings() == {}
    house.close()


def test_a_token_that_is_away_is_asked_once_for_all_takes_that_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft = SoftHsm.create(tmp_path / "soft", "room")
    house = House(tmp_path / "house", device_tokens=Tokens([soft.place("room")]))
    device, spool, order = house.device(), house.spool(), house.interview()
    numbers = [crash(house, spool, order).take for _ in range(3)]
    (soft.folder / "tokens").rename(soft.folder / "away")
    (soft.folder / "tokens").mkdir()
    soft.use()
    asked: list[int] = []
    plain = Token.run

    def counted(self: Token, work: Callable[[pkcs11.Session], object]) -> object:
        asked.append(1)
        return plain(self, work)

    monkeypatch.setattr(Token, "run", counted)
    found = recover(spool, device, BEGAN + 60 * 10**9)
    assert (found.full, found.left, len(asked)) == (True, numbers, 1)
    house.close()


def test_a_key_stays_where_it_was_made_whatever_the_settings_say_later(tmp_path: Path) -> None:
    soft = SoftHsm.create(tmp_path / "soft", "room")
    house = House(tmp_path / "house", device_tokens=Tokens([soft.place("room")]))
    in_token = house.device()
    house.device_tokens = None
    with pytest.raises(KeysOutOfReach) as error:
        house.device()
    assert error.value.code == "hsm-not-configured"
    in_file = house.device("another")
    house.device_tokens = Tokens([soft.place("room")])
    assert house.device("another").key.private_numbers() == in_file.key.private_numbers()
    assert house.device().enrolment == in_token.enrolment
    house.close()
