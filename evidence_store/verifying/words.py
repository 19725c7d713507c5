"""Every sentence that `vidne verify` has for people, in Danish and English. Held equal in form by a test.

What is not proven is said in the words of docs/threat-model.md, which that test reads too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from evidence_store.verifying.grade import Grade


@dataclass(frozen=True, slots=True)
class Words:
    """One language. `steps`: by a check's name, what it asks, and what it means where it fails."""

    ok: str
    fail: str
    progress: str
    steps: dict[str, tuple[str, str]]
    holds: str
    holds_not: str
    unknown: str
    doubtful: str
    grade: str
    grades: dict[Grade, tuple[str, str]]
    proven: str
    proven_lines: dict[str, str]
    not_proven: str
    never: tuple[str, ...]
    time_alone: str
    time_outside: str
    no_witness: str
    strangers: str
    next_refused: str
    next_unknown: str
    wrong_use: dict[str, str]
    interrupted: str


DANISH: Final = Words(
    ok="OK  ",
    fail="FEJL",
    progress="læst",
    steps={
        "anchor": ("hvem der har underskrevet", "det vides ikke, hvem der har underskrevet"),
        "certificates": ("husets certifikater", "husets certifikater hører ikke sammen"),
        "signatures": ("husets underskrifter", "en af husets underskrifter holder ikke"),
        "files": ("hver fil i pakken", "filer er ændret, mangler eller er kommet til"),
        "takes": ("optagerens underskrevne journal", "optagerens journal holder ikke"),
        "devices": ("om optageren var til at stole på", "en optagelse er tvivlsom"),
        "originals": ("hver byte af originalerne", "en original er ikke, som den blev optaget"),
        "gaps": ("huller", "der er et hul, som ingen har erklæret"),
        "custody": ("hændelserne i beviskæden", "hændelserne stemmer ikke med beviskæden"),
        "witnesses": ("vidnernes medunderskrifter", "vidnerne står ikke inde for beviskæden"),
        "time": ("tidsstempler", "et tidsstempel holder ikke, eller en tid modsiger det"),
        "player": ("at filmene kan læses til ende", "en film kan ikke læses til ende"),
    },
    holds="RESULTAT: Kopien holder.",
    holds_not="RESULTAT: Kopien holder IKKE.",
    unknown="RESULTAT: Pakken hænger sammen, men det vides ikke, hvem der har lavet den. Det beviser intet.",
    doubtful="RESULTAT: Kopien er TVIVLSOM: optageren var spærret, da en del af den blev optaget.",
    grade="Styrke {level} af 5, {name}: {meaning}.",
    grades={
        Grade.REFUSED: ("afvist", "noget holder ikke; brug ikke denne kopi"),
        Grade.UNKNOWN: ("ukendt afsender", "intet kom udefra, som viser, hvem der har underskrevet"),
        Grade.DOUBTFUL: ("tvivlsom", "uændret siden, men optageren kan have været i andres hænder"),
        Grade.SIGNED: ("underskrevet", "huset og dets optager står inde for den; tiderne er deres egne ord"),
        Grade.DATED: ("dateret", "én uden for huset siger, hvornår den fandtes"),
        Grade.WITNESSED: ("bevidnet", "andre organisationer ville have set, hvis husets beviskæde var lavet om"),
        Grade.STRONG: ("stærk", "bevidnet, og dateret af én uden for huset"),
        Grade.STRONGEST: ("stærkest", "bevidnet, og dateret af mindst to uafhængige uden for huset"),
    },
    proven="Det er bevist:",
    proven_lines={
        "whole": "Uændret: {files} originale filer ({size} byte) er byte for byte dem, som optageren underskrev.",
        "who": "Af hvem: det hus, hvis fingeraftryk du gav ({root}); optager {recorders}.",
        "when": "Hvornår: optagelsen begyndte {began} efter optagerens eget ur.",
        "sealed": "Udefra: {clocks} af de tidsstemplingstjenester, du gav, siger, at den var afsluttet {sealed}.",
        "custody": "Hændelser: {entries} står i husets underskrevne beviskæde.",
        "witnesses": "Vidner: {witnesses} af dem, du gav, står inde for hver eneste af dem.",
        "gaps": "Huller: {gaps} er erklæret, og intet over et halvt sekund er fortiet.",
    },
    not_proven="Det er IKKE bevist:",
    never=(
        "at en optager ikke var overtaget, mens den optog",
        "at billederne kom fra netop det kamera, ud over dets adgangskode, dets adresse og DTLS-fingeraftryk",
        "hvad der skete foran linsen, før den eller ved siden af den",
        "at en person, der var logget ind, var den person",
    ),
    time_alone="tiden: den er optagerens og lagerets eget ord",
    time_outside="tiden mellem to stempler; en tidsstemplingstjeneste, der lyver, eller hvis nøgle blev stjålet, "
    "bliver troet",
    no_witness="at husets beviskæde ikke er lavet om: intet vidne er spurgt",
    strangers="hvis ur det er, der har stemplet: giv --time-authority, fået ad anden vej end pakken",
    next_refused="Gem pakken, som den er, og bed lageret om en ny kopi: originalerne ligger der. Skriv ned, hvilket "
    "trin der fejlede.",
    next_unknown="Få rodcertifikatets fingeraftryk fra lageret ad anden vej (på papir, ved opkald, fra retten), og giv "
    "--fingerprint.",
    wrong_use={
        "package": "Ikke en beviskopi: hverken en udpakket mappe eller en tar-fil. Intet er kontrolleret.",
        "age": "Pakken er låst. Åbn den først: age -d -i din-nøglefil -o kopi.tar {path}",
        "fingerprint": "--fingerprint er 64 tegn (0-9, a-f). Intet er kontrolleret.",
        "time-authority": "--time-authority er 64 tegn (0-9, a-f). Intet er kontrolleret.",
        "witness-keys": "--witness-keys kan ikke læses: {why}. Intet er kontrolleret.",
        "quorum": "--quorum er mindst 1, og højst så mange vidner, som --witness-keys giver. Intet er kontrolleret.",
    },
    interrupted="Afbrudt. Intet er sagt om kopien; pakken er urørt. Begynd forfra.",
)

