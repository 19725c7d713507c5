"""Settings: a TOML file and the environment (`VIDNE_…`). Secrets are not here but in files of their own in `run/`."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from api.identity.room_code import new_code
from evidence_store.durable import fsync_folder
from evidence_store.ledger.policy import Policy
from hardware.profile import RoomProfile, load_named_profile, load_profile, named_profiles

if TYPE_CHECKING:
    from evidence_store.hsm.token import TokenPlace, Tokens


class TimeAuthoritySetting(BaseModel, extra="forbid"):
    """One time stamp authority (RFC 3161)."""

    address: str = Field(description="where it is asked; https, or http on loopback")
    certificate: Path = Field(description="PEM file: the anchor first, then what may lie between it and the signer")
    name: str | None = Field(default=None, description="what people call it; default: the anchor's own name")

    @field_validator("address")
    @classmethod
    def _safe_to_ask(cls, address: str) -> str:
        parts = urlsplit(address)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise ValueError("a time authority's address begins with https://, or is http:// on loopback")
        return address


class TokenSetting(BaseModel, extra="forbid"):
    """One PKCS#11 token: an HSM's, or a TPM's."""

    module: Path = Field(description="the PKCS#11 module, a library (.so) of the token's maker")
    token: str = Field(min_length=1, description="the token's label")
    pin: Path = Field(description="file: the user's PIN, one line; readable by the house's user only")

    def place(self) -> TokenPlace:
        from evidence_store.hsm.token import TokenPlace

        return TokenPlace(self.module, self.token, self.pin)


