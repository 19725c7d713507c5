"""The ledger: everything that happened, as a Merkle tree that cannot be rewritten unseen (docs/formats/ledger.md).

merkle      RFC 6962 arithmetic: roots, proofs, their verification      pure
checkpoint  the signed head of the tree (C2SP tlog-checkpoint)          pure
proof       one entry's proof as a file (C2SP tlog-proof)               pure
ledger      the tree in the database: append, sign, prove, check
custody_log custody events as rows and ledger entries, in one transaction
"""
