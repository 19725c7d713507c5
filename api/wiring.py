"""The web application's composition root: store, services and routes, put together from settings."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import structlog
from fastapi import FastAPI

from api import jobs
from api.app import create_app
from api.desk.accounts import CustodianAccounts, DatabaseAccounts
from api.desk.copies import CopyDesk
from api.desk.custody import CustodyDesk
from api.desk.interviews import InterviewDesk
from api.desk.media import MediaDesk
from api.desk.moments import moment
from api.desk.retention import RetentionDesk
from api.desk.room import RoomClient
from api.desk.standing import standing_alarms
from api.desk.store import StoreDesk
from api.desk.witnesses import WitnessDesk
from api.identity.passwords import Passwords
from api.key_watch import KeyWatch
from api.long_work import LongWork
from api.processes.locked import memory
from api.routes.intake import GREATEST_OBJECT, intake_router
from api.services import Alarm, CameraName, DemoAccount, Services, WebSettings
from api.settings import Secrets, Settings
from api.stamping import Asking, configured, rules, tend
from evidence_store.authority import Authority, load_or_create
from evidence_store.database.session import Database
from evidence_store.durable import write_durably
from evidence_store.erasure import Erasure
from evidence_store.errors import Conflict, OutOfReach, Tampered, Unavailable
from evidence_store.holdings import Holdings
from evidence_store.intake import Intake
from evidence_store.kept import KeptVault
from evidence_store.key_pools import KeyPools
from evidence_store.keystore import Escrow, KeyStore
from evidence_store.ledger.book import Book
from evidence_store.ledger.ledger import Ledger
from evidence_store.ledger.witnessing import Witnessing
from evidence_store.people import Role
from evidence_store.playback import Playback
from evidence_store.room_notes import RoomNotes
from evidence_store.scrub import Scrub
from evidence_store.sealed import Sealing
from evidence_store.sealing.keys import PrivateKey
from evidence_store.stamps.keeper import Stamps
from evidence_store.vault.absent import folder_or_absent
from evidence_store.vault.canary import ProvenVault
from evidence_store.vault.disk import DiskVault
from evidence_store.vault.s3 import Bucket
from evidence_store.vault.vault import Vault

log = structlog.get_logger()

SEAL_EVERY = 2.0
"""Seconds between looks for interviews that ended and could not be sealed then."""

DEMO_ACCOUNTS = (
    DemoAccount("operator", "demo-operator", "Ida Optager", Role.OPERATOR),
    DemoAccount("barnehus", "demo-barnehus", "Hans Hus", Role.HOUSE_STAFF),
    DemoAccount("anklager", "demo-anklager", "Anna Anklager", Role.PROSECUTOR),
    DemoAccount("anklager2", "demo-anklager2", "Asta Anklager", Role.PROSECUTOR),  # erasure takes two
    DemoAccount("admin", "demo-admin", "Adam Admin", Role.ADMINISTRATOR),
)
"""Invented people. Their passwords are public: settings refuse to serve the demo beyond loopback."""


@dataclass(frozen=True, slots=True)
class Store:
    """The evidence store of one house."""

    authority: Authority
    book: Book
    keys: KeyStore
    intake: Intake
    pools: KeyPools
    notes: RoomNotes
    sealing: Sealing
    playback: Playback
    scrub: Scrub
    stamps: Stamps
    witnessing: Witnessing | None = None


def open_store(settings: Settings, *, starts: bool = False) -> Store:
    """Opens the store, making what a first start lacks. Synchronous; brings the database up to date.

    `starts`: the house does, and its settings say which vaults it has from now on. A command that is run with others
    would make the house forget one of them, and read all of it again.

    Raises OutOfReach when the vault or the database does not answer; Conflict `vaults-differ` for a command with other
    vaults than the house's; OSError and InvalidInput for a witness policy that is none.
    """
    policy = settings.witness_policy()
    now = datetime.datetime.now(datetime.UTC)
    folder = settings.store_folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = load_or_create(folder / "keys", now, settings.tokens())
    if not (settings.escrow_folder / "recovery.pub").exists():
        _make_escrow(settings)
    database = Database(settings.database_address())
    try:
        database.migrate()
        holdings, vaults = Holdings(database, time.time_ns), list(_vaults(settings, starts=starts))
        if not starts and holdings.known() not in (set(), {each.identity for each in vaults}):
            raise Conflict(
                "these settings name other vaults than the house works with: run it with the house's own",
                code="vaults-differ",
            )
        vault = KeptVault(holdings, vaults)
        book = Book(database, Ledger(authority.note_signer()), vault, time.time_ns)
        book.check_remembered()
    except Tampered:
        pass  # logged, and read-only from here on: what is stored can still be looked at and audited
    except (Conflict, OutOfReach):
        database.close()
        raise
    try:
        if not book.read_only:
            authority.keep_certificates(book.vault)
    except Unavailable as error:
        # A full vault or a refused one: the next start puts them there.
        log.error("certificates_not_in_vault", code=error.code)
    keys = KeyStore(authority, Escrow(settings.escrow_folder))
    return Store(
        authority, book, keys, Intake(book, authority, keys), KeyPools(book, keys), RoomNotes(book),
        Sealing(book, authority), Playback(book, authority, keys), Scrub(book, vault),
        Stamps(book, [each.authority for each in configured(settings)], rules(settings)),
        witnessing=None if policy is None else Witnessing(book, policy),
    )  # fmt: skip


def ledger_key(settings: Settings) -> str:
    """The verifier key that the house's ledger is checked by, as witnesses are given it."""
    now = datetime.datetime.now(datetime.UTC)
    return str(load_or_create(settings.store_folder / "keys", now, settings.tokens()).note_signer().verifier)


