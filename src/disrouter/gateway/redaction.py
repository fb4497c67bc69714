"""Taking out of a text what must never be kept or shown: keys and addresses."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["clipped", "kept_model", "without_secrets"]

_ADDRESS = re.compile(
    r"""\b[a-z][a-z0-9+.-]{1,15}://[^\s'"<>)]+            # any URL
    |\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b             # an IPv4 address
    |\[[0-9a-f:]{3,}\](?::\d{1,5})?                       # an IPv6 address as URLs write it
    |\b(?:[a-z0-9-]+\.)*[a-z0-9-]*[a-z][a-z0-9-]*:\d{2,5}\b   # host:port
    """,
    re.IGNORECASE | re.VERBOSE,
)
_KEY = re.compile(
    r"""\b(?:bearer|basic)\s+[^\s'"]+                     # an Authorization header
    |\b(?:sk|pk|gsk|hf|xai|AIza)[-_][A-Za-z0-9_\-]{6,}    # keys as providers write them
    """,
    re.IGNORECASE | re.VERBOSE,
)


def without_secrets(text: str, *, addresses: bool = True) -> str:
    """Return a text with keys, and addresses too unless told otherwise, replaced by what they were."""
    text = _KEY.sub("[key]", text)
    return _ADDRESS.sub("[address]", text) if addresses else text


def clipped(text: str, most: int) -> str:
    """Return a text that any database takes: at most so many characters, no NUL, no half of a character."""
    if len(text) <= most and text.isascii() and "\0" not in text:
        return text
    if len(text) > most:
        text = text[: most - 1] + "…"
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


@lru_cache(maxsize=1_000)
def kept_model(name: str) -> str:
    """Return the model that was asked for as it may be kept: a client may write anything there, even a key."""
    return without_secrets(clipped(name, 200))