class Settings(BaseSettings):
    """One house on one machine. Sizes in bytes, times in seconds. Documented in docs/operations.md."""

    model_config = SettingsConfigDict(env_prefix="VIDNE_", toml_file="vidne.toml", extra="forbid")

    data: Path = Field(default=Path("data"), description="where everything is kept")
    profile: str = Field(default="demo", description="a room profile: a name that comes with Vidne, or a TOML file")
    host: str = Field(default="127.0.0.1", description="address that the web application listens on")
    port: int = Field(default=7800, description="port of the web application")
    names: list[str] = Field(default_factory=list, description="further host names that browsers may use")
    recorder_port: int = Field(default=7801, description="port of the recorder: WHIP and the room's orders")
    monitor_port: int = Field(default=7802, description="port of the monitor process: WHEP, for the application only")
    tls_certificate: Path | None = Field(default=None, description="PEM file; needed beyond loopback")
    tls_key: Path | None = Field(default=None, description="PEM file; needed beyond loopback")
    ice_addresses: list[str] = Field(default=["127.0.0.1"], description="addresses offered to cameras and viewers")
    ice_ports: tuple[int, int] | None = Field(default=None, description="UDP ports for media, first and last")
    database: Path | None = Field(default=None, description="file: the address of a PostgreSQL database")
    spool_limit: int | None = Field(default=None, description="greatest size of the recorder's spool")
    vault_limit: int | None = Field(default=None, description="greatest size of the vault")
    s3_endpoint: str | None = Field(default=None, description="an S3 server with Object Lock that holds the vault")
    s3_bucket: str = Field(default="vidne", description="its bucket")
    s3_keys: Path | None = Field(default=None, description="file: access key and secret key, a line each")
    s3_authority: Path | None = Field(default=None, description="PEM file for the server's certificate")
    s3_locked_days: int = Field(default=3650, ge=1, description="how long each object is locked")
    retention_days: int = Field(default=3650, ge=0, description="how long an interview is kept before two may erase it")
    witnesses: Path | None = Field(default=None, description="TOML file: the policy of the ledger's witnesses")
    second_vault: Path | None = Field(default=None, description="a folder that holds everything a second time")
    second_s3_endpoint: str | None = Field(default=None, description="or an S3 server with Object Lock that does")
    second_s3_bucket: str = Field(default="vidne", description="its bucket")
    second_s3_keys: Path | None = Field(default=None, description="file: its access key and secret key, a line each")
    second_s3_authority: Path | None = Field(default=None, description="PEM file for its server's certificate")
    scrub_days: float = Field(default=30.0, gt=0, description="within how many days every stored copy is read once")
    hsms: list[TokenSetting] = Field(
        default_factory=list, description="tokens for the store's keys: new ones in the first"
    )
    device_token: TokenSetting | None = Field(
        default=None, description="a token (a TPM) for the room node's signing key"
    )
    time_authorities: list[TimeAuthoritySetting] = Field(default_factory=list, description="who stamps with their time")
    time_tolerance: float = Field(default=60.0, ge=1, description="how far a clock may be from a time stamp")
    stamps_late_after: float = Field(default=600.0, ge=1, description="how long a time stamp may be waited for")
    keep: float = Field(default=72 * 3600.0, description="how long a delivered take stays on the recorder")
    watch: bool = Field(default=True, description="watch over picture and sound, in a process of its own")
    demo: bool = Field(default=False, description="invented people who sign in by password; loopback only")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given in code wins over the environment, and that over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @model_validator(mode="after")
    def _safe_to_serve(self) -> Settings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together: one of them is missing")
        for first, endpoint, keys in (
            ("", self.s3_endpoint, self.s3_keys), ("second_", self.second_s3_endpoint, self.second_s3_keys),
        ):  # fmt: skip
            if (endpoint is None) != (keys is None):
                raise ValueError(f"{first}s3_endpoint and {first}s3_keys go together: one of them is missing")
            if endpoint is not None and not endpoint.startswith("https://"):
                raise ValueError(f"{first}s3_endpoint has to begin with https://")
        if self.second_vault is not None and self.second_s3_endpoint is not None:
            raise ValueError("second_vault and second_s3_endpoint: there are two vaults at most, so one of these")
        beyond = not is_loopback(self.host)
        if beyond and not self.tls:
            raise ValueError("beyond loopback, tls_certificate and tls_key are needed: what is served is confidential")
        if beyond and self.demo:
            raise ValueError("the demo's passwords are public: it is served on loopback only")
        return self

    @property
    def tls(self) -> bool:
        return self.tls_certificate is not None and self.tls_key is not None

    @property
    def room_folder(self) -> Path:
        return self.data / "room"

    @property
    def store_folder(self) -> Path:
        return self.data / "store"

    @property
    def escrow_folder(self) -> Path:
        return self.data / "escrow"

    @property
    def run_folder(self) -> Path:
        return self.data / "run"

    @property
    def feed_path(self) -> Path:
        return self.run_folder / "feed.socket"

    def database_address(self) -> str:
        """SQLAlchemy's address of the store's database. Raises OSError, ValueError for another address in the file."""
        if self.database is None:
            return f"sqlite:///{(self.store_folder / 'vidne.sqlite').absolute()}"
        address = self.database.read_text().strip()
        if not address.startswith("postgresql://"):
            raise ValueError(f"{self.database} has to hold one line, postgresql://user:password@host/name")
        return address.replace("postgresql://", "postgresql+psycopg://", 1)

    def s3_credentials(self) -> tuple[str, str]:
        """Access key and secret key of `s3_keys`. Raises OSError, and ValueError for anything but two words."""
        return _two_words(self.s3_keys)

    def second_s3_credentials(self) -> tuple[str, str]:
        """As `s3_credentials`, of `second_s3_keys`."""
        return _two_words(self.second_s3_keys)

    def tokens(self) -> Tokens:
        """Raises InvalidInput `hsm-label`. Asks nothing of any token."""
        from evidence_store.hsm.token import Tokens

        return Tokens([each.place() for each in self.hsms])

    def device_tokens(self) -> Tokens:
        """The room node's own. Asks nothing of it."""
        from evidence_store.hsm.token import Tokens

        return Tokens([] if self.device_token is None else [self.device_token.place()])

    def witness_policy(self) -> Policy | None:
        """Raises OSError, InvalidInput `witness-policy`."""
        return None if self.witnesses is None else Policy.load(self.witnesses)

    @property
    def api_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{_bracketed(self.host)}:{self.port}"

    @property
    def recorder_url(self) -> str:
        return f"http://127.0.0.1:{self.recorder_port}"

    @property
    def room_page_url(self) -> str:
        """What to open in the room when the web application does not answer."""
        return f"http://localhost:{self.recorder_port}/"

    @property
    def monitor_url(self) -> str:
        return f"http://127.0.0.1:{self.monitor_port}"

    def room_code(self) -> str:
        """What opens the room's own page; made when first asked for."""
        return Secrets(self.run_folder).token("room-code", new_code)

    def room_profile(self) -> RoomProfile:
        """Raises hardware.profile.InvalidProfile, OSError."""
        if self.profile in named_profiles():
            return load_named_profile(self.profile)
        return load_profile(Path(self.profile))

    def environment(self) -> dict[str, str]:
        """What a child process needs to have the same settings."""
        dumped = self.model_dump(mode="json", exclude_defaults=True)
        return {f"VIDNE_{name.upper()}": _as_text(value) for name, value in dumped.items() if value is not None}


def _two_words(path: Path | None) -> tuple[str, str]:
    words = path.read_text().split() if path is not None else []
    if len(words) != 2:
        raise ValueError(f"{path} has to hold an access key and a secret key, a line each")
    return words[0], words[1]


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Secrets:
    """Bearer tokens between processes and for cameras: files in `run/`, made when first asked for, mode 0600."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def token(self, name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> str:
        """The token of that name: `room` (orders), `monitor`, `delivery`, `enrolment`, `camera-<id>`; `room-code` and
        `room-page` for the room's own page."""
        path = self._folder / f"{name}.token"
        if not path.exists():
            part = self._folder / f".{name}.{secrets.token_hex(4)}"
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as file:
                file.write(make())
                file.flush()
                # A power cut must not leave an empty token: everybody knows that one.
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                # Two processes may ask first: the one that links first decides.
                path.hardlink_to(part)
            part.unlink()
            fsync_folder(self._folder)
        token = path.read_text().strip()
        if not token:
            raise ValueError(f"{path} is empty: remove it, and a new token is made")
        return token
