"""Hop headers: what one DiSRouter tells the next when a whole gateway is an agent of another.

``x-disrouter-via`` names the gateways a query has come through. Anybody may send it: it is used only to refuse a query
that comes back. ``x-disrouter-hop`` carries the time that is left and is signed with a secret that both sides know;
without a good signature it is not looked at.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping

__all__ = ["HOP", "MOST_GATEWAYS", "VIA", "hop_headers", "seconds_left", "via_of"]

VIA = "x-disrouter-via"
HOP = "x-disrouter-hop"

MOST_GATEWAYS = 8
"""More gateways in a row than this are a mistake."""

LONGEST_SKEW = 60.0
"""Seconds by which two machines' clocks may differ, and for which a header that was overheard can be sent again."""

_NAME = re.compile(r"^[a-z0-9]{1,32}$")


def hop_headers(via: tuple[str, ...], left: float | None, secret: str | None) -> dict[str, str]:
    """Return the headers for the next gateway.

    Args:
        via: Gateways up to and including this one; empty for none, and then there are no headers.
        left: Seconds until the caller stops waiting.
        secret: Signs the seconds; without it they are not told.
    """
    if not via:
        return {}
    headers = {VIA: ",".join(via)}
    if secret and left is not None:
        at, milliseconds = f"{time.time():.0f}", f"{max(0.0, left) * 1000:.0f}"
        headers[HOP] = f"{at}.{milliseconds}.{_signature(secret, headers[VIA], at, milliseconds)}"
    return headers


def via_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the gateways that a request names; what is no name of one is left out."""
    names = headers.get(VIA, "")[:1000].split(",")
    return tuple(name.strip() for name in names if _NAME.match(name.strip()))


def seconds_left(headers: Mapping[str, str], secret: str | None) -> float | None:
    """Return the seconds that a caller with the same secret still waits; None from anybody else."""
    at, _, rest = headers.get(HOP, "")[:200].partition(".")
    milliseconds, _, signature = rest.partition(".")
    if not secret or not at.isdecimal() or not milliseconds.isdecimal() or len(at + milliseconds) > 30:
        return None
    wanted = _signature(secret, headers.get(VIA, ""), at, milliseconds)
    if not hmac.compare_digest(wanted.encode(), signature.encode()) or abs(time.time() - int(at)) > LONGEST_SKEW:
        return None
    return int(milliseconds) / 1000


def _signature(secret: str, via: str, at: str, milliseconds: str) -> str:
    return hmac.new(secret.encode(), f"v1\n{via}\n{at}\n{milliseconds}".encode(), hashlib.sha256).hexdigest()
