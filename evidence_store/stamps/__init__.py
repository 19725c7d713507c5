"""An outsider's clock: RFC 3161 time stamps over starts, heads, closes, manifests and checkpoints.

Format: docs/formats/stamp.md. `stamp` and `subjects` are pure; `waiting` is the queue that lies in the database;
`keeper` fills and empties it. Asking over the network is not here: nothing that records or seals waits for it.
"""
