"""What a local agent is once its weights are in memory: prompts, looks and answers, blocking and without locks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jinja2 import TemplateError
from transformers import PreTrainedModel

from disrouter.agents._deciding import Decider
from disrouter.agents._detokenise import DeltaReader, decode
from disrouter.agents._generation import Answering, Decoder, Engine, Prefill
from disrouter.agents._head import ConfidenceHead, read_head
from disrouter.agents._loading import load_model, rejection_tokens
from disrouter.agents.calibrators import CALIBRATION_FILE, Calibration, read_calibration
from disrouter.agents.devices import Device
from disrouter.agents.folders import weights_digest
from disrouter.agents.prompts import chat_messages, named_scenario
from disrouter.errors import AgentError, ContextError, ModelError
from disrouter.seeds import seed_of
from disrouter.types import AgentCard, Completion, Look, Query, Sampling, Scenario, Usage

if TYPE_CHECKING:
    from disrouter.agents._adapter import DecidingAdapter

__all__ = ["Assessing", "Prefilled", "Runtime", "Stream", "unread"]

Tokens = tuple[int, ...]

_DIGITS = 6
"""Decimals of a confidence: float32 is good for no more, and rounding hides in which order threads summed."""


@dataclass(frozen=True, slots=True)
class Prefilled:
    """State of a look: the prompt's place in a prefill, from which the answer may go on."""

    prefill: Prefill
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessing:
    """How an agent's confidence is read."""

    rejection: str
    scenario_prompt: bool
    assessment: Literal["token", "adapter", "head", "none"]
    calibrated: bool
    """Whether a calibration beside the model is applied."""


