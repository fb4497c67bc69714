"""Hop headers: what a query carries from one process of a network to the next, signed with a secret both sides know.

``x-disrouter-via`` names the processes that a query has come through; ``traceparent`` is W3C's; ``x-disrouter-hop``
holds the time, cost and hops that are left, when it was sent and a word that is used once. Its signature covers all of
these, the path and the body. Where a secret is set, a request with any of our headers and no good signature is refused.

A clock that is wrong stops nobody: whoever is told that a header is too old is told the time as well, signed, and signs
again by that clock.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from disrouter.agents.nonces import Nonces
from disrouter.agents.sealing import Seals
from disrouter.types import Query

__all__ = [
    "HOP",
    "MOST_GATEWAYS",
    "PROOF",
    "TIME",
    "TRACE",
    "VIA",
    "HopError",
    "Signer",
    "Travel",
    "Verifier",
    "signature_of",
    "trace_of",
    "traceparent_of",
    "travel_of",
    "via_of",
]

VIA = "x-disrouter-via"
HOP = "x-disrouter-hop"
TRACE = "traceparent"
TIME = "x-disrouter-time"
"""In a refusal: the time here, signed."""
PROOF = "x-disrouter-proof"
"""In a reply that must be believed: its body, signed."""

MOST_GATEWAYS = 8
"""More gateways in a row than this are a mistake."""

LONGEST_SKEW = 60.0
"""Seconds by which a header may be older or younger than the clock here says."""

STARTED = 0.01
"""Seconds: less than it takes to start a process again, and more than clocks are written with."""
LONGEST_HEADER = 400

_NAME = re.compile(r"^[a-z0-9]{1,32}$")
_NONCE = re.compile(r"^[0-9a-f]{24}$")
_TRACE = re.compile(r"^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$")

Code = Literal["hop_unsigned", "hop_signature", "hop_time", "hop_replayed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Travel:
    """What a query carries along besides itself."""

    via: tuple[str, ...] = ()
    """Processes that it has come through, the first one first."""

    seconds: float | None = None
    """Until the caller stops waiting."""

    max_cost: float | None = None
    """Normalised cost that may still be spent."""

    max_hops: int | None = None
    """Agents that may still be consulted."""

    traceparent: str | None = None
    """W3C trace context."""


class HopError(Exception):
    """A hop header that must not be believed; ``headers`` go with the refusal."""

    def __init__(self, message: str, code: Code, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code: Code = code
        self.headers = dict(headers or {})


def travel_of(query: Query, *, by: str | None = None) -> Travel:
    """Return what a query that came in over HTTP carries on; ``by`` is this process, where it has not said so yet."""
    request = query.request
    if request is None:
        return Travel(via=(by,) if by else ())
    return Travel(
        via=(*request.via, by) if by and by not in request.via else request.via,
        seconds=None if request.deadline is None else max(0.0, request.deadline - time.monotonic()),
        max_cost=request.max_cost,
        max_hops=request.max_hops,
        traceparent=request.traceparent,
    )


def via_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the processes that a request names; what is no name of one is left out."""
    names = headers.get(VIA, "")[:1000].split(",")
    return tuple(name.strip() for name in names if _NAME.match(name.strip()))


def trace_of(headers: Mapping[str, str]) -> str | None:
    """Return the trace context of a request, where it has a sound one."""
    given = headers.get(TRACE, "")
    return given if _TRACE.match(given) else None


def traceparent_of(trace_id: str, caller: str | None = None) -> str:
    """Return the trace context for those that a route of ours asks: its span, in the trace of the caller if it has one.

    Args:
        trace_id: Id of the route; its first half is that of the route's span, too.
        caller: Trace context of whoever asked us.
    """
    _, trace, _, flags = caller.split("-") if caller is not None else ("", trace_id, "", "01")
    return f"00-{trace}-{trace_id[:16]}-{flags}"


