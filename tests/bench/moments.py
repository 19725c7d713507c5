"""Moments that measurements take place at: fixed, so that every run seals the same."""

import datetime

BORN = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
NOW_NS = 1_795_312_801_250_000_000
