"""Introductions: what a node says about its agent, asked once and without an event loop.

A node that shares a secret proves that it knows it; only then is what it says believed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from disrouter.agents._wire_values import WireError
from disrouter.agents.addresses import is_loopback, server_problem
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import Signer, Travel
from disrouter.agents.wire import WIRE
from disrouter.agents.wire_cards import card_from
from disrouter.types import AgentCard

__all__ = ["About", "NodeAddress", "ask_node", "ask_nodes", "node_problem"]

SECONDS = 3.0
LARGEST_REPLY = 16 * 1024 * 1024
MOST_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAddress:
    """Where a node is, and which secret it shares."""

    name: str
    """Of the agent that is expected there; empty where any is welcome."""

    base_url: str
    hop_secret_env: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a node says of itself."""

    card: AgentCard
    version: str
    digest: str | None = None
    """Of its agent's model, where that lies there."""

    draining: bool = False


def node_problem(base_url: str, *, has_secret: bool) -> str | None:
    """Return why an address is none of a node that may be asked, or None."""
    if problem := server_problem(base_url):
        return problem
    host = urlsplit(base_url).hostname or ""
    if not has_secret and not is_loopback(host):
        return f"'{host}' is another machine, and no secret is shared with it; name its variable in hop_secret_env"
    return None


def ask_nodes(addresses: Iterable[NodeAddress]) -> dict[str, About | FaultError]:
    """Ask all nodes at once; return what each says, by base_url, or why it says nothing."""
    asked = {address.base_url: address for address in addresses}
    if not asked:
        return {}
    from concurrent.futures import ThreadPoolExecutor

    def ask(address: NodeAddress) -> About | FaultError:
        try:
            return ask_node(address)
        except FaultError as fault:
            return fault

    with ThreadPoolExecutor(min(MOST_AT_ONCE, len(asked))) as pool:
        return dict(zip(asked, pool.map(ask, asked.values()), strict=True))


def ask_node(address: NodeAddress, *, seconds: float = SECONDS) -> About:
    """Return what a node says about its agent.

    Raises:
        FaultError: It cannot be reached, refuses, does not know the secret, or makes no sense.
    """
    name = f"The node of agent '{address.name}'" if address.name else "The node"
    variable = address.hop_secret_env
    signer = Signer(lambda: os.environ.get(variable) if variable else None)
    until = time.monotonic() + seconds
    for _ in range(2):
        sent = signer.headers("agent", b"", Travel())
        status, received, body = _get(address.base_url, sent, until, name)
        if status != 401 or not signer.learn(sent, received):
            break
    if status != 200:
        raise FaultError(f"{name} refuses us (HTTP {status}).{_said(body)}", kind="status", status=status)
    if not signer.believes(sent, received, body):
        raise FaultError(f"{name} does not show that it knows the secret.", kind="malformed")
    try:
        found = json.loads(body)
        if found["wire"] != WIRE:
            raise FaultError(
                f"{name} speaks version {found['wire']!r} of the wire, and this side speaks {WIRE}.", kind="status"
            )
        return About(
            card=card_from(found["card"]),
            version=str(found["version"])[:100],
            digest=None if found.get("digest") is None else str(found["digest"])[:100],
            draining=found.get("draining") is True,
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FaultError(f"{name} answers, but is no node of DiSRouter.", kind="malformed") from None
    except WireError as exc:
        raise FaultError(f"{name} sent a card that makes no sense. {exc.message}", kind="malformed") from None


def _get(base_url: str, headers: Mapping[str, str], until: float, name: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of a node's reply."""
    import http.client  # most networks have no node: they need not wait for this

    url = urlsplit(base_url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=max(0.001, until - time.monotonic()))
    try:
        connection.request("GET", f"{url.path.rstrip('/')}/agent", headers={"accept": "application/json", **headers})
        reply = connection.getresponse()
        body = bytearray()
        while piece := reply.read1(65_536):
            body += piece
            if len(body) > LARGEST_REPLY or time.monotonic() > until:
                raise FaultError(f"{name} sends too much, or too slowly.", kind="malformed")
        return reply.status, {key.lower(): value for key, value in reply.getheaders()}, bytes(body)
    except TimeoutError:
        raise FaultError(f"{name} did not answer in {SECONDS:g} s.", kind="timeout") from None
    except OSError:  # those of names and certificates, too
        raise FaultError(f"{name} cannot be reached.", kind="connect") from None
    except http.client.HTTPException:
        raise FaultError(f"{name} does not speak HTTP.", kind="malformed") from None
    finally:
        connection.close()


def _said(body: bytes) -> str:
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f" {' '.join(str(message).split())[:300]}"