class Runtime:
    """A loaded agent: its model, its tokenizer, and how it says no."""

    def __init__(self, card: AgentCard, path: Path, device: Device, how: Assessing, *, max_tokens: int) -> None:
        """Load the model in a folder, with what lies beside it to read its confidence.

        Raises:
            ModelError: It cannot be loaded, cannot say the rejection text, or its head or calibration is not its own.
        """
        self._name, self._how, self._max_tokens = card.name, how, max_tokens
        self._loaded = load_model(path, device)
        self.tokenizer = self._loaded.tokenizer
        self._rejection = rejection_tokens(self._loaded, how.rejection, card.name)
        self._head = _head_of(path, self._loaded.model) if how.assessment == "head" else None
        adapter = _adapter_of(path, self._loaded.model) if how.assessment == "adapter" else None
        self._calibration = _calibration_of(path, how.assessment) if how.calibrated else None
        pad: Any = self.tokenizer.pad_token_id
        self.engine = Engine(self._loaded.model, eos=self._loaded.eos, pad=pad if isinstance(pad, int) else 0)
        self._decider = None if adapter is None else Decider(adapter, self.engine)
        self.shares = self._decider is None or (self._decider.follows and not how.scenario_prompt)
        """Whether an answer goes on from the reading of the prompt that its look has paid for."""
        known = [n for n in (card.context_length, self._loaded.context_length) if n is not None]
        self._context_length = min(known, default=None)

    @contextmanager
    def threads(self) -> Iterator[None]:
        """Keep a small model on one thread: its matrices are too small to share."""
        if not self.engine.exact:
            yield
            return
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def prompts(self, queries: Iterable[Query], scenario: Scenario, *, deciding: bool = False) -> list[Tokens]:
        """Return the tokens of every query's prompt; only where it decides by an adapter does that differ from the
        prompt that is answered, which then names no scenario: the model below the adapter never read one.

        Raises:
            ContextError: A query is longer than the agent can take.
            AgentError: The chat template refuses the messages.
        """
        asked = list(queries)
        told = scenario if self._how.scenario_prompt and (deciding or self._decider is None) else None
        try:
            prompts: Any = self.tokenizer.apply_chat_template(
                [chat_messages(query, told) for query in asked],
                add_generation_prompt=True,
                return_dict=False,
                # What a user writes stays text: no query can forge the end of its turn or a system message.
                sanitize_control_tokens=True,
            )
        except TemplateError as exc:
            raise AgentError(
                f"The chat template of agent '{self._name}' refuses the messages: {exc}",
                hint="if it knows no system messages, set `scenario_prompt: false` for this agent",
            ) from exc
        for query, prompt in zip(asked, prompts, strict=True):
            if not prompt:
                raise AgentError(f"The chat template of agent '{self._name}' makes no prompt of query '{query.id}'.")
            if self._context_length is not None and len(prompt) >= self._context_length:
                raise ContextError(
                    f"Query '{query.id}' is too long for agent '{self._name}': its prompt has {len(prompt)} "
                    f"tokens, and the agent takes {self._context_length} together with the answer.",
                    hint="shorten the query, or give the network an agent with a longer context",
                )
        return [tuple(prompt) for prompt in prompts]

    def look(self, query: Query, scenario: Scenario) -> Look:
        """Return the look at one query, with the prefill as its state."""
        start = time.perf_counter()
        prefill = self._read(self.prompts([query], scenario)) if self.shares else None
        look = self._looks(prefill, [query], scenario)[0]
        state = None if prefill is None else Prefilled(prefill, 0)
        return replace(look, seconds=time.perf_counter() - start, state=state)

    def open(self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling) -> Stream:
        """Return the answer to one query, about to be decoded: from the look's prefill where it is of this prompt."""
        prompts = self.prompts([query], scenario)
        state = look.state if look is not None else None
        if not (
            isinstance(state, Prefilled)
            and state.prefill.engine is self.engine
            and state.prefill.prompts[state.row] == prompts[0]
        ):
            state = Prefilled(self.engine.prefill(prompts), 0)
        decoder = Decoder(state.prefill, [state.row], self._answering([query], prompts, sampling))
        return Stream(self, decoder, len(prompts[0]), look if self.shares else None)

    def states(self, prompts: Sequence[Tokens]) -> torch.Tensor:
        """Return the hidden states of every prompt's last token, shaped (prompts, layers + 1, width), on the CPU."""
        states = self.engine.prefill(prompts, states=True).states
        assert states is not None  # asked for
        return states[: len(prompts)].float().cpu()

    def run(
        self,
        queries: Sequence[Query],
        prompts: Sequence[Tokens],
        scenario: Scenario,
        sampling: Sampling,
        samples: int,
    ) -> list[tuple[Look, list[Completion]]]:
        """Return the looks at one batch of queries and that many answers to each; seconds are shares of the batch."""
        start = time.perf_counter()
        prefill = self._read(prompts) if self.shares else None
        looks = self._looks(prefill, queries, scenario)
        seconds = (time.perf_counter() - start) / len(queries)
        looks = [replace(look, seconds=seconds) for look in looks]
        if not samples:
            return [(look, []) for look in looks]

        start = time.perf_counter()
        prefill = prefill or self.engine.prefill(prompts)
        rows = [row for row in range(len(queries)) for _ in range(samples)]
        decoder = Decoder(prefill, rows, self._answering(queries, prompts, sampling, samples))
        decoder.run()
        answers = decoder.answers()
        texts = [decode(self.tokenizer, tokens) for tokens in answers]
        seconds = (time.perf_counter() - start) / len(rows)
        completions = [
            self.completion(text, tokens, len(prompts[row]), seconds)
            for row, text, tokens in zip(rows, texts, answers, strict=True)
        ]
        return [(look, completions[row * samples : (row + 1) * samples]) for row, look in enumerate(looks)]

    def completion(self, text: str, tokens: Sequence[int], prompt_tokens: int, seconds: float) -> Completion:
        """Return the end of an answer; the token that ends it counts as written."""
        stopped = bool(tokens) and tokens[-1] in self._loaded.eos
        return Completion(
            text=text,
            usage=Usage(prompt_tokens, len(tokens)),
            finish_reason="stop" if stopped else "length",
            seconds=seconds,
        )

    def _read(self, prompts: Sequence[Tokens]) -> Prefill:
        return self.engine.prefill(prompts, states=self._head is not None)

    def _looks(self, prefill: Prefill | None, queries: Sequence[Query], scenario: Scenario) -> list[Look]:
        """Return the confidence and, where the first token tells it, the own word.

        ``prefill`` is what the answers go on from; a look that they do not go on from reads the prompts itself.

        Raises:
            ContextError: A query is longer than the agent can take.
            AgentError: The scores are not numbers, or the chat template refuses the messages.
        """
        first = self._rejection.first
        words: list[bool | None]
        if self._decider is not None:
            prompts = tuple(self.prompts(queries, scenario, deciding=True)) if prefill is None else prefill.prompts
            scores = self._decider.scores(prompts, prefill).cpu().double()
            words = (scores.softmax(-1)[:, first] <= 0.5).tolist()
            read = [len(prompt) + self._decider.again for prompt in prompts]
        else:
            assert prefill is not None  # without an adapter there is one reading
            scores = prefill.logits[: len(queries)].cpu().double()
            words = (scores.argmax(-1) != first).tolist()
            read = [len(prompt) for prompt in prefill.prompts]
        confidences: list[float] = (1.0 - scores.softmax(-1)[:, first]).tolist()
        if self._head is not None and prefill is not None and prefill.states is not None:
            confidences = self._head.confidences(prefill.states[: len(queries)].cpu())
            words = [None] * len(queries)  # a head knows a chance, and leaves the word to the policy
        curve = self._calibration.curve(named_scenario(scenario).name) if self._calibration is not None else None
        looks = []
        for query, tokens, raw, word in zip(queries, read, confidences, words, strict=True):
            if raw != raw:
                raise AgentError(
                    f"Agent '{self._name}' gave scores that are not numbers for query '{query.id}'.",
                    hint="its weights are damaged, or overflow in the precision they were saved in",
                )
            confidence = round(raw if curve is None else curve(raw), _DIGITS)
            looks.append(Look(confidence=confidence, accepts=word, usage=Usage(prompt_tokens=tokens)))
        return looks

    def _answering(
        self, queries: Sequence[Query], prompts: Sequence[Tokens], sampling: Sampling, samples: int = 1
    ) -> Answering:
        """Return how that many answers to every query are decoded."""
        most = self._max_tokens if sampling.max_tokens is None else min(self._max_tokens, sampling.max_tokens)
        room = [most if self._context_length is None else self._context_length - len(p) for p in prompts]
        return Answering(
            limits=[min(most, left) for left in room for _ in range(samples)],
            temperature=sampling.temperature,
            seeds=[seed_of(sampling.seed + k, query.id) for query in queries for k in range(samples)],
            banned=self._rejection.first if self._rejection.whole else None,
            banned_first=self._rejection.first,
        )