ENGLISH: Final = Words(
    ok="OK  ",
    fail="FAIL",
    progress="read",
    steps={
        "anchor": ("who signed", "it is not known who signed"),
        "certificates": ("the house's certificates", "the house's certificates do not belong together"),
        "signatures": ("the house's signatures", "one of the house's signatures does not hold"),
        "files": ("every file of the package", "files are altered, missing, or were added"),
        "takes": ("the recorder's signed journal", "the recorder's journal does not hold"),
        "devices": ("whether the recorder could be trusted", "a take is doubtful"),
        "originals": ("every byte of the originals", "an original is not as it was recorded"),
        "gaps": ("gaps", "there is a gap that nobody declared"),
        "custody": ("the acts in the ledger", "the acts do not agree with the ledger"),
        "witnesses": ("the witnesses' cosignatures", "the witnesses do not stand for the ledger"),
        "time": ("time stamps", "a time stamp does not hold, or a time contradicts it"),
        "player": ("that the films are read to their end", "a film is not read to its end"),
    },
    holds="RESULT: The copy holds.",
    holds_not="RESULT: The copy does NOT hold.",
    unknown="RESULT: The package agrees with itself, but it is not known who made it. That proves nothing.",
    doubtful="RESULT: The copy is DOUBTFUL: the recorder was revoked when part of it was recorded.",
    grade="Assurance {level} of 5, {name}: {meaning}.",
    grades={
        Grade.REFUSED: ("refused", "something does not hold; do not use this copy"),
        Grade.UNKNOWN: ("unknown maker", "nothing came from outside that shows who signed"),
        Grade.DOUBTFUL: ("doubtful", "unchanged since, but the recorder may have been in other hands"),
        Grade.SIGNED: ("signed", "the house and its recorder stand for it; its times are their own word"),
        Grade.DATED: ("dated", "somebody outside the house says when it existed"),
        Grade.WITNESSED: ("witnessed", "other organisations would have seen the house's ledger rewritten"),
        Grade.STRONG: ("strong", "witnessed, and dated by somebody outside the house"),
        Grade.STRONGEST: ("strongest", "witnessed, and dated by at least two independent parties outside the house"),
    },
    proven="What is proven:",
    proven_lines={
        "whole": "Unchanged: {files} original files ({size} bytes) are byte for byte those that the recorder signed.",
        "who": "By whom: the house whose fingerprint you gave ({root}); recorder {recorders}.",
        "when": "When: recording began {began} by the recorder's own clock.",
        "sealed": "From outside: {clocks} of the time authorities that you gave say that it was finished by {sealed}.",
        "custody": "Acts: {entries} stand in the house's signed ledger.",
        "witnesses": "Witnesses: {witnesses} of those that you gave stand for every one of them.",
        "gaps": "Gaps: {gaps} are declared, and none of more than half a second is hidden.",
    },
    not_proven="What is NOT proven:",
    never=(
        "that a recorder was not taken over while it recorded",
        "that the pictures came from that camera, beyond its token, its address and its DTLS fingerprint",
        "what happened in front of the lens, before it or beside it",
        "that a person who was signed in was the person",
    ),
    time_alone="the time: it is the word of recorder and store",
    time_outside="the time between two stamps; an authority that lies, or whose key was stolen, is believed",
    no_witness="that the house's ledger was not rewritten: no witness was asked",
    strangers="whose clock stamped: give --time-authority, from elsewhere than the package",
    next_refused="Keep the package as it is, and ask the store for a new copy: the originals lie there. Write down "
    "which step failed.",
    next_unknown="Get the root certificate's fingerprint from the store another way (on paper, by telephone, from the "
    "court), and give --fingerprint.",
    wrong_use={
        "package": "Not an evidence copy: neither an unpacked folder nor a tar file. Nothing was checked.",
        "age": "The package is locked. Open it first: age -d -i your-key-file -o copy.tar {path}",
        "fingerprint": "--fingerprint is 64 characters (0-9, a-f). Nothing was checked.",
        "time-authority": "--time-authority is 64 characters (0-9, a-f). Nothing was checked.",
        "witness-keys": "--witness-keys cannot be read: {why}. Nothing was checked.",
        "quorum": "--quorum is at least 1, and at most as many witnesses as --witness-keys gives. Nothing was checked.",
    },
    interrupted="Interrupted. Nothing is said of the copy; the package is untouched. Begin again.",
)

LANGUAGES: Final = {"da": DANISH, "en": ENGLISH}
