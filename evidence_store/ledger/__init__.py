"""The ledger: everything that happened, as a Merkle tree that cannot be rewritten unseen (docs/formats/ledger.md).

merkle          RFC 6962 arithmetic: roots, proofs, their verification      pure
checkpoint      the signed head of the tree (C2SP tlog-checkpoint)          pure
cosignature     a witness's word about one (C2SP tlog-cosignature)          pure
proof           one entry's proof as a file (C2SP tlog-proof)               pure
ledger          the tree in the database: append, sign, prove, check
custody_log     custody events as rows and ledger entries, in one transaction
rebuild         the whole tree from its entries, against all that is stored
reader          a large one read so by a process of its own
look            what an audit looks at of it, by that process or without it
book            where custody is written: transaction, checkpoint, vault
witness         the rule of a witness, and its request (C2SP tlog-witness)  pure
witness_memory  a witness at work: its key and its memory in a folder
policy          who witnesses, how many it takes, how late they may be      pure
witnessing      the house's side: what witnesses are asked, what they said
witness_audit   what the audit says of them
"""