class Stream:
    """One answer being decoded, a token at a time."""

    def __init__(self, runtime: Runtime, decoder: Decoder, prompt_tokens: int, look: Look | None) -> None:
        self._runtime, self._decoder, self._prompt_tokens, self._look = runtime, decoder, prompt_tokens, look
        self._reader = DeltaReader(runtime.tokenizer)
        self.begun = False
        """Whether there has been a first word."""

    @property
    def done(self) -> bool:
        """Whether the answer has ended."""
        return self._decoder.done

    def next(self) -> str:
        """Decode one token and return the text it adds."""
        self._decoder.step()
        delta = self._reader.push(self._decoder.last())
        self.begun = self.begun or bool(delta)
        return delta

    def close(self, seconds: float) -> tuple[str, Completion]:
        """Return the text still held back, and the answer's end."""
        rest, text = self._reader.finish()
        tokens = self._decoder.answers()[0]
        completion = self._runtime.completion(text, tokens, self._prompt_tokens, seconds)
        return rest, unread(completion, self._look)


def unread(completion: Completion, look: Look | None) -> Completion:
    """Return the completion without the prompt tokens that a look has paid for."""
    read = look.usage.prompt_tokens if look is not None else 0
    usage = replace(completion.usage, prompt_tokens=max(0, completion.usage.prompt_tokens - read))
    return replace(completion, usage=usage)


def _head_of(path: Path, model: PreTrainedModel) -> ConfidenceHead:
    config: Any = model.config.get_text_config(decoder=True)
    return read_head(path, model=weights_digest(path), layers=config.num_hidden_layers + 1, width=config.hidden_size)


def _adapter_of(path: Path, model: PreTrainedModel) -> DecidingAdapter:
    from disrouter.agents._adapter import read_adapter

    return read_adapter(path, model, weights_digest(path))


def _calibration_of(path: Path, assessment: str) -> Calibration | None:
    """Return the calibration beside a model, or None if it has none for a confidence read this way.

    Raises:
        ModelError: It was made for other weights.
    """
    calibration = read_calibration(path)
    if calibration is None or calibration.assessment != assessment:
        return None
    if calibration.model != weights_digest(path):
        raise ModelError(
            f"Calibration '{path / CALIBRATION_FILE}' belongs to another model than the one beside it.",
            hint="calibrate the agent again with `disrouter calibrate`, or delete the file",
        )
    return calibration
