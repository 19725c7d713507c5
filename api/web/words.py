"""The Danish words of the screens, looked up by code. What is not listed is shown as its code: seen, never hidden."""

from __future__ import annotations

from typing import Final

from api.services import CopyState, Lamp
from evidence_store.custody import ActorKind, Verb
from evidence_store.interview import InterviewState
from evidence_store.people import Role

ROLES: Final[dict[str, str]] = {
    Role.OPERATOR: "Teknikansvarlig",
    Role.HOUSE_STAFF: "Børnehusmedarbejder",
    Role.PROSECUTOR: "Anklager",
    Role.ADMINISTRATOR: "Systemadministrator",
}

KINDS: Final[dict[str, str]] = {ActorKind.PERSON: "Person", ActorKind.MACHINE: "Maskine"}
"""Of actors in custody that have no role."""

INTERVIEW_STATES: Final[dict[str, str]] = {
    InterviewState.PLANNED: "Forberedt",
    InterviewState.RECORDING: "Optages nu",
    InterviewState.ENDED: "Afsluttet",
    InterviewState.SEALED: "Forseglet",
    InterviewState.AVAILABLE: "Klar til gennemsyn",
    InterviewState.ERASED: "Slettet",
    InterviewState.RESERVED: "Nøgle til nødstart",
}

LAMPS: Final[dict[str, str]] = {
    Lamp.IDLE: "Optager ikke",
    Lamp.RECORDING: "Optager",
    Lamp.NOT_DURABLE: "Optagelsen er ikke sikret",
    Lamp.ALARM: "Alarm",
}

LAMP_TEXTS: Final[dict[str, str]] = {
    Lamp.IDLE: "Rummet er stille. Der gemmes ingen billeder og ingen lyd.",
    Lamp.RECORDING: "Billede og lyd er forseglet og skrevet på disk.",
    Lamp.NOT_DURABLE: "Der er startet, men det seneste er endnu ikke skrevet på disk.",
    Lamp.ALARM: "Se alarmen herunder. Afbryd kun afhøringen, hvis optagelsen er holdt op.",
}

