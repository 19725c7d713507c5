"""Passwords: argon2id (RFC 9106), checked in the same time whether or not the name exists."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

GREATEST_LENGTH = 1024
"""Longer passwords are refused unread: hashing must not be a way to keep the server busy."""


class Passwords:
    """Hashes and checks. The default costs 64 MiB and about 0.1 s; tests may pass cheaper parameters."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._nobody = self._hasher.hash("the password of an account that does not exist")

    def hash(self, password: str) -> str:
        """The encoded argon2id string to store."""
        return self._hasher.hash(password)

    def correct(self, stored: str | None, password: str) -> bool:
        """Whether the password matches. `stored` is None for an unknown name: the same work is done, then False.

        Raises ValueError when what is stored is no argon2 hash: that is damage, not a wrong password.
        """
        if len(password) > GREATEST_LENGTH:
            return False
        try:
            matches = self._hasher.verify(stored if stored is not None else self._nobody, password)
        except VerifyMismatchError:
            return False
        except InvalidHashError as error:
            raise ValueError("the stored password hash is damaged") from error
        return matches and stored is not None