class Signer:
    """Signs what one process sends to another one, and learns by how much the other's clock is off.

    Args:
        secret: Gives the shared secret; without one, what is carried is not told, only the way.
        clock: Seconds since 1970.
    """

    def __init__(self, secret: Callable[[], str | None], clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock
        self.offset = 0.0
        """Seconds by which the other's clock is ahead of ours."""

    def headers(self, path: str, body: bytes, travel: Travel) -> dict[str, str]:
        """Return the headers for one attempt; every attempt needs its own."""
        headers = {VIA: ",".join(travel.via)} if travel.via else {}
        if travel.traceparent is not None:
            headers[TRACE] = travel.traceparent
        secret = self._secret()
        if not secret:
            return headers
        fields = [f"t={self._clock() + self.offset:.3f}", f"n={secrets.token_hex(12)}"]
        if travel.seconds is not None:
            fields.append(f"left={travel.seconds:.3f}")
        if travel.max_cost is not None:
            fields.append(f"cost={travel.max_cost!r}")
        if travel.max_hops is not None:
            fields.append(f"hops={travel.max_hops}")
        told = ";".join(fields)
        return {**headers, HOP: f"v2;{told};s={_signed(secret, path, headers, told, body)}"}

    def learn(self, sent: Mapping[str, str], received: Mapping[str, str]) -> bool:
        """Take over the other's clock from its refusal; return whether signing again may help."""
        secret, said = self._secret(), received.get(TIME, "")[:LONGEST_HEADER]
        at, _, signature = said.partition(";s=")
        nonce = _fields(sent.get(HOP, "")).get("n", "")
        if not secret or not nonce or not _same(signature, signature_of(secret, "time", nonce, at)):
            return False
        try:
            theirs = float(at)
        except ValueError:
            return False
        self.offset = theirs - self._clock()
        return math.isfinite(self.offset)

    def believes(self, sent: Mapping[str, str], received: Mapping[str, str], body: bytes) -> bool:
        """Return whether a reply is from somebody who knows the secret, and the reply to this very request."""
        secret = self._secret()
        nonce = _fields(sent.get(HOP, "")).get("n", "")
        if not secret:
            return True
        return _same(received.get(PROOF, ""), signature_of(secret, "reply", nonce, hashlib.sha256(body).hexdigest()))

    def seals(self, sent: Mapping[str, str], word: str, proof: str) -> Seals | None:
        """Return the seals of the channel that a request of ours opened; None if whoever took it knows no secret.

        Args:
            sent: The headers of the request.
            word: The other side's word that is used once.
            proof: Its proof that it knows the secret.
        """
        secret, nonce = self._secret(), _fields(sent.get(HOP, "")).get("n", "")
        if not secret:
            return Seals.of(None)
        if not _NONCE.match(word) or not _same(proof, signature_of(secret, "channel", nonce, word)):
            return None
        return Seals.of(_channel_key(secret, nonce, word))


class Verifier:
    """Checks the hop headers of requests to this process.

    Args:
        secret: Gives the shared secret; without one no header but the way is believed.
        nonces: Words that were used.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        secret: Callable[[], str | None],
        nonces: Nonces | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secret = secret
        self._nonces = Nonces(window=LONGEST_SKEW) if nonces is None else nonces
        self._clock = clock
        if nonces is None:  # what was said to the process before this one was said before now
            self._nonces.floor = clock() - STARTED

    @property
    def has_secret(self) -> bool:
        """Whether there is a secret to check with."""
        return bool(self._secret())

    def travel(self, path: str, headers: Mapping[str, str], body: bytes, *, required: bool = False) -> Travel | None:
        """Return what a request carries along; None from somebody who sends none of our headers.

        Args:
            path: The path of the request, as it was sent.
            headers: Its headers, the names in lower case.
            body: Its body.
            required: Whether nobody may come without a signature (where there is a secret).

        Raises:
            HopError: A header is not signed as it must be, is too old or too young, or has been here before.
        """
        secret = self._secret()
        if not secret:  # the way is good for one thing only, to notice circles, and harmless
            return Travel(via=via_of(headers)) if VIA in headers else None
        given = headers.get(HOP)
        if given is None:
            if required or VIA in headers:
                raise HopError(
                    "This request is not signed, and only agents that know the secret may ask here.", "hop_unsigned"
                )
            return None
        told = given[:LONGEST_HEADER].partition(";s=")[0]
        fields = _fields(given)
        nonce, sent = fields.get("n", ""), _number(fields.get("t"))
        good = _same(fields.get("s", ""), _signed(secret, path, headers, told.removeprefix("v2;"), body))
        if not good or not told.startswith("v2;") or not _NONCE.match(nonce) or sent is None:
            raise HopError(
                "The signature of this request is wrong: do both sides have the same secret?", "hop_signature"
            )
        now = self._clock()
        if self._nonces.floor > now + LONGEST_SKEW + 1:  # the clock here was set back since
            self._nonces.floor = -math.inf
        if abs(now - sent) > LONGEST_SKEW or sent < self._nonces.floor:
            at = f"{now:.3f}"
            raise HopError(
                f"This request was signed at another time than it is here ({sent - now:+.0f} s).",
                "hop_time",
                {TIME: f"{at};s={signature_of(secret, 'time', nonce, at)}"},
            )
        if not self._nonces.take(nonce, sent, now):
            raise HopError("This request has been here before.", "hop_replayed")
        cost, hops = _number(fields.get("cost")), fields.get("hops", "")
        return Travel(
            via=via_of(headers),
            seconds=_number(fields.get("left")),
            max_cost=cost,
            max_hops=int(hops) if hops.isdecimal() and len(hops) < 10 else None,
            traceparent=trace_of(headers),
        )

    def proof(self, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Return the header by which a caller knows that a reply to its request is ours."""
        secret, nonce = self._secret(), _fields(headers.get(HOP, "")).get("n", "")
        if not secret:
            return {}
        return {PROOF: signature_of(secret, "reply", nonce, hashlib.sha256(body).hexdigest())}

    def seals(self, headers: Mapping[str, str]) -> tuple[str, str, Seals]:
        """Return our word that is used once, our proof, and the seals of a channel that a believed request opens."""
        secret, nonce, word = self._secret(), _fields(headers.get(HOP, "")).get("n", ""), secrets.token_hex(12)
        if not secret:
            return word, "", Seals.of(None)
        return word, signature_of(secret, "channel", nonce, word), Seals.of(_channel_key(secret, nonce, word))


def signature_of(secret: str, purpose: str, *parts: str) -> str:
    """Return the signature of something for one purpose; that for another one is another one."""
    return hmac.new(secret.encode(), "\n".join(("disrouter", purpose, *parts)).encode(), hashlib.sha256).hexdigest()


def _channel_key(secret: str, *words: str) -> bytes:
    return bytes.fromhex(signature_of(secret, "channel key", *words))


def _signed(secret: str, path: str, headers: Mapping[str, str], told: str, body: bytes) -> str:
    # What stands before the version may differ: a server can lie behind a prefix.
    target = path.rpartition("/v1/")[2].lstrip("/")
    digest = hashlib.sha256(body).hexdigest()
    return signature_of(secret, "hop v2", target, headers.get(VIA, ""), headers.get(TRACE, ""), told, digest)


def _fields(header: str) -> dict[str, str]:
    parts = header[:LONGEST_HEADER].split(";")
    return {name: value for name, equals, value in (part.partition("=") for part in parts) if equals}


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