ALARMS: Final[dict[str, str]] = {
    "camera-lost": "Kameraet sender ikke.",
    "audio-lost": "Mikrofonen sender ikke.",
    "picture-lost": "Kameraet sender lyd, men intet billede.",
    "silence": "Der er ingen lyd fra mikrofonen.",
    "quiet": "Lyden er meget svag.",
    "clipped": "Lyden er for kraftig og forvrænges.",
    "sound-unreadable": "Lyden kan ikke læses.",
    "black": "Billedet er sort.",
    "low-light": "Der er for lidt lys.",
    "frozen": "Billedet står stille.",
    "wrong-frame-rate": "Kameraet sender et forkert antal billeder i sekundet.",
    "picture-unreadable": "Billedet kan ikke læses.",
    "clock-off": "Kameraets ur går forkert.",
    "camera-changed": "Et kamera er et andet, end rummet kender, eller er flyttet. Optagelsen fortsætter. Se efter, om det er det rette kamera, og kontakt systemadministratoren.",  # noqa: E501
    "watch-down": "Overvågningen af billede og lyd svarer ikke. Optagelsen fortsætter; hold selv øje med billede og lyd.",  # noqa: E501
    "spool-low": "Der er snart ikke mere plads på rummets maskine.",
    "spool-full": "Rummets disk er fuld. Det, der er optaget indtil nu, er forseglet. Der optages ikke mere, før der er plads.",  # noqa: E501
    "not-durable": "Det seneste er ikke skrevet på disk.",
    "delivery-behind": "Optagelsen ligger kun på rummets maskine, indtil lageret svarer.",
    "test-opening-failed": "Lageret kunne ikke åbne prøven af den forseglede optagelse.",
    "key-pool-empty": "Rummet mangler nye nøgler. Den seneste bruges igen.",
    "clock-step": "Maskinens ur er stillet under optagelsen.",
    "recovered": "Optagelsen blev afbrudt og er genoptaget i et nyt stykke.",
    "take-after-seal": "En forseglet afhøring fik endnu en optagelse. Kontakt den beviskædeansvarlige.",
    "take-after-revocation": "En spærret maskine har afleveret en optagelse. Den gemmes og mærkes tvivlsom. Kontakt den beviskædeansvarlige.",  # noqa: E501
    "take-missing": "Et optagelsesnummer mangler.",
    "take-left-open": "En tidligere optagelse kunne ikke lukkes endnu. Det, der er optaget, er forseglet.",
    "spool-failing": "Rummets disk svarer med fejl. Det seneste venter i hukommelsen.",
    "spool-unreadable": "Rummets disk kan ikke læses. Optagelsen fortsætter, men kan ikke afleveres.",
    "sealer-failed": "Forseglingen er gået i stå. Rummets maskine starter forfra af sig selv.",
    "store-unavailable": "Lageret tager ikke imod lige nu. Optagelsen ligger på rummets maskine.",
    "store-out-of-reach": "Lageret svarer ikke. Optagelsen fortsætter og ligger på rummets maskine.",
    "store-refuses": "Lageret afviser noget af optagelsen. Den bliver liggende på rummets maskine.",
    "store-holds-something-else": "Lageret har noget andet end det afleverede. Kontakt den beviskædeansvarlige.",
    "recovery-key-here": "Gendannelsesnøglen ligger endnu på maskinen. Systemadministratoren skal opdele den og fjerne den.",  # noqa: E501
    "keys-out-of-reach": "Lagerets nøgler svarer ikke (HSM). Optagelser fortsætter og gemmes, men kan ikke ses eller forsegles, før de svarer.",  # noqa: E501
    "device-key-away": "Rummets maskine kan ikke underskrive (TPM). En optagelse, der er i gang, fortsætter; en ny kan ikke begynde, før den svarer.",  # noqa: E501
    "long-work-down": "Baggrundsarbejdet huskes ikke over en genstart. Det udføres stadig; kontakt driften.",
    "witness-late": "Et vidne har ikke medunderskrevet beviskæden i tide. Arbejdet fortsætter; kontakt driften.",
    "witness-veto": "Et vidne siger nej til beviskæden. Optagelser fortsætter, men intet nyt kan skrives. Kontakt den beviskædeansvarlige straks.",  # noqa: E501
    "vault-behind": "Et af de to lagre mangler noget. Det andet har det; intet er gået tabt.",
    "object-lost": "Et stykke af en optagelse kan ikke læses i noget lager. Slet intet, og kontakt den beviskædeansvarlige.",  # noqa: E501
    "delivery-refused": "Lageret har afvist noget, rummet afleverede. Det ligger stadig på rummets maskine.",
    "stamps-late": "Tidsstempler udefra mangler. Optagelsen er sikret; stemplerne hentes, når tidsstemplingstjenesten svarer.",  # noqa: E501
    "stamp-refused": "Et tidsstempel kunne ikke godkendes og er afvist. Kontakt den beviskædeansvarlige.",
    "clock-contradicted": "Et ur går forkert efter et tidsstempel udefra. Optagelsen er sikret; få urene kontrolleret.",
}

STAMPED: Final[dict[str, str]] = {
    "start": "Optagelsens begyndelse",
    "head": "Et minut af optagelsen",
    "close": "Optagelsens afslutning",
    "manifest": "Erklæringen",
    "checkpoint": "Hovedbogen",
}
"""What a time stamp is about."""

CONTRADICTED: Final[dict[str, str]] = {
    "store-clock": "Lagerets ur går forkert",
    "claim": "Angiver selv en senere tid",
}

OBSERVATION_ACTS: Final[dict[str, str]] = {
    "began": "Begyndt",
    "ended": "Ophørt",
    "lapsed": "Ikke fulgt til ende",
}

