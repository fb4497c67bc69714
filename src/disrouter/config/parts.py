"""Parts: the agents, prices and paths that the entries of a network file stand for."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from disrouter.agents.folders import agent_digest, count_weights
from disrouter.agents.recorded import RecordedAgent, Recording
from disrouter.competence import Competence, read_competence
from disrouter.config.nodes import Places, address_of, lives_elsewhere, measured_on
from disrouter.config.schema import AgentSpec
from disrouter.errors import ConfigError, DataError, MissingExtraError
from disrouter.types import Agent, AgentCard, Price, QueryPrice, Seconds, Serving, TokenPrice

if TYPE_CHECKING:
    from disrouter.evaluation.outcomes import OutcomeTable

CONCURRENCY = {"transformers": 4, "recorded": 64, "openai": 256, "node": 256}
"""Queries that agents work on at a time unless their entry says otherwise. Models here take turns token by token."""

__all__ = ["agent_of", "competence_elsewhere", "competence_of", "model_path", "price_of", "recordings_of"]


def agent_of(spec: AgentSpec, unit: float | None, folder: Path, places: Places) -> Agent:
    """Return the agent of a checked entry; a model is loaded only at its first look.

    Raises:
        MissingExtraError: What is needed to read an outcome table is not installed.
    """
    if lives_elsewhere(spec, places.here):
        return _agent_elsewhere(spec, unit, folder, places)
    assert spec.model is not None  # checked before
    price = price_of(spec, unit)
    assert price is not None
    card = AgentCard(
        name=spec.name,
        price=price,
        context_length=spec.context_length,
        parameters=count_weights(model_path(spec.model, folder)) if spec.backend == "transformers" else None,
        seconds=_seconds(spec),
        competence=competence_of(spec, folder, places),
        details={"backend": spec.backend, "model": spec.model, **_deciding(spec)},
        serving=_serving(spec, spec.backend),
    )
    if spec.backend == "openai":
        return _agent_behind_a_server(spec, card)
    path = model_path(spec.model, folder)
    if spec.backend == "recorded":
        return RecordedAgent(card, recordings_of(path, spec.name))
    from disrouter.agents.transformers import TransformersAgent

    assert spec.self_assessment in ("token", "adapter", "head", "none")  # checked before

    return TransformersAgent(
        card,
        path,
        rejection=spec.rejection,
        scenario_prompt=spec.scenario_prompt,
        self_assessment=spec.self_assessment,
        max_tokens=spec.max_tokens,
    )


def competence_of(spec: AgentSpec, folder: Path, places: Places) -> Competence | None:
    """Return what the agent card of a checked entry says, if there is one and it is not about to be replaced.

    Raises:
        ModelError: The card cannot be used, or was measured on another model.
        ConfigError: There is no card where the entry says there is one.
    """
    if places.measures(spec.name):
        return None
    local = spec.backend == "transformers" and spec.model is not None
    digest = partial(agent_digest, model_path(spec.model or "", folder)) if local else None
    if spec.card is None:
        return read_competence(model_path(spec.model or "", folder), model=digest) if local else None
    found = read_competence(folder / spec.card, model=digest)
    if found is None:
        raise ConfigError(
            f"There is no agent card at '{folder / spec.card}'.", hint="measure one with `disrouter cards fit`"
        )
    return found


def _agent_behind_a_server(spec: AgentSpec, card: AgentCard) -> Agent:
    try:
        from disrouter.agents.openai_compatible import OpenAICompatibleAgent, Patience
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("Backend 'openai'", "gateway") from exc

    given, assessment = spec.model_fields_set, spec.self_assessment
    assert spec.base_url is not None and spec.model is not None  # checked before, as is the next
    assert assessment != "head" and assessment != "adapter"
    return OpenAICompatibleAgent(
        card,
        model=spec.model,
        base_url=spec.base_url,
        api_key_env=spec.api_key_env,
        # A model that somebody else serves was, as long as nothing is said, not trained for ours.
        self_assessment=assessment if "self_assessment" in given else "none",
        decides_with=spec.decides_with,
        rejection=spec.rejection,
        scenario_prompt=spec.scenario_prompt if "scenario_prompt" in given else False,
        max_tokens=spec.max_tokens if "max_tokens" in given else None,
        patience=Patience(**spec.timeouts.model_dump(), retries=spec.retries),
        hop_secret_env=spec.hop_secret_env,
    )


def _agent_elsewhere(spec: AgentSpec, unit: float | None, folder: Path, places: Places) -> Agent:
    """Return the agent behind a node: what the file says of it goes before what the node says."""
    try:
        from disrouter.agents._server import Patience
        from disrouter.agents.node import NodeAgent
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("An agent behind a node", "gateway") from exc

    about, address = places.about(spec), address_of(spec)
    said = about.card if about is not None else None
    price = price_of(spec, unit) or (said.price if said is not None else None)
    assert price is not None and address is not None  # checked before
    competence = competence_elsewhere(spec, folder, places) or (said.competence if said is not None else None)
    card = AgentCard(
        name=spec.name,
        price=price,
        context_length=spec.context_length or (said.context_length if said is not None else None),
        parameters=said.parameters if said is not None else None,
        seconds=_seconds(spec) or (said.seconds if said is not None else None),
        competence=competence,
        details={**(said.details if said is not None else {}), "backend": "node"},
        serving=_serving(spec, "node"),
    )
    seen = about.digest if about is not None else None
    return NodeAgent(
        card,
        base_url=address,
        hop_secret_env=spec.hop_secret_env,
        patience=Patience(**spec.timeouts.model_dump(), retries=spec.retries),
        model_digest=spec.model_digest or measured_on(competence) or seen,
        version=spec.version,
    )


def competence_elsewhere(spec: AgentSpec, folder: Path, places: Places) -> Competence | None:
    """Return the competence of an agent that lives elsewhere, as far as its card lies here.

    Raises:
        ModelError: The card cannot be used.
        ConfigError: There is no card where the entry says there is one.
    """
    if spec.card is not None:
        return competence_of(spec, folder, places)
    here = spec.backend == "transformers" and spec.model is not None and model_path(spec.model, folder).is_dir()
    return competence_of(spec, folder, places) if here else None


def _deciding(spec: AgentSpec) -> dict[str, str]:
    return {} if spec.decides_with is None else {"decides_with": spec.decides_with}


def _seconds(spec: AgentSpec) -> Seconds | None:
    return None if spec.seconds is None else Seconds(look=spec.seconds.look, answer=spec.seconds.answer)


def _serving(spec: AgentSpec, backend: str) -> Serving:
    return Serving(
        concurrency=spec.concurrency or CONCURRENCY[backend],
        queue=spec.queue,
        failures=spec.breaker.failures,
        pause=spec.breaker.seconds,
    )


def price_of(spec: AgentSpec, unit: float | None) -> Price | None:
    """Return the price of a checked entry, if it gives one; ``unit`` is the file's ``cost_unit``."""
    price = spec.price
    if price is None:
        return None
    if price.cost is not None:
        return QueryPrice(cost=price.cost, look_share=price.look_share)
    # Checked before: per token both prices and the unit are given.
    assert price.input is not None and price.output is not None and unit is not None
    return TokenPrice(input=price.input, output=price.output, unit=unit)