def _vaults(settings: Settings, *, starts: bool) -> Iterator[Vault]:
    """The first, and the second where there is one."""
    kept, limit = datetime.timedelta(days=settings.s3_locked_days), settings.vault_limit
    if settings.s3_endpoint is None:
        yield DiskVault(settings.store_folder / "vault", limit)
    else:
        first = Bucket(
            settings.s3_endpoint, settings.s3_bucket, *settings.s3_credentials(), authority=settings.s3_authority
        )
        yield ProvenVault(first, kept, limit=limit)
    if settings.second_vault is not None:
        yield folder_or_absent(settings.second_vault, settings.store_folder / "second-vault", limit, starts=starts)
    elif settings.second_s3_endpoint is not None:
        second = Bucket(
            settings.second_s3_endpoint, settings.second_s3_bucket, *settings.second_s3_credentials(),
            authority=settings.second_s3_authority,
        )  # fmt: skip
        yield ProvenVault(second, kept, limit=limit)


def _make_escrow(settings: Settings) -> None:
    """A recovery key for a first start. Its private half has to be taken away from here: operations.md says how."""
    key = settings.escrow_folder / "recovery.key"
    # One that a crash left alone is taken: it may have been carried away already.
    recovery = PrivateKey(key.read_bytes()) if key.exists() else PrivateKey.generate()
    settings.escrow_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The private half first: a public one alone would lock every seed away for ever.
    write_durably(key, recovery.seed)
    Escrow.create(settings.escrow_folder, recovery.public_key())


def web_settings(settings: Settings, fingerprint: str, ledger_key: str) -> WebSettings:
    profile = settings.room_profile()
    scheme = "https" if settings.tls else "http"
    names = tuple(dict.fromkeys(("127.0.0.1", "localhost", settings.host, *settings.names)))
    return WebSettings(
        house=profile.house,
        room=profile.room,
        room_name=profile.label,
        cameras=tuple(CameraName(camera.id, camera.label) for camera in profile.cameras),
        secure=settings.tls,
        hosts=names,
        origins=tuple(f"{scheme}://{name}:{settings.port}" for name in names),
        demo=DEMO_ACCOUNTS if settings.demo else (),
        body_limits=(("/intake/", GREATEST_OBJECT),),
        fingerprint=fingerprint,
        ledger_key=ledger_key,
    )