CHECKS: Final[dict[str, str]] = {
    "camera-lost": "Et kamera sender ikke.",
    "picture-lost": "Der kommer ikke billede fra et kamera.",
    "audio-lost": "Der kommer ikke lyd fra en mikrofon.",
    "spool-low": "Der er ikke meget plads tilbage på rummets maskine.",
    "device-key-away": "Rummets maskine kan ikke underskrive (TPM). Optag i et andet rum, hvis en prøve på start ikke lykkes.",  # noqa: E501
    "clock-not-set": "Maskinens ur er ikke stillet efter en tidstjeneste.",
    "monitor-away": "Monitorrummet får ikke billede lige nu.",
    "store-unavailable": "Lageret tager ikke imod lige nu. Optagelsen bliver på rummets maskine så længe.",
    "store-out-of-reach": "Lageret svarer ikke. Optagelsen bliver på rummets maskine så længe.",
    "store-refuses": "Lageret har afvist noget fra rummet.",
    "store-holds-something-else": "Lageret har noget andet end det afleverede.",
    "spool-full": "Rummets disk er fuld.",
    "spool-unreadable": "Rummets disk kan ikke læses.",
}
"""Of what is looked at before a start. None of them keeps anybody from starting."""

MEMORY: Final[dict[str, str]] = {
    "locked": "Låst: nøgler kommer aldrig på disken",
    "no-swap": "Ikke låst, men maskinen har intet byttelager",
    "swappable": "Ikke låst: nøgler kan komme i maskinens byttelager",
}
"""How memory that holds keys is kept off the disk."""

ENDINGS: Final[dict[str, str]] = {
    "stopped": "Stoppet",
    "crashed": "Afbrudt og lukket bagefter",
    "void": "Tom",
    "running": "Optages nu",
    "open": "Endnu ikke afleveret",
}

GAPS: Final[dict[str, str]] = {
    "incomplete": "Et billede kom ufuldstændigt frem",
    "malformed": "Kameraet sendte noget ulæseligt",
    "loss": "Pakker gik tabt på vej fra kameraet",
    "no-media": "Kameraet sendte ikke noget",
    "no-key-frame": "Der manglede et helt billede at begynde med",
    "pause": "Pause",
    "discontinuity": "Kameraets tid sprang",
    "overflow": "Optageren kunne ikke følge med",
    "no-connection": "Kameraet var ikke forbundet",
    "reconnect": "Kameraet var afbrudt",
    "restart": "Optageren blev genstartet",
    "clock-step": "Maskinens ur blev stillet",
    "spool-full": "Rummets disk var fuld",
}

COPY_STATES: Final[dict[str, str]] = {
    CopyState.QUEUED: "Venter på at begynde",
    CopyState.VERIFYING: "Kontrollerer originalen",
    CopyState.RENDERING: "Danner visningskopi",
    CopyState.PACKING: "Pakker og krypterer til modtageren",
    CopyState.READY: "Klar til udlevering",
    CopyState.FAILED: "Mislykket",
}

