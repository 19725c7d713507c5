"""One PKCS#11 token: reached, logged into, and logged into again when the session is lost (PKCS #11 v2.40, OASIS).

A module is a library inside this process that may hang as its device does, and that is initialised once, without a
word about threads. So each module has one thread that alone calls it, and whoever asks waits for a bounded time.

A wrong PIN is given once and never again until its file changes: a token locks itself after a few.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar

import pkcs11
import structlog
from pkcs11 import exceptions as said

from evidence_store.errors import InvalidInput, KeysOutOfReach, VidneError

if TYPE_CHECKING:
    from pkcs11._pkcs11 import lib

WITHIN_S: Final = 10.0
"""How long an answer is waited for. A TPM takes half a second to sign, and a minute to make a key only if it is RSA."""

_T = TypeVar("_T")
log = structlog.get_logger(__name__)

_SESSION_LOST: Final = (
    said.SessionHandleInvalid, said.SessionClosed, said.UserNotLoggedIn, said.DeviceRemoved, said.TokenNotPresent,
    said.SlotIDInvalid, said.ObjectHandleInvalid, said.KeyHandleInvalid, said.DeviceError, said.GeneralError,
    said.FunctionFailed, said.NoSuchKey, said.SessionReadOnly,
)  # fmt: skip
"""After one of these the work is done once more, from a new session; one that was logged out sees no keys,
and a number of before a module began anew may be another session's now. Whatever we
ask of a token can be asked twice: at worst a key is made that nothing names."""

_SAFE: Final = "Nothing is lost, and recordings go on."


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Where a token is: the module's file, the token's label, and the file whose first line is the user's PIN."""

    module: Path
    label: str
    pin: Path


class Token:
    """One token, for whoever asks. Nothing is asked of it before the first work."""

    def __init__(self, place: TokenPlace, within_s: float = WITHIN_S) -> None:
        self.place = place
        self._within_s = within_s
        self._session: pkcs11.Session | None = None
        self._serial = ""
        self._refused: tuple[bytes, VidneError] | None = None

    @property
    def label(self) -> str:
        return self.place.label

    def run(self, work: Callable[[pkcs11.Session], _T]) -> _T:
        """What `work` gives, in a session that is logged in. It may be called twice.

        Raises KeysOutOfReach, whose code says what to do: `hsm-module-missing`, `hsm-token-missing`, `hsm-pin-missing`,
        `hsm-pin-wrong`, `hsm-pin-locked`, `hsm-silent`, `hsm-failed`; and what `work` raises of ours.
        """
        return _caller(self.place.module).call(lambda: self._work(work), self._within_s)

    def run_anew(self, work: Callable[[pkcs11.Session, str], _T]) -> _T:
        """As `run`, in a session that is logged in just now; `work` gets the serial of that session's device too."""

        def anew() -> _T:
            self._session = None
            return self._work(lambda session: work(session, self._serial))

        return _caller(self.place.module).call(anew, self._within_s)

    def serial(self) -> str:
        """Of the device that answers to this label now. Raises as `run`."""
        return self.run(lambda _session: self._serial)

    def _work(self, work: Callable[[pkcs11.Session], _T]) -> _T:
        fresh = self._session is None
        try:
            return work(self._opened())
        except _SESSION_LOST as error:
            if fresh:
                self._session = None
                raise _translated(error, self.label) from error
            log.warning("hsm_session_lost", error=type(error).__name__)
        except said.PKCS11Error as error:
            raise _translated(error, self.label) from error
        self._session = None
        try:
            return work(self._opened())
        except said.PKCS11Error as error:
            self._session = None
            raise _translated(error, self.label) from error

    def _opened(self) -> pkcs11.Session:
        if self._session is not None:
            try:
                # A search in a session that is gone complains again when it is collected: this one doesn't.
                self._session.generate_random(64)
            except (said.RandomNoRNG, said.FunctionNotSupported):
                pass
            except said.PKCS11Error as error:
                log.warning("hsm_session_lost", error=type(error).__name__)
                self._session = None
        if self._session is None:
            self._session = self._log_in()
        return self._session

    def _log_in(self) -> pkcs11.Session:
        try:
            pin = (self.place.pin.read_text().splitlines() or [""])[0].strip()
        except (OSError, UnicodeDecodeError):
            raise KeysOutOfReach(
                f"the file with the PIN of the token {self.label} cannot be read. {_SAFE} Put it back, readable by "
                "the house's user only.", code="hsm-pin-missing",
            ) from None  # fmt: skip
        known = hashlib.sha256(pin.encode()).digest()
        if self._refused is not None and self._refused[0] == known:
            raise self._refused[1]
        token = self._found()
        self._serial = token.serial.decode("ascii", "replace").strip("\0 ")
        try:
            session = token.open(rw=True, user_pin=pin)
        except said.UserAlreadyLoggedIn:
            session = token.open(rw=True)  # the login is the process's, not the session's
        except (said.PinIncorrect, said.PinLocked, said.PinInvalid, said.PinLenRange, said.PinExpired) as error:
            refusal = _translated(error, self.label)
            self._refused = known, refusal
            raise refusal from error
        self._refused = None
        return session

    def _found(self) -> pkcs11.Token:
        """Raises KeysOutOfReach. A token that was not there is looked for in a module that begins anew: some read the
        list of their slots only then."""
        library = _library(self.place.module)
        for again in (False, True):
            if again:
                library.reinitialize()
            tokens = list(library.get_tokens(token_label=self.label))
            if len(tokens) > 1:
                raise KeysOutOfReach(
                    f"more than one token is called {self.label}. {_SAFE} Give each a label of its own.",
                    code="hsm-token-missing",
                )
            if tokens:
                return tokens[0]
        raise KeysOutOfReach(
            f"the module knows no token {self.label}. {_SAFE} Look at the HSM's cable, power and network.",
            code="hsm-token-missing",
        )


