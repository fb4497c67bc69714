"""Listings of a server's models, and which names are in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["names_in", "not_listed"]


def names_in(listing: Any) -> frozenset[str]:
    """Return the names in the reply of ``/v1/models``; none if it is no list."""
    entries = listing.get("data") if isinstance(listing, dict) else None
    entries = entries if isinstance(entries, list) else []
    found = [entry.get("id") for entry in entries if isinstance(entry, dict)]
    return frozenset(name for name in found if isinstance(name, str))


def not_listed(named: Mapping[str, str], listed: Collection[str]) -> str:
    """Return the models of an entry that a server does not list, with their keys; nothing if it lists them all."""
    return " or ".join(f"'{name}' ({key})" for key, name in named.items() if not _known(name, listed))


def _known(name: str, listed: Collection[str]) -> bool:
    """Return whether a name is one of those listed, or one that is written as some servers have it."""
    model, _, adapter = name.rpartition(":")  # SGLang: the model and its adapter, listed one by one
    return name in listed or f"{name}:latest" in listed or (model in listed and adapter in listed)
