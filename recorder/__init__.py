"""The recording way: what a camera sends, kept exactly as it was sent, sealed, durable, and delivered.

It never waits for a viewer, a database, a network or a store, and it holds no key that opens what it has written.
"""
