"""Checks: every reason why the content of a network file is no usable network, each as one line.

A line names the place, the bad value, what is allowed and the next step. Parts are checked as far as they can be
read, so that one look at the messages is enough to mend a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from disrouter import _graph
from disrouter.agents.addresses import server_problem
from disrouter.agents.folders import check_model_folder
from disrouter.config.nodes import Places, address_of, lives_elsewhere, measured_on, node_problems
from disrouter.config.parts import competence_elsewhere, competence_of, model_path, price_of, recordings_of
from disrouter.config.schema import AgentSpec, LimitsSpec, NetworkSpec, PriceSpec
from disrouter.config.sentences import problems_with, shown
from disrouter.errors import ConfigError, DisrouterError, MissingExtraError
from disrouter.limits import Limits, limit_problems
from disrouter.policies import policy_of
from disrouter.types import AgentCard, Price, Scenario
from disrouter.utility import scenario_of

__all__ = ["price_problem", "problems_of", "specs_of"]

T = TypeVar("T")


def specs_of(content: Mapping[Any, Any]) -> dict[int, AgentSpec]:
    """Return the agents of a network file's content that can be read, by their place in it."""
    items = content.get("agents")
    items = items if isinstance(items, list) else []
    return {i: spec for i, item in enumerate(items) if (spec := _read(AgentSpec, item)) is not None}


def problems_of(content: Mapping[Any, Any], folder: Path, places: Places, *, only: str | None = None) -> list[str]:
    """Return every problem of a network file's content.

    Args:
        content: The content.
        folder: What model paths are relative to.
        places: Where its agents live.
        only: The one agent whose model is looked for, where the others are none of this machine's business.

    Raises:
        MissingExtraError: What is needed to read an outcome table is not installed.
    """
    return [*problems_with(content, NetworkSpec), *_meaning_problems(content, folder, places, only)]


def _meaning_problems(content: Mapping[Any, Any], folder: Path, places: Places, only: str | None) -> Iterator[str]:
    """Yield what is wrong with the file as a whole, as far as its parts can be read."""
    items = content.get("agents")
    items = items if isinstance(items, list) else []
    specs = specs_of(content)
    names = [item["name"] for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)]
    unit = _read(float, content.get("cost_unit"))
    edges = _read(dict[str, list[str]], content.get("edges"))

    yield from _missing(items, places)
    yield from (f"agents: the name '{name}' is given twice" for name in dict.fromkeys(names) if names.count(name) > 1)
    prices: dict[str, Price] = {}
    for i, spec in specs.items():
        elsewhere, about = lives_elsewhere(spec, places.here), places.about(spec)
        if spec.price is None:
            if elsewhere and about is not None:
                prices[spec.name] = about.card.price
        elif problem := price_problem(spec.price, unit_given=content.get("cost_unit") is not None):
            yield f"agents[{i}].price: {problem}"
        elif (spec.price.cost is not None or unit) and (price := price_of(spec, unit)) is not None:
            prices[spec.name] = price
        yield from (f"agents[{i}].{problem}" for problem in (*_backend_problems(spec), *_ray_problems(spec)))
        if elsewhere and only in (None, spec.name):
            yield from (f"agents[{i}].{problem}" for problem in node_problems(spec, places))
            yield from (f"agents[{i}].card: {problem}" for problem in _card_problems(spec, folder, places))
        elif only in (None, spec.name):
            yield from (f"agents[{i}].model: {problem}" for problem in _model_problems(spec, folder, places))
    yield from _address_problems(specs)
    for key, reader, default in (("policy", policy_of, "own-word"), ("scenario", _scenario, "balance")):
        try:
            reader(content.get(key, default))
        except DisrouterError as exc:
            yield f"{key}: {_on_one_line(exc)}"
    yield from _edge_problems(content, names, edges, specs, prices)


def _missing(items: Sequence[Any], places: Places) -> Iterator[str]:
    """Yield which keys entries lack that only an agent behind a node may do without."""
    for i, item in enumerate(items):
        if not isinstance(item, dict) or item.get("backend") == "node":
            continue
        elsewhere = item.get("node") is not None and item.get("name") != places.here
        for key in ("model",) if elsewhere else ("model", "price"):
            if item.get(key) is None:
                yield f"agents[{i}].{key}: missing; give {AgentSpec.model_fields[key].description}"