class Tokens:
    """The tokens that the settings name, the first of them where new keys are made. None where there is no HSM."""

    def __init__(self, places: Sequence[TokenPlace] = ()) -> None:
        """Raises InvalidInput for two of one label: what a key's file names has to be one."""
        self._tokens = {place.label: Token(place) for place in places}
        if len(self._tokens) != len(places):
            raise InvalidInput("two tokens have the same label", code="hsm-label")

    @property
    def first(self) -> Token | None:
        return next(iter(self._tokens.values()), None)

    def get(self, label: str) -> Token:
        """Raises KeysOutOfReach `hsm-not-configured`."""
        if (token := self._tokens.get(label)) is None:
            raise KeysOutOfReach(
                f"a key is in the token {label}, which the settings do not name. {_SAFE} Name it under hsms.",
                code="hsm-not-configured",
            )
        return token


def _translated(error: said.PKCS11Error, label: str) -> KeysOutOfReach:
    name = type(error).__name__
    if isinstance(error, said.PinLocked):
        return KeysOutOfReach(
            f"the token {label} is locked: too many wrong PINs. {_SAFE} Its security officer unlocks it, then the "
            "PIN's file is written anew.", code="hsm-pin-locked",
        )  # fmt: skip
    if isinstance(error, said.PinIncorrect | said.PinInvalid | said.PinLenRange | said.PinExpired):
        return KeysOutOfReach(
            f"the token {label} refuses the PIN. {_SAFE} It is not tried again until its file changes, so that the "
            "token does not lock itself.", code="hsm-pin-wrong",
        )  # fmt: skip
    if isinstance(error, said.MechanismInvalid):
        return KeysOutOfReach(
            f"the token {label} lacks a mechanism that is needed. {_SAFE} vidne keys where says which.",
            code="hsm-mechanism-missing",
        )
    if isinstance(error, said.NoSuchKey):
        return KeysOutOfReach(
            f"the token {label} does not hold the key. {_SAFE} Another token may bear its label, or the HSM was "
            "emptied: docs/operations.md#an-hsm-that-is-lost.", code="hsm-key-missing",
        )  # fmt: skip
    return KeysOutOfReach(
        f"the token {label} failed ({name}). {_SAFE} Look at the HSM itself; it is asked again at the next need.",
        code="hsm-failed",
    )


# One caller a module: C_Initialize is the process's.


class _Caller:
    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Callable[[], object], Future[object]]] = SimpleQueue()
        self._stuck: Future[object] | None = None
        # A daemon: a call that never comes back must not keep the process from ending.
        threading.Thread(target=self._run, name="pkcs11", daemon=True).start()

    def call(self, work: Callable[[], _T], within_s: float) -> _T:
        stuck = self._stuck
        if stuck is not None and not stuck.done():
            raise _silent()
        future: Future[_T] = Future()
        self._work.put((work, future))  # type: ignore[arg-type]
        try:
            return future.result(within_s)
        except TimeoutError:
            if future.done():
                raise
            if not future.cancel():
                self._stuck = future  # type: ignore[assignment]
            raise _silent() from None

    def _run(self) -> None:
        while True:
            work, future = self._work.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
                future.set_exception(error)


def _silent() -> KeysOutOfReach:
    return KeysOutOfReach(
        f"the HSM's module does not answer. {_SAFE} Look at the HSM; if it is well, restart this process.",
        code="hsm-silent",
    )


_CALLERS: Final[dict[Path, _Caller]] = {}
_CALLERS_LOCK: Final = threading.Lock()


def _caller(module: Path) -> _Caller:
    with _CALLERS_LOCK:
        if module not in _CALLERS:
            _CALLERS[module] = _Caller()
        return _CALLERS[module]


def _library(module: Path) -> lib:
    try:
        return pkcs11.lib(str(module))
    except said.PKCS11Error as error:
        raise KeysOutOfReach(
            f"the PKCS#11 module {module} cannot be loaded. {_SAFE} Install it, or mend its own configuration.",
            code="hsm-module-missing",
        ) from error
