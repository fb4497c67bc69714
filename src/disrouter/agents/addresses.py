"""Addresses and keys of servers: what can be said of them without asking anybody."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from disrouter.errors import ConfigError

__all__ = ["check_key", "is_loopback", "server_problem"]


def server_problem(base_url: str) -> str | None:
    """Return why requests cannot be sent to an address, or None."""
    if "@" in base_url.partition("://")[2].partition("/")[0]:
        return "it holds a user name or a password; name a variable with the key in api_key_env instead"
    try:
        url = urlsplit(base_url)
        plain = url.scheme in ("http", "https") and url.hostname and url.port != 0 and not (url.query or url.fragment)
    except ValueError as exc:
        return f"it cannot be read: {exc}; give an address like http://127.0.0.1:8000/v1"
    return None if plain else "it is no plain http or https address; give one like http://127.0.0.1:8000/v1"


def check_key(variable: str, agent: str) -> None:
    """Raise a ConfigError unless a variable holds a key that can be sent."""
    key = os.environ.get(variable)
    if not key:
        raise ConfigError(
            f"Agent '{agent}' needs a key, and the variable {variable} is not set.", hint=f"export {variable}=…"
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"The key in {variable} has characters that cannot be sent.", hint="is there a line break?")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, whatever network it is in."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
