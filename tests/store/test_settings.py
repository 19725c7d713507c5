"""Settings that would serve confidential things to everybody are refused, in words that say what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from api.drill.house import free_ports
from api.settings import Secrets, Settings, is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "vidne.example", "", "127.0.0.1.example"])  # noqa: S104
def test_beyond_loopback_tls_is_needed(host: str) -> None:
    with pytest.raises(ValidationError, match="tls_certificate and tls_key are needed"):
        Settings(host=host)
    settings = Settings(host=host, tls_certificate=Path("c.pem"), tls_key=Path("k.pem"))
    assert settings.api_url.startswith("https://")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_on_loopback_it_is_not(host: str) -> None:
    assert is_loopback(host)
    assert Settings(host=host).api_url.startswith("http://")


def test_the_demo_is_served_on_loopback_only_tls_or_not() -> None:
    with pytest.raises(ValidationError, match="the demo's passwords are public"):
        Settings(host="192.168.1.5", tls_certificate=Path("c.pem"), tls_key=Path("k.pem"), demo=True)
    assert Settings(demo=True).demo


@pytest.mark.parametrize("given", [{"tls_certificate": "x.pem"}, {"tls_key": "x.pem"}])
def test_half_of_tls_is_none_and_is_said_so(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="go together"):
        Settings(**given)


def test_a_bucket_needs_its_keys_and_a_server_that_can_be_known(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    with pytest.raises(ValidationError, match="go together"):
        Settings(s3_endpoint="https://s3.example")
    with pytest.raises(ValidationError, match="https"):
        Settings(s3_endpoint="http://s3.example", s3_keys=keys)
    settings = Settings(s3_endpoint="https://s3.example", s3_keys=keys)
    with pytest.raises(OSError):
        settings.s3_credentials()
    keys.write_text("access secret superfluous")
    with pytest.raises(ValueError, match="has to hold") as refused:
        settings.s3_credentials()
    assert "superfluous" not in str(refused.value)
    keys.write_text("access\nsecret\n")
    assert settings.s3_credentials() == ("access", "secret")
    assert "secret" not in str(settings.environment())


def test_keys_that_are_not_there_end_the_command_before_anything_runs(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "api.cli", "api", "--data", str(tmp_path / "data")],
        cwd=Path(__file__).parents[2], timeout=60, capture_output=True, text=True,
        env={
            "VIDNE_S3_ENDPOINT": "https://127.0.0.1:9", "VIDNE_S3_KEYS": str(tmp_path / "keys"),
            "VIDNE_PORT": str(free_ports(1)[0]), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path),
        },
    )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stderr.strip() == "s3_keys cannot be read: No such file or directory"


def test_a_mistyped_setting_is_refused() -> None:
    with pytest.raises(ValidationError):
        Settings(tls_sertificate=Path("x.pem"))  # type: ignore[call-arg]


def test_the_command_line_refuses_too(tmp_path: Path) -> None:
    """From the environment, as in a unit file; in one line, without a traceback."""
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-m", "api.cli", "serve", "--data", str(tmp_path / "data")], cwd=root, timeout=60,
        env={"VIDNE_HOST": "0.0.0.0", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},  # noqa: S104
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode != 0
    words = " ".join((ran.stdout + ran.stderr).split())
    assert "tls_certificate and tls_key are needed" in words
    assert "Traceback" not in words
    assert not (tmp_path / "data").exists()


def test_a_token_is_made_once_and_nobody_elses(tmp_path: Path) -> None:
    first, second = Secrets(tmp_path / "run"), Secrets(tmp_path / "run")
    assert first.token("room") == second.token("room") != first.token("monitor")
    assert len(first.token("room")) >= 43
    for path in (tmp_path / "run").iterdir():
        assert path.stat().st_mode & 0o077 == 0
        assert path.suffix == ".token"


def test_an_empty_token_file_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "delivery.token").touch()
    with pytest.raises(ValueError, match="empty"):
        Secrets(tmp_path).token("delivery")


def test_the_address_of_a_database_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "database"
    assert Settings(data=tmp_path).database_address().startswith("sqlite:///")
    file.write_text("postgresql://vidne:word@db.house.example/vidne\n")
    assert Settings(database=file).database_address() == "postgresql+psycopg://vidne:word@db.house.example/vidne"
    file.write_text("mysql://vidne@db/vidne")
    with pytest.raises(ValueError, match="has to hold one line, postgresql://") as refused:
        Settings(database=file).database_address()
    assert "mysql" not in str(refused.value)


def test_there_are_two_vaults_at_most(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="two vaults at most"):
        Settings(second_vault=tmp_path, second_s3_endpoint="https://a", second_s3_keys=tmp_path)
    with pytest.raises(ValidationError, match="second_s3_endpoint has to begin with https"):
        Settings(second_s3_endpoint="http://a", second_s3_keys=tmp_path)
