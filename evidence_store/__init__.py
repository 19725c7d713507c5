"""The evidence store: what is kept of an interview, who did what to it, and how that is proved.

    identifiers  people  interview  custody  errors     the words of the field: pure, and shared with the room
    canonical  domains                                  the one form that is hashed, and what each hash is for
    sealing/     how a take is sealed, opened and checked
    ledger/      the Merkle tree over everything that happened
    vault/       where sealed bytes lie, write-once
    database/    what has to be found again; never the only proof of anything

Imports neither recorder, monitor_room, api nor hardware.
"""