VERBS: Final[dict[str, str]] = {
    Verb.INTERVIEW_CREATED: "Videoafhøring oprettet",
    Verb.INTERVIEW_SEARCHED: "Sag søgt frem",
    Verb.INTERVIEW_KEY_MINTED: "Nøgle dannet",
    Verb.INTERVIEW_ASSIGNED: "Knyttet til journalnummer",
    Verb.INTERVIEW_EXPLAINED: "Begrundelse givet",
    Verb.INTERVIEW_STARTED: "Videoafhøring startet",
    Verb.INTERVIEW_ENDED: "Videoafhøring afsluttet",
    Verb.INTERVIEW_SEALED: "Videoafhøring forseglet",
    Verb.INTERVIEW_AVAILABLE: "Klar til gennemsyn",
    Verb.INTERVIEW_HELD: "Spærret mod sletning",
    Verb.INTERVIEW_RELEASED: "Spærring ophævet",
    Verb.ERASURE_REQUESTED: "Sletning indstillet",
    Verb.ERASURE_WITHDRAWN: "Sletteindstilling trukket tilbage",
    Verb.ERASURE_APPROVED: "Sletning godkendt",
    Verb.INTERVIEW_ERASED: "Slettet: nøglen er tilintetgjort",
    Verb.ERASURE_SETTLED: "Databasens log er tømt for den slettede nøgle",
    Verb.TAKE_STARTED: "Optagelse begyndt",
    Verb.TAKE_TESTED: "Prøve af optagelsen åbnet og kontrolleret",
    Verb.TAKE_TEST_FAILED: "Prøve af optagelsen kunne ikke åbnes",
    Verb.TAKE_CLOSED: "Optagelse lukket og forseglet",
    Verb.TAKE_MISSING: "Optagelsesnummer mangler",
    Verb.CHECKS_OVERRIDDEN: "Startet trods en advarsel",
    Verb.MINUTE: "Forsegling hvert minut",
    Verb.GAP: "Hul erklæret",
    Verb.RECONNECTED: "Kamera forbundet igen",
    Verb.OBSERVED: "Bemærket i billede eller lyd",
    Verb.DELIVERY_REFUSED: "Aflevering afvist",
    Verb.STAMP_OBTAINED: "Tidsstempel modtaget",
    Verb.STAMP_LOST: "Tidsstempel er gået tabt",
    Verb.STAMP_REFUSED: "Tidsstempel afvist",
    Verb.STAMPS_LATE: "Tidsstempler er forsinket",
    Verb.STAMPS_CAUGHT_UP: "Tidsstempler er indhentet",
    Verb.CAMERA_ENROLLED: "Kamera kendt fra nu af",
    Verb.CAMERA_CHANGED: "Kamera er et andet end det kendte, eller er flyttet",
    Verb.CAMERA_CONFIRMED: "Andet kamera godkendt",
    Verb.DEVICE_ENROLLED: "Rummets maskine tilmeldt",
    Verb.VAULT_OBJECT_MENDED: "Beskadiget kopi i lageret genskabt fra den anden",
    Verb.VAULT_OBJECT_LOST: "Ingen kopi i lageret kan læses",
    Verb.VAULT_SCRUBBED: "Alle kopier i lageret gennemlæst",
    Verb.DEVICE_REVOKED: "Rummets maskine spærret",
    Verb.KEYS_ROTATED: "Nøglelagerets nøgle skiftet",
    Verb.VIEWER_JOINED: "Fulgte med i direkte visning",
    Verb.VIEWER_LEFT: "Forlod direkte visning",
    Verb.MEDIA_VIEWED: "Gennemsyn",
    Verb.COPY_REQUESTED: "Beviskopi bestilt",
    Verb.COPY_MADE: "Beviskopi fremstillet",
    Verb.COPY_RELEASED: "Beviskopi udleveret",
    Verb.COPY_FAILED: "Beviskopi mislykkedes",
    Verb.LEDGER_VIEWED: "Beviskæde læst",
    Verb.WITNESS_LATE: "Vidne har ikke medunderskrevet i tide",
    Verb.WITNESS_BACK: "Vidne medunderskriver igen",
    Verb.WITNESS_VETOED: "Vidne sagde nej til beviskæden, og siden ja",
    Verb.WITNESS_FORGOT: "Vidne huskede mindre end før",
    Verb.AUDIT_MADE: "Efterprøvning",
    Verb.ACCESS_DENIED: "Adgang nægtet",
    Verb.ACCOUNT_CREATED: "Bruger oprettet",
    Verb.ACCOUNT_SIGNED_IN: "Logget ind",
    Verb.ACCOUNT_SIGNED_OUT: "Logget ud",
    Verb.ACCOUNT_SIGN_IN_FAILED: "Mislykket forsøg på at logge ind",
}

CAMERA_MARKS: Final[dict[str, str]] = {"address": "Anden adresse", "fingerprint": "Andet certifikat"}
"""What of a camera differs from what it is known by."""

MACHINES: Final[dict[str, str]] = {
    "store": "Lageret",
    "console": "Maskinens kommandolinje",
    "recorder": "Optageren",
    "monitor": "Monitorrummet",
}


def actor(name: str) -> str:
    """A person by name, a machine by its Danish word: `recorder:0011…` is the recorder of that enrolment."""
    return MACHINES.get(name.partition(":")[0], name)


def danish(table: dict[str, str], code: str) -> str:
    return table.get(code, code)
