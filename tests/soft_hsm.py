"""SoftHSM: real PKCS#11 tokens in a folder. A process has one such folder at a time, named by SOFTHSM2_CONF."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pkcs11

from api.settings import TokenSetting
from evidence_store.hsm.token import Token, TokenPlace

MODULE: Final = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN: Final = "2718281828"


@dataclass(frozen=True)
class SoftHsm:
    folder: Path

    @classmethod
    def create(cls, folder: Path, *labels: str) -> SoftHsm:
        made = cls(folder)
        (folder / "tokens").mkdir(parents=True)
        (folder / "pin").write_text(PIN + "\n")
        made._configure()
        made.use()
        for label in labels:
            made.add(label)
        return made

    def _configure(self) -> None:
        self._configuration.write_text(f"directories.tokendir = {self.folder}/tokens\nobjectstore.backend = file\n")

    @property
    def _configuration(self) -> Path:
        return self.folder / "softhsm2.conf"

    def use(self) -> SoftHsm:
        """From now on these are the tokens of this process; whoever was logged in is not any more."""
        os.environ["SOFTHSM2_CONF"] = str(self._configuration)
        library = pkcs11.lib(str(MODULE))
        library.reinitialize()
        return self

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "SOFTHSM2_CONF": str(self._configuration)}

    def add(self, label: str) -> None:
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "0000"]
        subprocess.run(command, env=self.environment(), check=True, capture_output=True, timeout=20)
        self.use()

    def copy(self, folder: Path) -> SoftHsm:
        """Tokens as they are now, in another folder: what no real HSM lets anybody do."""
        shutil.copytree(self.folder, folder)
        made = SoftHsm(folder)
        made._configure()
        return made

    def setting(self, label: str) -> TokenSetting:
        return TokenSetting(module=MODULE, token=label, pin=self.folder / "pin")

    def place(self, label: str) -> TokenPlace:
        return self.setting(label).place()

    def token(self, label: str) -> Token:
        return Token(self.place(label))

    def labels(self, label: str) -> list[str]:
        """What lies in a token: labels of secret and private keys, looked up by another session than ours."""
        token = pkcs11.lib(str(MODULE)).get_token(token_label=label)
        try:
            session = token.open(user_pin=PIN)
        except pkcs11.UserAlreadyLoggedIn:
            session = token.open()
        kinds = (pkcs11.ObjectClass.SECRET_KEY, pkcs11.ObjectClass.PRIVATE_KEY)
        return sorted(
            str(each[pkcs11.Attribute.LABEL])
            for kind in kinds
            for each in session.get_objects({pkcs11.Attribute.CLASS: kind})
        )
