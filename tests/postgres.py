"""A real PostgreSQL on loopback, Debian's, for as long as a block lasts."""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from evidence_store.database.session import Database

_UP_WITHIN_S = 30
_TEMPLATE = "with_the_schema"
_HOME = Path("/usr/lib/postgresql")
_TEST = ("-c", "fsync=off", "-c", "full_page_writes=off")
_QUARTER = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4 // 1024
_HOUSE = ("-c", f"shared_buffers={_QUARTER}kB")


@dataclass(frozen=True)
class Cluster:
    """A server with one person in it, who may make databases."""

    port: int
    password: str

    def make_database(self) -> str:
        """A new one with the schema and nothing in it; its SQLAlchemy address."""
        name = f"vidne_{secrets.token_hex(6)}"
        with psycopg.connect(self._where("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_TEMPLATE,)).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
                made = Database(self._address(_TEMPLATE))
                made.migrate()
                made.close()
            copied = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(copied.format(sql.Identifier(name), sql.Identifier(_TEMPLATE)))
        return self._address(name)

    def _address(self, name: str) -> str:
        return f"postgresql+psycopg://vidne:{self.password}@127.0.0.1:{self.port}/{name}"

    def _where(self, name: str) -> str:
        return f"postgresql://vidne:{self.password}@127.0.0.1:{self.port}/{name}?connect_timeout=2"

    def answers(self) -> bool:
        try:
            psycopg.connect(self._where("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True


def programs() -> Path:
    """Where Debian keeps the newest version's."""
    return max(_HOME.glob("*/bin"), key=lambda path: int(path.parent.name))


@contextmanager
def postgres(folder: Path, *, durable: bool = False) -> Iterator[Cluster]:
    """A server with its data in `folder`. It refuses to run as root: root starts it as its own user, `postgres`.

    `durable`: a commit waits for the disk, and a quarter of the machine's memory is for its pages (as its manual, 20.4,
    has it), as in a house; tests do without, since what a power cut leaves is not what they are about.
    """
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    folder.mkdir(parents=True)
    password = secrets.token_hex(16)
    (folder / "password").write_text(password)
    if as_postgres:
        _let_in(folder)
    subprocess.run(
        [
            *as_postgres, programs() / "initdb", "-D", folder / "data", "-U", "vidne", "--auth=scram-sha-256",
            f"--pwfile={folder / 'password'}", "--data-checksums", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
        ],
        check=True, capture_output=True, cwd="/",
    )  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        cluster = Cluster(free.getsockname()[1], password)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *as_postgres, programs() / "postgres", "-D", folder / "data", "-p", str(cluster.port),
                "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=300",
                *(_HOUSE if durable else _TEST),
            ],
            stdout=log, stderr=log, cwd="/",
        )  # fmt: skip
    try:
        until = time.monotonic() + _UP_WITHIN_S
        while not cluster.answers():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield cluster
    finally:
        process.terminate()
        process.wait(30)


def _let_in(folder: Path) -> None:
    """Its user has to reach the folder, and owns it."""
    account = pwd.getpwnam("postgres")
    for each in (folder, folder / "password"):
        os.chown(each, account.pw_uid, account.pw_gid)
    for parent in folder.parents:
        if parent.stat().st_uid == 0 and parent != Path("/") and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
