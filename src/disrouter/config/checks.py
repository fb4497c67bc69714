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
from disrouter.config.parts import competence_of, model_path, price_of, recordings_of
from disrouter.config.schema import AgentSpec, LimitsSpec, NetworkSpec, PriceSpec
from disrouter.config.sentences import problems_with, shown
from disrouter.errors import ConfigError, DisrouterError, MissingExtraError
from disrouter.network import Limits, limit_problems
from disrouter.policies import policy_of
from disrouter.types import AgentCard, Price, Scenario
from disrouter.utility import scenario_of

__all__ = ["price_problem", "problems_of"]

T = TypeVar("T")


def problems_of(content: Mapping[Any, Any], folder: Path) -> list[str]:
    """Return every problem of a network file's content; model paths are relative to ``folder``.

    Raises:
        MissingExtraError: What is needed to read an outcome table is not installed.
    """
    return [*problems_with(content, NetworkSpec), *_meaning_problems(content, folder)]


def _meaning_problems(content: Mapping[Any, Any], folder: Path) -> Iterator[str]:
    """Yield what is wrong with the file as a whole, as far as its parts can be read."""
    items = content.get("agents")
    items = items if isinstance(items, list) else []
    specs = {i: spec for i, item in enumerate(items) if (spec := _read(AgentSpec, item)) is not None}
    names = [item["name"] for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)]
    unit = _read(float, content.get("cost_unit"))
    edges = _read(dict[str, list[str]], content.get("edges"))

    yield from (f"agents: the name '{name}' is given twice" for name in dict.fromkeys(names) if names.count(name) > 1)
    prices: dict[str, Price] = {}
    for i, spec in specs.items():
        problem = price_problem(spec.price, unit_given=content.get("cost_unit") is not None)
        if problem:
            yield f"agents[{i}].price: {problem}"
        elif spec.price.cost is not None or unit:
            prices[spec.name] = price_of(spec, unit)
        yield from (f"agents[{i}].{problem}" for problem in (*_backend_problems(spec), *_ray_problems(spec)))
        yield from (f"agents[{i}].model: {problem}" for problem in _model_problems(spec, folder))
    for key, reader, default in (("policy", policy_of, "own-word"), ("scenario", _scenario, "balance")):
        try:
            reader(content.get(key, default))
        except DisrouterError as exc:
            yield f"{key}: {_on_one_line(exc)}"
    yield from _edge_problems(content, names, edges, specs, prices)


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
    "transformers": ("token", "head", "none"),
    "recorded": ("token", "head", "none"),
    "openai": ("token", "text", "prompt", "none"),
}
_OF_SERVERS = ("base_url", "api_key_env", "hop_secret_env", "timeouts", "retries")


def _backend_problems(spec: AgentSpec) -> Iterator[str]:
    """Yield which keys do not go with the backend."""
    allowed = _ASSESSMENTS[spec.backend]
    if spec.self_assessment not in allowed:
        yield (
            f"self_assessment: '{spec.self_assessment}' does not go with the backend '{spec.backend}'; "
            f"give {', '.join(allowed)}"
        )
    if spec.backend != "openai":
        yield from (
            f"{key}: goes with the backend 'openai' only; remove it"
            for key in _OF_SERVERS
            if key in spec.model_fields_set
        )
    elif spec.base_url is None:
        yield "base_url: missing; give the server's address with its version, like http://127.0.0.1:8000/v1"
    elif problem := server_problem(spec.base_url):
        yield f"base_url: {problem}"


def _ray_problems(spec: AgentSpec) -> Iterator[str]:
    """Yield what is wrong with where an agent shall run."""
    if spec.ray is None:
        return
    if spec.backend == "openai":
        yield "ray: goes with models that run here only; the gateway asks a server by itself; remove it"
    if spec.ray.max_replicas is not None and spec.ray.max_replicas < spec.ray.replicas:
        yield f"ray.max_replicas: {spec.ray.max_replicas} is below replicas {spec.ray.replicas}; raise it"
    if spec.ray.server == "vllm" and spec.backend != "transformers":
        yield "ray.server: 'vllm' goes with the backend 'transformers' only"
    elif spec.ray.server == "vllm" and spec.self_assessment == "head":
        yield "ray.server: 'vllm' reads no confidence head; give self_assessment token, or leave server out"


def _model_problems(spec: AgentSpec, folder: Path) -> list[str]:
    try:
        if spec.backend == "transformers":
            check_model_folder(model_path(spec.model, folder))
        elif spec.backend == "recorded":
            recordings_of(model_path(spec.model, folder), spec.name)
        # What a server has, only the server knows; but a card that is named must be there.
        competence_of(spec, folder)
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
