"""Local agents: any causal language model with a chat template, run in this process.

An agent's confidence is read at the first token, ``1 - P(rejection | prompt)``, or by a head from the hidden states of
the prompt. Looking therefore costs one prefill, and the answer goes on from that prefill, unless an adapter that only
decides has read it in its own way. torch and transformers are
imported, and weights loaded, at the first look.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from disrouter.agents.devices import pick_device
from disrouter.agents.folders import check_model_folder
from disrouter.agents.turns import TURN_SECONDS, take_turn, take_turns
from disrouter.errors import AgentError, ContextError, MissingExtraError
from disrouter.types import AgentCard, Completion, Look, Query, Sampling, Scenario

if TYPE_CHECKING:
    from disrouter.agents._runtime import Runtime, Stream

__all__ = ["TransformersAgent", "check_model_folder"]


class TransformersAgent:
    """An agent that runs a causal language model with a chat template in this process.

    Small models (below 50 million weights) on a CPU give a query the same tokens and the same confidence whether it
    runs alone or in a batch, so that live routing and replay agree; elsewhere results agree up to rounding.

    If the tokenizer splits the rejection text into several tokens, the first one stands for it: its probability is
    that of a rejection, and no answer begins with it. A rejection that is one token is never said while answering.
    """

    def __init__(
        self,
        card: AgentCard,
        model_path: Path | str,
        *,
        rejection: str = "I don't know",
        scenario_prompt: bool = True,
        self_assessment: Literal["token", "adapter", "head", "none"] = "token",
        calibrated: bool = True,
        max_tokens: int = 512,
        device: str | None = None,
        batch_size: int = 512,
    ) -> None:
        """Store how to run the model; nothing is read or loaded before the first look.

        Args:
            card: The agent's name, price and context length.
            model_path: Folder in Hugging Face format, with safetensors.
            rejection: What the model was trained to say instead of an answer.
            scenario_prompt: Whether the model reads the scenario's name in a system message.
            self_assessment: ``token`` reads the confidence at the first token; ``adapter`` there, too, but with the
                deciding adapter beside the model on, which is off while answering; ``head`` by the confidence head
                beside the model; ``none`` gives none and runs nothing to look.
            calibrated: Whether the calibration beside the model, if there is one, is applied.
            max_tokens: Most tokens of an answer, unless the sampling names fewer.
            device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; None takes the fastest.
            batch_size: Most answers that are decoded together in the ``*_many`` methods.
        """
        self._card = card
        self.model_path = Path(model_path)
        self.rejection = rejection
        self.scenario_prompt = scenario_prompt
        self.self_assessment = self_assessment
        self.calibrated = calibrated
        self.max_tokens = max_tokens
        self.device = device
        self.batch_size = batch_size
        self._lock = threading.Lock()
        self._loaded: Runtime | None = None

    def __getstate__(self) -> dict[str, object]:
        """Return what another process needs to make the same agent; weights are read anew there."""
        state = {name: value for name, value in vars(self).items() if name not in ("_lock", "_loaded")}
        return {**state, "model_path": self.model_path.absolute()}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Become the agent of another process."""
        vars(self).update(state)
        self._lock = threading.Lock()
        self._loaded = None

    @property
    def card(self) -> AgentCard:
        """What others may know about this agent."""
        return self._card

    async def warm(self) -> None:
        """Load the model now instead of at the first look.

        Raises:
            ModelError: The model cannot be loaded.
        """
        await asyncio.to_thread(self._warm)

    async def look(self, query: Query, scenario: Scenario) -> Look:
        """Judge the own chance of answering right from one prefill, which the look keeps for the answer.

        Raises:
            ContextError: The query is longer than the agent can take.
            ModelError: The model cannot be loaded.
            AgentError: The model broke.
        """
        if self.self_assessment == "none":
            return Look(confidence=None)
        return await take_turn(await self._device(), self._look, query, scenario)

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Completion]:
        """Stream the answer as text deltas, ending in a :class:`Completion`; the rejection is never said.

        A look of this agent at this very prompt is gone on from; after any other the prompt is read again. Whoever
        stops listening stops the model after the token it is at.

        Raises:
            ContextError: The query is longer than the agent can take.
            ModelError: The model cannot be loaded.
            AgentError: The model broke.
        """
        start, first = time.perf_counter(), None
        device = await self._device()
        stream = await take_turn(device, self._open, query, scenario, look, sampling)
        async with aclosing(take_turns(device, partial(self._go_on, stream, query))) as turns:
            async for deltas in turns:
                for delta in deltas:
                    first = first or time.perf_counter() - start
                    yield delta
        seconds = time.perf_counter() - start
        rest, completion = stream.close(seconds)
        if rest:
            yield rest
        yield replace(completion, first_token_seconds=first or seconds)

    def look_many(self, queries: Sequence[Query], scenario: Scenario) -> list[Look]:
        """Look at many queries in batches; seconds are each query's share of its batch, no prefill is kept.

        Raises:
            ContextError: A query is longer than the agent can take (see :meth:`too_long`); nothing has run.
            ModelError: The model cannot be loaded.
            AgentError: The model broke.
        """
        if self.self_assessment == "none":
            return [Look(confidence=None) for _ in queries]
        return [look for look, _ in self._run_many(queries, scenario, Sampling(), samples=0)]

    def answer_many(
        self,
        queries: Sequence[Query],
        scenario: Scenario,
        looks: Sequence[Look] | None = None,
        sampling: Sampling | None = None,
    ) -> list[Completion]:
        """Answer many queries in batches; ``looks`` are those paid for already, whose prompt tokens are not counted.

        Raises:
            ContextError: A query is longer than the agent can take (see :meth:`too_long`); nothing has run.
            ModelError: The model cannot be loaded.
            AgentError: The model broke.
        """
        results = self._run_many(queries, scenario, sampling or Sampling(), samples=1)
        return self._charged([found for _, found in results], looks)

    def look_and_answer_many(
        self, queries: Sequence[Query], scenario: Scenario, sampling: Sampling | None = None
    ) -> list[tuple[Look, Completion]]:
        """Return what :meth:`look_many` and then :meth:`answer_many` return, reading every prompt once only."""
        results = self._run_many(queries, scenario, sampling or Sampling(), samples=1)
        silent = self.self_assessment == "none"
        looks = [Look(confidence=None) if silent else look for look, _ in results]
        return list(zip(looks, self._charged([found for _, found in results], looks), strict=True))

    def sample_many(
        self, queries: Sequence[Query], scenario: Scenario, sampling: Sampling, samples: int
    ) -> list[list[Completion]]:
        """Return ``samples`` answers to each query, reading every prompt once only.

        Sample ``k`` is the answer that ``sampling`` gives with its seed raised by ``k``.
        """
        return [found for _, found in self._run_many(queries, scenario, sampling, samples=samples)]

    def states_many(self, queries: Sequence[Query], scenario: Scenario) -> NDArray[np.float32]:
        """Return the hidden states of every prompt's last token, shaped (queries, layers + 1, width).

        The embedding's comes first, then one after every layer: what a confidence head reads.

        Raises:
            ContextError: A query is longer than the agent can take; nothing has run.
            ModelError: The model cannot be loaded.
            AgentError: The model broke.
        """
        with self._running(queries[0]) as runtime:
            prompts = runtime.prompts(queries, scenario)
            found: dict[int, NDArray[np.float32]] = {}
            for batch in runtime.engine.batches([len(prompt) for prompt in prompts], self.batch_size):
                found.update(zip(batch, runtime.states([prompts[i] for i in batch]).numpy(), strict=True))
        return np.stack([found[index] for index in range(len(queries))])

    def too_long(self, query: Query, scenario: Scenario) -> ContextError | None:
        """Return why a query is too long for this agent, or None if it is not; loads the model, runs nothing.

        Raises:
            ModelError: The model cannot be loaded.
        """
        with self._running(query) as runtime:
            try:
                runtime.prompts([query], scenario)
            except ContextError as error:
                return error
        return None

    async def _device(self) -> str:
        """Return where the model runs, once it is loaded: other agents go on while it is."""
        if self._loaded is None:
            await self.warm()
        assert self._loaded is not None
        return str(self._loaded.engine.device)

    def _warm(self) -> None:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()

    def _look(self, query: Query, scenario: Scenario) -> Look:
        with self._running(query) as runtime:
            return runtime.look(query, scenario)

    def _open(self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling) -> Stream:
        with self._running(query) as runtime:
            return runtime.open(query, scenario, look, sampling)

    def _go_on(self, stream: Stream, query: Query, left: threading.Event) -> tuple[list[str], bool]:
        """Decode for one turn and return what that adds and whether the answer has ended.

        The first word ends a turn, so that it is not held back for those that would come in the same one.
        """
        deltas: list[str] = []
        one, until = not stream.begun, time.perf_counter() + TURN_SECONDS
        with self._running(query):
            while not (stream.done or left.is_set()):
                if delta := stream.next():
                    deltas.append(delta)
                if (one and stream.begun) or time.perf_counter() >= until:
                    break
            return deltas, stream.done

    def _run_many(
        self, queries: Sequence[Query], scenario: Scenario, sampling: Sampling, *, samples: int
    ) -> list[tuple[Look, list[Completion]]]:
        """Return the look at every query and that many answers to it, in the order of the queries."""
        if not queries:
            return []
        with self._running(queries[0]) as runtime:
            prompts = runtime.prompts(queries, scenario)
        results: dict[int, tuple[Look, list[Completion]]] = {}
        size = max(1, self.batch_size // max(1, samples))
        for batch in runtime.engine.batches([len(prompt) for prompt in prompts], size):
            # The model is held for one batch at a time, so that a live query does not wait for all of them.
            with self._running(queries[batch[0]]):
                found = runtime.run(
                    [queries[i] for i in batch], [prompts[i] for i in batch], scenario, sampling, samples
                )
            results.update(zip(batch, found, strict=True))
        return [results[index] for index in range(len(queries))]

    @contextmanager
    def _running(self, query: Query) -> Iterator[Runtime]:
        """Hold the model for one computation, loading it if need be; what torch raises becomes an AgentError."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            try:
                with self._loaded.threads():
                    yield self._loaded
            except RuntimeError as exc:  # out of memory, an unsupported operation: torch knows no narrower class
                raise AgentError(f"Agent '{self._card.name}' broke at query '{query.id}': {exc}") from exc

    def _load(self) -> Runtime:
        device = pick_device(self.device)
        try:
            from disrouter.agents._runtime import Assessing, Runtime
        except ImportError as exc:
            raise MissingExtraError.of("Running a model in this process", "local") from exc

        how = Assessing(
            rejection=self.rejection,
            scenario_prompt=self.scenario_prompt,
            assessment=self.self_assessment,
            calibrated=self.calibrated,
        )
        return Runtime(self._card, self.model_path, device, how, max_tokens=self.max_tokens)

    def _charged(self, found: Sequence[Sequence[Completion]], looks: Sequence[Look] | None) -> list[Completion]:
        """Return the one answer to each query, without the prompt tokens that its look has read for it."""
        if looks is None or (self._loaded is not None and not self._loaded.shares):
            return [answers[0] for answers in found]
        from disrouter.agents._runtime import unread

        return [unread(answers[0], look) for answers, look in zip(found, looks, strict=True)]
