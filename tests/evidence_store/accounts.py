"""Rows for whoever needs some, whatever is in them."""

from __future__ import annotations


def account(name: str) -> dict[str, object]:
    """An account's columns."""
    return {
        "id": name.ljust(32, "0"), "username": name, "display_name": name, "role": "operator", "active": True,
        "created_at": 0,
    }  # fmt: skip
