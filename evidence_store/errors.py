"""Everything that Vidne refuses, finds broken, or cannot do now.

    VidneError
    ├── Refused                 the request cannot be granted; nothing has changed
    │   ├── InvalidInput        malformed, oversized, or of the wrong form
    │   ├── NotAuthenticated    nobody, or somebody whose word is not good
    │   ├── NotPermitted        somebody, but not for this
    │   ├── NotFound
    │   └── Conflict            contradicts what is already there
    ├── Tampered                evidence that does not agree with itself or with its anchors
    │   ├── SignatureInvalid
    │   ├── ChainBroken         a hole, a swap, or a hash that does not follow
    │   └── CiphertextInvalid   truncated, altered, or sealed for another place
    └── Unavailable             right request, wrong moment; nothing is lost by trying again
        ├── NoSpace             vault or spool is full
        └── OutOfReach          a part of the system does not answer
            └── KeysOutOfReach  a token (an HSM, a TPM) that holds a key

Every error carries a sentence in English for logs and tests (no names, no case numbers), and a stable `code`
that the HTTP edge and the Danish texts are looked up by.
"""

from __future__ import annotations


class VidneError(Exception):
    """Root of the tree. `code` is stable, lower-case, with hyphens."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class Refused(VidneError):  # noqa: N818 - says what happened, as all below it do
    code = "refused"


class InvalidInput(Refused):
    code = "invalid-input"


class NotAuthenticated(Refused):
    code = "not-authenticated"


class NotPermitted(Refused):
    code = "not-permitted"


class NotFound(Refused):
    code = "not-found"


class Conflict(Refused):
    code = "conflict"


class Tampered(VidneError):  # noqa: N818 - says what happened, as all below it do
    code = "tampered"


class SignatureInvalid(Tampered):
    code = "signature-invalid"


class ChainBroken(Tampered):
    code = "chain-broken"


class CiphertextInvalid(Tampered):
    code = "ciphertext-invalid"


class Unavailable(VidneError):  # noqa: N818 - says what happened, as all below it do
    code = "unavailable"


class NoSpace(Unavailable):
    code = "no-space"


class OutOfReach(Unavailable):
    code = "out-of-reach"


class KeysOutOfReach(OutOfReach):
    code = "keys-out-of-reach"
