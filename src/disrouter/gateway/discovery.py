"""What can be found on this machine: servers that speak OpenAI's dialect, and variables that hold a provider's key.

Only this machine is asked. The value of a variable is never read further than to see that there is one.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["PROVIDERS", "USUAL_SERVERS", "FoundModel", "FoundServer", "Provider", "find_servers", "providers_with_keys"]

SECONDS = 1.0
"""How long a server may take to say which models it has."""

MAX_ANSWER = 1_000_000
MAX_MODELS = 12
"""Models listed of one server."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A service whose key stands in a known variable."""

    name: str
    variable: str
    base_url: str


USUAL_SERVERS = (
    ("Ollama", "http://127.0.0.1:11434/v1"),
    ("vLLM", "http://127.0.0.1:8000/v1"),
    ("llama.cpp", "http://127.0.0.1:8080/v1"),
    ("LM Studio", "http://127.0.0.1:1234/v1"),
    ("SGLang", "http://127.0.0.1:30000/v1"),
)
"""Where these servers listen unless told otherwise. What answers there is believed, whatever its make."""

PROVIDERS = (
    Provider("openai", "OPENAI_API_KEY", "https://api.openai.com/v1"),
    Provider("anthropic", "ANTHROPIC_API_KEY", "https://api.anthropic.com/v1"),
    Provider("gemini", "GEMINI_API_KEY", "https://generativelanguage.googleapis.com/v1beta/openai"),
    Provider("mistral", "MISTRAL_API_KEY", "https://api.mistral.ai/v1"),
    Provider("groq", "GROQ_API_KEY", "https://api.groq.com/openai/v1"),
    Provider("deepseek", "DEEPSEEK_API_KEY", "https://api.deepseek.com/v1"),
    Provider("together", "TOGETHER_API_KEY", "https://api.together.xyz/v1"),
    Provider("openrouter", "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """One model of a server."""

    id: str
    billions: float | None = None
    """Parameters in billions, where the name says so (qwen2.5:7b)."""

    context_length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundServer:
    """A server that answered, with the models that can chat, the smallest first."""

    name: str
    base_url: str
    models: tuple[FoundModel, ...]


def find_servers(candidates: Iterable[tuple[str, str]] = USUAL_SERVERS) -> list[FoundServer]:
    """Ask every candidate at once for its models; return those that named any."""
    asked = list(candidates)
    with ThreadPoolExecutor(max_workers=max(1, min(16, len(asked)))) as pool:
        answers = pool.map(lambda one: _models_of(one[1]), asked)
        return [
            FoundServer(name=name, base_url=url, models=tuple(models))
            for (name, url), models in zip(asked, answers, strict=True)
            if models
        ]


def providers_with_keys(environment: Mapping[str, str]) -> list[Provider]:
    """Return the providers whose variable is set."""
    return [provider for provider in PROVIDERS if environment.get(provider.variable)]


def _models_of(base_url: str) -> list[FoundModel]:
    url = urlsplit(base_url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=SECONDS)
    try:
        connection.request("GET", f"{url.path.rstrip('/')}/models", headers={"accept": "application/json"})
        response = connection.getresponse()
        body = response.read(MAX_ANSWER)
        return _chatting(json.loads(body)["data"]) if response.status == 200 else []
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, RecursionError):
        return []  # nobody there, or somebody else
    finally:
        connection.close()


def _chatting(listed: Sequence[object]) -> list[FoundModel]:
    found = []
    for entry in listed:
        name = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
            continue
        if re.search(r"embed|rerank|whisper|tts|moderation|clip", name, re.IGNORECASE):
            continue
        length = entry.get("max_model_len") if isinstance(entry, dict) else None  # vLLM says so
        found.append(
            FoundModel(
                id=name,
                billions=_billions(name),
                context_length=length if isinstance(length, int) and length > 0 else None,
            )
        )
    found.sort(key=lambda model: (model.billions is None, model.billions or 0.0, model.id))
    return found[:MAX_MODELS]


def _billions(name: str) -> float | None:
    sizes = re.findall(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([bBmM])(?![A-Za-z0-9])", name)
    if not sizes:
        return None
    number, unit = sizes[-1]
    return float(number) / (1 if unit in "bB" else 1000)
