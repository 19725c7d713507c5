"""The sealing scheme: how media becomes evidence tick by tick (docs/formats/).

    keys          interview keys, what wraps and unwraps them
    certificates  root, store, device and take certificates; the two signatures
    ratchet       one key a segment, forgotten as the recording goes on
    tick          messages and records of at most a quarter of a second
    segment       the file of about two seconds: unit of storage and transfer
    journal       start, chain of ticks, close
    check         everything that can be checked without a decryption key
    manifest      what the store says of an interview's takes

Nothing here reads a clock, a file or the network.
"""
