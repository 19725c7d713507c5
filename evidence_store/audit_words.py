"""What an audit's findings mean to an officer, in Danish and English: what is wrong, what is safe, what to do next.

By the code of the error, or the beginning of a code that several share; the first that fits. What is safe is said
before what to do: whoever reads this has to know first that nothing is gained by haste.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Language = Literal["da", "en"]


@dataclass(frozen=True, slots=True)
class Words:
    """Three sentences or so: `means`, `safe`, `do`."""

    means: str
    safe: str
    do: str


_NOTHING_TOUCH_DA = "Ret, slet og flyt ingenting. "
_NOTHING_TOUCH_EN = "Repair, delete and move nothing. "

_TABLE: Final[tuple[tuple[tuple[str, ...], Words, Words], ...]] = (
    (
        ("vault-", "database-"),
        Words(
            "Et lager svarer ikke, så det kunne ikke ses efter.",
            "Det siger intet om, hvad der ligger dér. Optagelse går videre imens.",
            "Få lageret til at svare igen, og kør revisionen forfra: den går videre, hvor den var.",
        ),
        Words(
            "A store does not answer, so it could not be looked at.",
            "That says nothing of what lies there. Recording goes on meanwhile.",
            "Let the store answer again and start the audit again: it goes on where it was.",
        ),
    ),
    (
        ("ledger-rolled-back",),
        Words(
            "Beviskæden er kortere, end den har været: en ældre database er lagt tilbage, eller slutningen er fjernet.",
            "Optagelser i lageret er ikke ændret af det, og de kan stadig kontrolleres hver for sig.",
            "Find ud af, hvem der har lagt en sikkerhedskopi tilbage. Læg den nyeste database tilbage, før nogen "
            "arbejder videre, og kør revisionen igen.",
        ),
        Words(
            "The ledger is shorter than it has been: an older database was put back, or its end was removed.",
            "Recordings in the vault are not changed by that, and each can still be checked by itself.",
            "Find out who restored a backup. Restore the newest database before anybody works on, then audit again.",
        ),
    ),
    (
        ("ledger-vetoed", "witness-"),
        Words(
            "Et uafhængigt vidne siger, at dette ikke er den beviskæde, som det har set.",
            "Vidnet husker, hvad der gjaldt. Optagelse går videre; handlinger af personer er standset.",
            _NOTHING_TOUCH_DA + "Spørg vidnets organisation, hvad det så sidst, og find ud af, om en sikkerhedskopi er "
            "lagt tilbage, eller nogen har skrevet kæden om.",
        ),
        Words(
            "An independent witness says that this is not the ledger that it has seen.",
            "The witness remembers what was. Recording goes on; acts of people are stopped.",
            _NOTHING_TOUCH_EN + "Ask the witness's organisation what it saw last, and find out whether a backup was "
            "restored or somebody rewrote the ledger.",
        ),
    ),
    (
        ("ledger-", "note-", "checkpoint-", "inclusion-", "consistency-", "tree-", "cosignature-", "nonce-"),
        Words(
            "Beviskæden er ikke, som den blev skrevet: en linje, en sum eller en underskrift passer ikke.",
            "Optagelserne ligger for sig og er efterset for sig; se deres egne linjer i denne rapport.",
            _NOTHING_TOUCH_DA + "Tag en kopi af databasen, som den er, og læg den nyeste sikkerhedskopi, der består "
            "revisionen, ved siden af: forskellen viser, hvad der er ændret.",
        ),
        Words(
            "The ledger is not as it was written: an entry, a hash or a signature does not agree.",
            "Recordings lie by themselves and were looked at by themselves; see their own lines in this report.",
            _NOTHING_TOUCH_EN + "Keep a copy of the database as it is, and hold the newest backup that passes an audit "
            "beside it: the difference shows what was changed.",
        ),
    ),
    (
        ("custody-", "event-", "actor-"),
        Words(
            "En linje i loggen over, hvem der gjorde hvad, er ændret, fjernet eller lagt til uden om systemet.",
            "Beviskæden har linjen, som den blev skrevet, og kan bevise den. Optagelserne er ikke berørt.",
            _NOTHING_TOUCH_DA + "Find ud af, hvem der har haft adgang til databasen. Kæden siger, hvad der gælder.",
        ),
        Words(
            "A line of the log of who did what was changed, removed or added behind the system's back.",
            "The ledger has the line as it was written and can prove it. Recordings are not touched.",
            _NOTHING_TOUCH_EN + "Find out who had access to the database. What the ledger says is what counts.",
        ),
    ),
    (
        ("object-altered", "ciphertext-", "message-", "commitment-"),
        Words(
            "Noget gemt er ikke de bytes, som blev gemt: en skade på disken, eller nogen har ændret det.",
            "Det ændrede bliver aldrig givet ud som bevis. Er der to lagre, har det andet som regel en god kopi, som "
            "denne bliver rettet efter.",
            _NOTHING_TOUCH_DA + "Se linjen for det andet lager; er kopien dér god, så lad systemet rette det. "
            "Ellers find en kopi: optagerens disk, en sikkerhedskopi af lageret, en udleveret beviskopi.",
        ),
        Words(
            "Something stored is not the bytes that were stored: a damaged disk, or somebody changed it.",
            "What was changed is never given out as evidence. With two vaults the other mostly has a good copy, which "
            "this one is mended from.",
            _NOTHING_TOUCH_EN + "See the other vault's line; if its copy is good, let the system mend this one. "
            "If not, look for a copy: the recorder's disk, a backup of the vault, an evidence copy handed out.",
        ),
    ),
    (
        ("object-unknown",),
        Words(
            "I lageret ligger der noget ved en optagelse, som systemet ikke har lagt dér.",
            "Selve optagelsen er hel: det fremmede er ikke en del af den og bliver aldrig vist eller udleveret.",
            _NOTHING_TOUCH_DA + "Find ud af, hvem der har haft adgang til lageret.",
        ),
        Words(
            "Beside a recording in the vault lies something that the system did not put there.",
            "The recording itself is whole: what is foreign is no part of it and is never shown or given out.",
            _NOTHING_TOUCH_EN + "Find out who had access to the vault.",
        ),
    ),
    (
        ("object", "segment-missing"),
        Words(
            "Noget, som blev gemt, er væk.",
            "Resten af optagelsen er der stadig, og det, der mangler, er udpeget.",
            _NOTHING_TOUCH_DA + "Find en kopi: det andet lager, optagerens disk, en sikkerhedskopi af lageret. Læg den "
            "på plads, og kør revisionen igen.",
        ),
        Words(
            "Something that was stored is gone.",
            "The rest of the recording is there, and what is missing is named.",
            _NOTHING_TOUCH_EN + "Look for a copy: the other vault, the recorder's disk, a backup of the vault. Put it "
            "in its place and audit again.",
        ),
    ),
    (
        ("take-missing", "device-unknown"),
        Words(
            "En optagelse, som rummet har nummereret, findes ikke her: skjult, fjernet eller aldrig afleveret.",
            "De andre optagelser er ikke berørt. Numrene viser, at den har været der.",
            "Se efter på optagerens disk, før andet: dér kan den ligge endnu. Find derefter ud af, hvem der har haft "
            "adgang til database og lager.",
        ),
        Words(
            "A recording that the room has numbered is not here: hidden, removed, or never delivered.",
            "The other recordings are not touched. The numbers show that it was there.",
            "Look at the recorder's disk before anything else: it may lie there still. Then find out who had access to "
            "database and vault.",
        ),
    ),
    (
        ("take-open",),
        Words(
            "En optagelse blev aldrig afsluttet, skønt rummet er begyndt på en ny.",
            "Hvad der er afleveret, er her og kan kontrolleres.",
            "Start rummets maskine, så den kan afslutte og aflevere; er den væk, så meld det til den systemansvarlige.",
        ),
        Words(
            "A recording was never closed, though the room has begun another.",
            "What was delivered is here and can be checked.",
            "Start the room's machine, so that it closes and delivers it; if it is gone, tell whoever runs the system.",
        ),
    ),
    (
        ("manifest-",),
        Words(
            "Listen over afhøringens optagelser er ikke den samme som de optagelser, der er.",
            "Hver optagelse er underskrevet for sig; se deres egne linjer.",
            _NOTHING_TOUCH_DA + "Udlever ingen kopi af denne afhøring, før det er forklaret.",
        ),
        Words(
            "The list of the interview's recordings is not the same as the recordings that there are.",
            "Each recording is signed by itself; see their own lines.",
            _NOTHING_TOUCH_EN + "Release no copy of this interview before it is explained.",
        ),
    ),
    (
        ("seed-", "erasure-"),
        Words(
            "En afhørings nøgle er væk eller til stede, uden at to personer står for det i loggen.",
            "Optagelsen ligger stadig krypteret i lageret, og beviserne for den gælder.",
            "Er nøglen væk, så se efter i escrow, før andet: dér kan den ligge. Find ud af, hvem der har haft adgang.",
        ),
        Words(
            "An interview's key is gone, or is here, without two people standing for it in custody.",
            "The recording still lies encrypted in the vault, and its proofs hold.",
            "If the key is gone, look in escrow before anything else: it may be there. Find out who had access.",
        ),
    ),
    (
        ("revocation-",),
        Words(
            "En tilbagekaldelse af et rums udstyr mangler eller er ændret.",
            "Optagelserne er her; det gælder kun, hvilke af dem der kan stoles på.",
            _NOTHING_TOUCH_DA + "Sammenlign med, hvad der blev besluttet og skrevet ned, da udstyret blev stjålet.",
        ),
        Words(
            "A revocation of a room's device is missing or was changed.",
            "The recordings are here; this is only about which of them can be trusted.",
            _NOTHING_TOUCH_EN + "Compare with what was decided and written down when the device was stolen.",
        ),
    ),
    (
        ("time-", "stamp-"),
        Words(
            "Et tidspunkt, som optager eller lager påstår, passer ikke med et tidsstempel udefra.",
            "Billede og lyd er ikke berørt; det gælder, hvornår de er fra.",
            "Se efter, om urene går rigtigt. Skriv ned, hvor meget de var forkerte: optagelsen bliver, som den er.",
        ),
        Words(
            "A time that recorder or store claims does not agree with an outsider's time stamp.",
            "Picture and sound are not touched; it is about when they are from.",
            "See whether the clocks are right. Write down by how much they were wrong: the recording stays as it is.",
        ),
    ),
    (
        (
            "signature-", "certificate-", "start-", "close-", "tick-", "segment-", "tail-", "envelope-", "record-",
            "key-",
        ),
        Words(
            "En optagelse hænger ikke sammen: en underskrift eller et led i dens kæde passer ikke.",
            "Alt før det udpegede led er efterset og holder.",
            _NOTHING_TOUCH_DA + "Udlever ingen kopi af den. Sammenlign med optagerens disk og med det andet lager.",
        ),
        Words(
            "A recording does not hang together: a signature or a link of its chain does not agree.",
            "Everything before the link that is named was checked and holds.",
            _NOTHING_TOUCH_EN + "Release no copy of it. Compare with the recorder's disk and with the other vault.",
        ),
    ),
)  # fmt: skip

_OTHERWISE: Final[dict[Language, Words]] = {
    "da": Words(
        "Noget kunne ikke læses, som det skal: det er ændret til noget, systemet ikke kender.",
        "Det er udpeget her, og resten er efterset for sig.",
        _NOTHING_TOUCH_DA + "Giv rapporten til den systemansvarlige.",
    ),
    "en": Words(
        "Something could not be read as it should be: it was changed into what the system does not know.",
        "It is named here, and the rest was looked at by itself.",
        _NOTHING_TOUCH_EN + "Give this report to whoever runs the system.",
    ),
}

_NAMES: Final[dict[str, str]] = {
    "earlier audit": "en tidligere revision", "vaults": "lagrenes ejere", "vault": "lager", "ledger": "beviskæden",
    "custody": "loggen over handlinger", "erasures": "sletninger", "checkpoints": "kædens underskrevne stande",
    "revocations": "tilbagekaldt udstyr", "witnesses": "vidner", "numbers": "optagelsesnumre for rum",
    "take": "optagelse", "manifest": "listen over afhøring", "outside time": "tid udefra", "time": "tidsstempler for",
}  # fmt: skip


def words_for(code: str, language: Language) -> Words:
    """What a finding with this code means. Every code has words: what none was written for has those for anything."""
    for begins, danish, english in _TABLE:
        if any(code == each or (each.endswith("-") and code.startswith(each)) for each in begins):
            return danish if language == "da" else english
    return _OTHERWISE[language]


def name_of(name: str, language: Language) -> str:
    """What was looked at, in words: `take ab12cd34-7` as "optagelse ab12cd34-7"."""
    if language == "en":
        return name
    for known, danish in _NAMES.items():
        if name == known or name.startswith(f"{known} "):
            return danish + name.removeprefix(known)
    return name