def _edge_problems(
    content: Mapping[Any, Any],
    names: Sequence[str],
    edges: Mapping[str, list[str]] | None,
    specs: Mapping[int, AgentSpec],
    prices: Mapping[str, Price],
) -> Iterator[str]:
    """Yield what is wrong with the graph, and with the limits as far as they depend on it."""
    chosen: _graph.Edges
    if edges is not None:
        chosen = {name: tuple(successors) for name, successors in edges.items()}
    elif content.get("edges") is None and len(prices) == len(names):
        if len({type(price) for price in prices.values()}) > 1:
            yield "edges: prices per query and per token cannot be ordered into a cascade; give the edges"
            return
        chosen = _graph.cascade({name: prices[name].rank for name in dict.fromkeys(names) if name in prices})
    else:
        return  # without readable edges or prices there is no graph to check
    unique = list(dict.fromkeys(names))
    duties = {spec.name: spec.always_answers for spec in specs.values() if spec.always_answers is not None}
    problems = _graph.graph_problems(unique, chosen, duties)
    yield from (f"edges: {problem}" for problem in problems)
    limits = _read(LimitsSpec, content.get("limits"))
    if limits is None or problems or not unique:
        return
    entry = _graph.entries_of(unique, chosen)[0]
    if entry in prices:
        card = AgentCard(name=entry, price=prices[entry])
        yield from (f"limits: {problem}" for problem in limit_problems(Limits(max_cost=limits.max_cost), card))


def price_problem(price: PriceSpec, *, unit_given: bool) -> str | None:
    """Return what is wrong with a price as a whole, or None."""
    per_query = price.cost is not None
    per_token = price.input is not None or price.output is not None
    if per_query and per_token:
        return "cost excludes input and output; give either a price per query or one per token"
    if not per_query and not per_token:
        return "no price; give cost, or input and output"
    if per_query:
        return None
    if price.input is None or price.output is None:
        missing = "input" if price.input is None else "output"
        return f"{missing} is missing; give both input and output, in money per million tokens"
    if "look_share" in price.model_fields_set:
        return "look_share goes with cost only; a look pays for the tokens it reads"
    if not unit_given:
        return "prices per token need a cost_unit at the top of the file, the money that counts as a cost of 1"
    return None


_ASSESSMENTS = {
    "transformers": ("token", "adapter", "head", "none"),
    "recorded": ("token", "adapter", "head", "none"),
    "openai": ("token", "text", "prompt", "none"),
    "node": ("token",),
}
_OF = {
    "openai": ("base_url", "api_key_env", "decides_with", "hop_secret_env", "timeouts", "retries"),
    "node": ("base_url", "hop_secret_env", "timeouts", "retries", "model_digest", "version"),
}
"""Keys that go with some backends only."""
_OF_NODES = ("hop_secret_env", "timeouts", "retries", "model_digest", "version")
"""Those that go with every entry that names a node."""
_SAID_BY_NODES = (
    "model",
    "self_assessment",
    "decides_with",
    "rejection",
    "scenario_prompt",
    "max_tokens",
    "node",
    "api_key_env",
)
"""Keys that the node's own file holds, and an entry with the backend 'node' does not."""


def _backend_problems(spec: AgentSpec) -> Iterator[str]:
    """Yield which keys do not go with the backend."""
    allowed = _ASSESSMENTS[spec.backend]
    if spec.self_assessment not in allowed and spec.backend != "node":
        yield (
            f"self_assessment: '{spec.self_assessment}' does not go with the backend '{spec.backend}'; "
            f"give {', '.join(allowed)}"
        )
    if spec.backend == "node":
        yield from (
            f"{key}: does not go with the backend 'node': it is for the node to say; remove it"
            for key in _SAID_BY_NODES
            if key in spec.model_fields_set
        )
        return
    allowed_keys = {*_OF.get(spec.backend, ()), *(_OF_NODES if spec.node is not None else ())}
    for key in dict.fromkeys(key for keys in _OF.values() for key in keys):
        if key in spec.model_fields_set and key not in allowed_keys:
            backends = " and ".join(f"'{backend}'" for backend, keys in _OF.items() if key in keys)
            many = "s" if " and " in backends else ""
            yield f"{key}: goes with the backend{many} {backends} only; remove it"
    if spec.backend != "openai":
        return
    if spec.base_url is None:
        yield "base_url: missing; give the server's address with its version, like http://127.0.0.1:8000/v1"
    elif problem := server_problem(spec.base_url):
        yield f"base_url: {problem}"
    yield from _deciding_problems(spec)


