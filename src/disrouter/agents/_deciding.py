"""Reading a decision with an adapter on, beside an engine that answers without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from disrouter.agents._generation import Engine, Prefill

if TYPE_CHECKING:
    from disrouter.agents._adapter import DecidingAdapter

__all__ = ["Decider"]


class Decider:
    """An agent's model with its deciding adapter on."""

    def __init__(self, adapter: DecidingAdapter, answering: Engine) -> None:
        """Read decisions by ``adapter`` on prompts that ``answering``, the same model without it, answers."""
        self._answering, self._reply = answering, adapter.reply
        self._engine = Engine(
            adapter.model, eos=frozenset(answering.eos.tolist()), pad=answering.pad, exact=answering.exact
        )

    @property
    def follows(self) -> bool:
        """Whether a decision is read after a reading of the prompt without the adapter."""
        return self._reply is not None

    @property
    def again(self) -> int:
        """Tokens of a prompt that a decision reads besides each one once."""
        return self._reply or 0

    def scores(self, prompts: Sequence[tuple[int, ...]], prefill: Prefill | None = None) -> torch.Tensor:
        """Return the scores of each prompt's first token, shape (prompts, vocabulary).

        ``prefill`` is a reading of these very prompts without the adapter, if there is one.
        """
        if self._reply is None:
            return self._engine.prefill(prompts).logits[: len(prompts)]
        return self._engine.reread(prefill or self._answering.prefill(prompts), self._reply)
