"""Generation: prefill prompts once, read the first token's probabilities, and decode from the same prefill.

A loop of our own instead of ``model.generate``, for three reasons: the answer starts from the look's cache; every
query draws from its own seed; and a query's tokens do not depend on which other queries share its batch.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from disrouter.agents._attention import Span, attend_in_spans, spans
from disrouter.agents._cache import cut, empty_cache, fork, is_plain, keep_rows, stack

__all__ = ["Answering", "Decoder", "Engine", "Prefill"]

EXACT_BELOW = 50_000_000
"""Models with fewer weights are, on a CPU, computed so that a batch never changes a query's result."""

_ROW_BLOCK = 8
# The CPU's matrix kernels give a row the same bits in every batch whose number of rows is a multiple of 4, for any
# number of threads (measured; other sizes end in a differently rounded remainder). 8 leaves a margin.

_COMPACT_BELOW = 0.75
# Dropping finished rows copies the cache, so it waits until it saves a quarter of the work.


@dataclass(frozen=True, slots=True)
class Prefill:
    """Prompts that have been read: what each would say first, and the cache to go on from."""

    engine: Engine
    prompts: tuple[tuple[int, ...], ...]
    logits: torch.Tensor
    """Scores of each prompt's first token, shaped (rows, vocabulary); there may be more rows than prompts."""

    cache: DynamicCache
    mask: torch.Tensor | None = None
    """Which tokens are real, shaped (rows, tokens), where prompts were padded."""

    skips: torch.Tensor | None = None
    """How many cached tokens at the front are not the row's own, where prompts of unequal length were stacked."""

    states: torch.Tensor | None = None
    """Hidden states of each prompt's last token, shaped (rows, layers + 1, width), where they were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """How answers are decoded."""

    limits: Sequence[int]
    """Most tokens of each answer."""

    temperature: float = 0.0
    """0 takes the likeliest token."""

    seeds: Sequence[int] = ()
    """One seed per answer; unused at temperature 0."""

    banned: int | None = None
    """A token that is never said: the rejection."""

    banned_first: int | None = None
    """A token that does not begin an answer: the start of a rejection of several tokens."""


class Engine:
    """A loaded causal language model that prefills and decodes batches of prompts."""

    def __init__(self, model: PreTrainedModel, *, eos: frozenset[int], pad: int, exact: bool | None = None) -> None:
        self.model = model
        self.device = model.device
        self.eos = torch.tensor(sorted(eos), dtype=torch.long, device=self.device)
        self.pad = pad
        small = self.device.type == "cpu" and model.num_parameters() < EXACT_BELOW
        self.exact = small if exact is None else exact
        """Whether batches are whole blocks of rows, and no prompt is padded."""
        arguments = frozenset(inspect.signature(model.forward).parameters)
        self.stacks = self.exact and attend_in_spans(model, arguments)
        """Whether exact batches may hold prompts of unequal length."""
        # Most architectures can score the last token only, which saves a prompt times the vocabulary; a few cannot.
        last = {"logits_to_keep": 1} if "logits_to_keep" in arguments else {}
        self._options = {"use_cache": True, "return_dict": True} | last

    def batches(self, lengths: Sequence[int], size: int) -> Iterator[list[int]]:
        """Yield the indices of prompts to run together, at most ``size`` at a time, longest prompts first."""
        order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        alike = self.exact and not self.stacks
        batch: list[int] = []
        for index in order:
            if batch and (len(batch) == size or (alike and lengths[batch[0]] != lengths[index])):
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def block(self, rows: list[int]) -> list[int]:
        """Return ``rows`` filled up to whole blocks by repeating the last one, where results must be exact."""
        return rows + [rows[-1]] * (-len(rows) % _ROW_BLOCK) if self.exact else rows

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[tuple[int, ...]], *, states: bool = False) -> Prefill:
        """Read prompts, sorted by length, and return the scores of their first tokens, the cache and, if asked for,
        the hidden states.
        """
        groups = [list(group) for _, group in itertools.groupby(prompts, key=len)] if self.exact else [list(prompts)]
        parts = [self._prefill(group, states) for group in groups]
        if len(parts) == 1:
            return parts[0]
        counts = [len(group) for group in groups]
        width = max(map(len, prompts))
        return Prefill(
            engine=self,
            prompts=tuple(prompts),
            logits=torch.cat([part.logits[:count] for part, count in zip(parts, counts, strict=True)]),
            cache=stack([part.cache for part in parts], counts),
            skips=torch.tensor([width - len(prompt) for prompt in prompts], device=self.device),
            states=_joined([part.states for part in parts], counts),
        )

    def _prefill(self, prompts: Sequence[tuple[int, ...]], states: bool) -> Prefill:
        """Read prompts in one pass, padded on the left where their lengths differ."""
        rows = self.block(list(range(len(prompts))))
        width = max(map(len, prompts))
        ids = torch.full((len(rows), width), self.pad, dtype=torch.long)
        for row, prompt in enumerate(rows):
            ids[row, width - len(prompts[prompt]) :] = torch.tensor(prompts[prompt], dtype=torch.long)
        ids = ids.to(self.device)
        mask: torch.Tensor | None = None
        if min(map(len, prompts)) < width:
            lengths = torch.tensor([len(prompts[prompt]) for prompt in rows], device=self.device)
            mask = torch.arange(width, device=self.device) >= (width - lengths)[:, None]
        cache = empty_cache(self.model.config)
        output = self._run(ids, cache, mask=mask, output_hidden_states=states)
        kept = torch.stack([layer[:, -1] for layer in output.hidden_states], 1) if states else None
        return Prefill(self, tuple(prompts), output.logits[:, -1], cache, mask, states=kept)

    @torch.inference_mode()
    def reread(self, prefill: Prefill, last: int) -> torch.Tensor:
        """Return this model's scores of each prompt's first token after it read the ``last`` tokens once more.

        The prompt up to there is taken as another model read it: ``prefill`` is of weights that differ from there on.
        """
        if not is_plain(prefill.cache):  # states that forget cannot be cut: read the beginning again
            return self._continued(prefill, last)
        rows = self.block(list(range(len(prefill.prompts))))
        index = torch.tensor(rows, device=self.device)
        cache = cut(fork(prefill.cache, index), last)
        mask = None if prefill.mask is None else prefill.mask[index]
        skips = None if prefill.skips is None else prefill.skips[index]
        ids = torch.tensor([prefill.prompts[row][-last:] for row in rows], device=self.device)
        for place in range(last):
            seen = None if mask is None else mask[:, : mask.shape[1] - last + place + 1]
            scores = self.forward(ids[:, place : place + 1], cache, mask=seen, skips=skips, groups=_groups(skips))
        return scores[: len(prefill.prompts)]

    def _continued(self, prefill: Prefill, last: int) -> torch.Tensor:
        """Return the same, one prompt at a time."""
        scores = []
        for prompt in prefill.prompts:
            cache = prefill.engine.prefill([prompt[:-last]]).cache
            ids = torch.tensor([prompt[-last:]] * len(self.block([0])), device=self.device)
            scores.append(self._run(ids, cache).logits[:1, -1])
        return torch.cat(scores)

    def forward(
        self,
        ids: torch.Tensor,
        cache: DynamicCache,
        *,
        mask: torch.Tensor | None = None,
        skips: torch.Tensor | None = None,
        groups: Sequence[Span] | None = None,
    ) -> torch.Tensor:
        """Append tokens, shaped (rows, tokens), to the cache and return the scores of the next one."""
        with spans(groups):
            logits: torch.Tensor = self._run(ids, cache, mask=mask, skips=skips).logits[:, -1]
        return logits

    def _run(
        self,
        ids: torch.Tensor,
        cache: DynamicCache,
        *,
        mask: torch.Tensor | None = None,
        skips: torch.Tensor | None = None,
        **options: bool,
    ) -> Any:
        """Run the model over new tokens, which are appended to the cache, and return its output."""
        places = {}
        if mask is not None:
            positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
            places = {"attention_mask": mask.long(), "position_ids": positions[:, -ids.shape[1] :]}
        elif skips is not None:
            places = {"position_ids": cache.get_seq_length() - skips[:, None]}
        return self.model(input_ids=ids, past_key_values=cache, **self._options, **places, **options)


class Decoder:
    """Answers of one batch, decoded token by token from a prefill, which stays as it was.

    ``rows`` names the prompt each answer belongs to; one prompt may have many answers.
    """

    @torch.inference_mode()
    def __init__(self, prefill: Prefill, rows: Sequence[int], how: Answering) -> None:
        self.engine, self.how = prefill.engine, how
        device = self.engine.device
        filled = torch.tensor(self.engine.block(list(rows)), device=device)
        self._cache = fork(prefill.cache, filled)
        self._logits = prefill.logits[filled]
        self._mask = None if prefill.mask is None else prefill.mask[filled]
        self._skips = None if prefill.skips is None else prefill.skips[filled]
        self._groups = _groups(self._skips)
        # Filler rows write into one spare line at the end of the result.
        self._lines = torch.arange(len(filled), device=device).clamp(max=len(rows))
        self._limits = torch.tensor([*how.limits, 0], device=device)
        self._finished = self._lines == len(rows)
        self._tokens = torch.full((len(rows) + 1, max(how.limits)), -1, device=device)
        self._draws = self._draw() if how.temperature > 0 else None
        self._step = 0

    @property
    def done(self) -> bool:
        """Whether every answer has ended."""
        return bool(self._finished.all())

    @torch.inference_mode()
    def step(self) -> None:
        """Decode one more token of every answer that has not ended."""
        if self._step:
            self._compact()
            ids = self._tokens[self._lines, self._step - 1].clamp(min=0)[:, None]
            if self._mask is not None:
                self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=True)
            self._logits = self.engine.forward(
                ids, self._cache, mask=self._mask, skips=self._skips, groups=self._groups
            )
        token = self._choose()
        ended = self._finished | torch.isin(token, self.engine.eos)
        self._tokens[self._lines, self._step] = token.masked_fill(self._finished, -1)
        self._step += 1
        self._finished = ended | (self._step >= self._limits[self._lines])

    def run(self) -> None:
        """Decode until every answer has ended."""
        while not self.done:
            self.step()

    def answers(self) -> list[list[int]]:
        """Return the tokens of every answer so far; an end-of-answer token is the last of its answer."""
        lines: list[list[int]] = self._tokens[:-1, : self._step].tolist()
        return [[token for token in line if token >= 0] for line in lines]

    def last(self) -> int:
        """Return the token that :meth:`step` gave the first answer."""
        return int(self._tokens[0, self._step - 1])

    def _choose(self) -> torch.Tensor:
        """Return the next token of every row: the likeliest, or drawn by the row's own random numbers."""
        logits = self._logits
        for banned in (self.how.banned, self.how.banned_first if self._step == 0 else None):
            if banned is not None:
                logits[:, banned] = -torch.inf
        if self._draws is None:
            return logits.argmax(-1)
        if logits.device.type == "mps":
            logits = logits.cpu()  # MPS has no double precision, which sums over large vocabularies need
        cumulative = torch.softmax(logits.double() / self.how.temperature, -1).cumsum(-1)
        draws = self._draws[self._lines.to(self._draws.device), self._step].to(logits.device)[:, None]
        token = torch.searchsorted(cumulative, draws * cumulative[:, -1:], right=True)[:, 0]
        return token.clamp(max=logits.shape[1] - 1).to(self._lines.device)

    def _draw(self) -> torch.Tensor:
        """Return uniform random numbers in [0, 1) for every step of every answer, from that answer's seed alone."""
        draws = torch.zeros(self._tokens.shape, dtype=torch.float64)
        for line, (seed, limit) in enumerate(zip(self.how.seeds, self.how.limits, strict=True)):
            generator = torch.Generator().manual_seed(seed)
            draws[line, :limit] = torch.rand(limit, dtype=torch.float64, generator=generator)
        return draws if self.engine.device.type == "mps" else draws.to(self.engine.device)

    def _compact(self) -> None:
        """Drop the rows that have finished, once there are enough of them."""
        alive = (~self._finished).nonzero()[:, 0]
        kept = self.engine.block(alive.tolist())
        if len(kept) > _COMPACT_BELOW * len(self._lines):
            return
        rows = torch.tensor(kept, device=self.engine.device)
        keep_rows(self._cache, rows)
        self._mask = None if self._mask is None else self._mask[rows]
        self._skips = None if self._skips is None else self._skips[rows]
        self._groups = _groups(self._skips)
        self._finished = self._finished[rows]
        self._lines = self._lines[rows]
        # Rows that only fill the block up repeat a live row: they must not write over its line.
        self._finished[len(alive) :] = True
        self._lines[len(alive) :] = len(self._limits) - 1


def _joined(states: Sequence[torch.Tensor | None], counts: Sequence[int]) -> torch.Tensor | None:
    """Return the first ``counts`` rows of each part's states, or None where none were kept."""
    kept = [part[:count] for part, count in zip(states, counts, strict=True) if part is not None]
    return torch.cat(kept) if kept else None


def _groups(skips: torch.Tensor | None) -> list[Span] | None:
    """Return the runs of rows whose share of the cache begins at the same token."""
    if skips is None:
        return None
    values, counts = torch.unique_consecutive(skips, return_counts=True)
    ends = counts.cumsum(0)
    return list(zip((ends - counts).tolist(), ends.tolist(), values.tolist(), strict=True))
