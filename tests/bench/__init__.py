"""Measurements against peers: the same bytes, the same run, taking turns, medians. Run by `scripts/bench NAME`."""