def _deciding_problems(spec: AgentSpec) -> Iterator[str]:
    """Yield why the model that shall decide is none that can."""
    if spec.decides_with is None:
        return
    assessment = spec.self_assessment if "self_assessment" in spec.model_fields_set else "none"
    if assessment not in ("token", "text"):
        yield (
            f"decides_with: goes with self_assessment token or text, and here it is '{assessment}'; give one of them, "
            "or remove decides_with"
        )
    if spec.decides_with == spec.model:
        yield f"decides_with: '{spec.model}' is the model that answers; name another one, or remove decides_with"


def _ray_problems(spec: AgentSpec) -> Iterator[str]:
    """Yield what is wrong with where an agent shall run."""
    if spec.ray is None:
        return
    if spec.backend in ("openai", "node") or spec.node is not None:
        yield "ray: goes with models that run here only; servers and nodes are asked directly; remove it"
    if spec.ray.max_replicas is not None and spec.ray.max_replicas < spec.ray.replicas:
        yield f"ray.max_replicas: {spec.ray.max_replicas} is below replicas {spec.ray.replicas}; raise it"
    if spec.ray.server == "vllm" and spec.backend != "transformers":
        yield "ray.server: 'vllm' goes with the backend 'transformers' only"
    elif spec.ray.server == "vllm" and spec.self_assessment in ("head", "adapter"):
        yield "ray.server: 'vllm' reads no confidence head or adapter; give self_assessment token, or leave server out"


def _address_problems(specs: Mapping[int, AgentSpec]) -> Iterator[str]:
    """Yield which agents are said to live behind one node: a node has one."""
    at: dict[str, str] = {}
    for i, spec in specs.items():
        address = (address_of(spec) or "").rstrip("/")
        if address and at.setdefault(address, spec.name) != spec.name:
            key = "base_url" if spec.backend == "node" else "node"
            yield f"agents[{i}].{key}: agent '{at[address]}' is said to live there, too; a node serves one agent"


def _card_problems(spec: AgentSpec, folder: Path, places: Places) -> list[str]:
    """Return what is wrong with the card of an agent that lives elsewhere, as far as it lies here."""
    try:
        competence = competence_elsewhere(spec, folder, places)
    except DisrouterError as exc:
        return [_on_one_line(exc)]
    measured, about = measured_on(competence), places.about(spec)
    if about is None or measured is None or about.digest in (None, measured):
        return []
    return [f"it was measured on model {measured}, and the node has {about.digest}; measure it again"]


def _model_problems(spec: AgentSpec, folder: Path, places: Places) -> list[str]:
    if spec.model is None:
        return []
    try:
        if spec.backend == "transformers":
            check_model_folder(model_path(spec.model, folder))
        elif spec.backend == "recorded":
            recordings_of(model_path(spec.model, folder), spec.name)
        # What a server has, only the server knows; but a card that is named must be there.
        competence_of(spec, folder, places)
    except MissingExtraError:
        raise  # nothing in the file can mend that
    except DisrouterError as exc:
        return [_on_one_line(exc)]
    return []


def _scenario(value: object) -> Scenario:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConfigError(f"{shown(value)} is not allowed; give the name of a scenario or an alpha from 0 to 1")
    return scenario_of(value)


def _read(kind: type[T], value: object) -> T | None:
    """Return a part of the file if it can be read; what is wrong with it otherwise is told elsewhere."""
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return None


def _on_one_line(error: DisrouterError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