def build_app(settings: Settings) -> FastAPI:
    """The application with its services; what runs beside it begins and ends with its lifespan."""
    secrets = Secrets(settings.run_folder)
    store = open_store(settings, starts=True)
    book, profile = store.book, settings.room_profile()
    accounts = DatabaseAccounts(book)
    passwords = Passwords()
    if settings.demo:
        for demo in DEMO_ACCOUNTS:
            accounts.add_demo(demo, passwords)
    recorder = _client(settings.recorder_url, secrets.token("room"), timeout=30.0)
    monitor = _client(settings.monitor_url, secrets.token("monitor"), timeout=10.0)
    witnesses = None if store.witnessing is None else WitnessDesk(store.witnessing)

    key_watch = KeyWatch(store.authority, lambda: moment(book.clock()))

    def standing() -> tuple[Alarm, ...]:
        own = () if settings.demo else standing_alarms(settings.escrow_folder)
        return (*own, *key_watch.alarms(), *long_work.alarms(), *(() if witnesses is None else witnesses.alarms()))

    room = RoomClient(recorder, monitor, profile, accounts, book, standing)
    copies = CopyDesk(
        book, store.authority, store.keys, settings.store_folder / "copies", profile.house, room.recording,
        store.witnessing,
    )  # fmt: skip

    def forget(interview: str) -> None:
        store.playback.forget(interview)
        copies.forget_erased()

    erasure = Erasure(book, store.keys, settings.retention_days, forget)
    asked = [
        Asking(store.stamps, each.authority.fingerprint, each.address, lambda: long_work.ending)
        for each in configured(settings)
    ]
    long_work = LongWork(
        settings.store_folder / "work.sqlite",
        [
            jobs.erase(erasure), jobs.rotate(book, store.authority, settings.store_folder / "keys"),
            jobs.bring(store.scrub), jobs.copies(copies), jobs.read(store.scrub, settings.scrub_days, room.recording),
            *map(jobs.stamp, asked),
        ],
    )  # fmt: skip
    copies.ordered, copies.ending = long_work.poke, lambda: long_work.ending
    services = Services(
        accounts=CustodianAccounts(book, accounts, passwords),
        interviews=InterviewDesk(
            book, store.authority, store.keys, store.sealing, room, profile.room, store.witnessing
        ),
        room=room,
        live=room,
        media=MediaDesk(book, store.playback),
        copies=copies,
        custody=CustodyDesk(book, {camera.id: camera.label for camera in profile.cameras}),
        store=StoreDesk(book, memory),
        clock=lambda: moment(book.clock()),
        retention=RetentionDesk(erasure),
        witnesses=witnesses,
    )
    router = intake_router(
        store.intake, store.sealing, store.pools, store.notes, secrets.token("delivery"), secrets.token("enrolment")
    )
    known = web_settings(settings, store.authority.fingerprint, str(book.ledger.verifier))
    app = create_app(services, known, [router])

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        tasks = []
        if witnesses is not None:
            await witnesses.first()
            tasks.append(asyncio.create_task(witnesses.run()))
        copies.take_up()
        long_work.start()
        tasks.append(asyncio.create_task(key_watch.run()))
        tasks.append(asyncio.create_task(_seal_what_is_left(store.sealing)))
        tasks.append(asyncio.create_task(tend(store.stamps, asked, long_work.poke)))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(long_work.stop)
        await recorder.aclose()
        await monitor.aclose()
        book.database.close()

    app.router.lifespan_context = life
    return app


async def _seal_what_is_left(sealing: Sealing) -> None:
    """An interview whose last take came late, or that a crash left unsealed, is sealed by the ordinary road."""
    while True:
        await asyncio.to_thread(sealing.seal_pending)
        await asyncio.sleep(SEAL_EVERY)


def _client(url: str, token: str, timeout: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {token}"},
        timeout=httpx.Timeout(timeout, connect=2.0),
        trust_env=False,
    )