def model_path(model: str, folder: Path) -> Path:
    """Return where a model lies: a shipped checkpoint, or a path relative to the network file.

    Raises:
        UnknownNameError: There is no such checkpoint.
        ConfigError: The path begins with ``~`` and a user there is not.
    """
    if model.startswith("lab:"):
        from disrouter.lab.family import checkpoint_of

        return checkpoint_of(model.removeprefix("lab:"))
    try:
        return folder / Path(model).expanduser()  # an absolute path stays as it is
    except RuntimeError as exc:
        raise ConfigError(f"'{model}' begins with the home folder of nobody.", hint="write the path out") from exc


def recordings_of(path: Path, agent: str) -> list[Recording]:
    """Return what an outcome table holds of one agent.

    Raises:
        DataError: There is no usable table.
        UnknownNameError: The table does not know the agent.
    """
    if not path.is_file():
        raise DataError(f"There is no outcome table at '{path}'.", hint="give a Parquet file that an evaluation wrote")
    table = _table(path, path.stat().st_mtime_ns)
    scenarios, _, queries = table.shape
    place = table.agent_index(agent)
    rows = (table.cell(s, place, q) for s in range(scenarios) for q in range(queries))
    return [
        Recording(
            query_id=row.query_id,
            scenario=row.scenario,
            confidence=row.confidence,
            accepts=row.accepts,
            answer=row.answer,
            prompt_tokens=row.prompt_tokens,
            answer_tokens=row.answer_tokens,
            look_seconds=row.look_seconds,
            answer_seconds=row.answer_seconds,
            failure=row.failure,
        )
        for row in rows
    ]


@lru_cache(maxsize=4)  # the agents of a network usually share one table
def _table(path: Path, changed: int) -> OutcomeTable:
    try:
        from disrouter.evaluation.outcomes import OutcomeTable

        return OutcomeTable.read(path)
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("Backend 'recorded'", "eval") from exc
