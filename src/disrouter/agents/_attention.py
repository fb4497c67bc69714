"""Attention over answers of unequal length, each with exactly the arithmetic it has alone.

Padding changes the length of the sums in attention, and with it the last bits of a result. Here the rows of a batch
share everything but attention; attention runs once per group of rows of equal length, on what is theirs of the cache.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from disrouter.agents._cache import empty_cache, is_plain

__all__ = ["Span", "attend_in_spans", "spans"]

Span = tuple[int, int, int]
"""First row, row after the last, and how many cached tokens at the front are not theirs."""

_NAME = "disrouter_spans"
_STRETCHED = frozenset({"dynamic", "longrope"})  # rotary positions that depend on the longest prompt of the batch


class _Now(threading.local):
    """What the attention running in this thread is to know."""

    spans: Sequence[Span] | None = None
    calls: int = 0


_now = _Now()


@contextmanager
def spans(of: Sequence[Span] | None) -> Iterator[None]:
    """Run forward passes of one new token per row with these groups of rows."""
    _now.spans, _now.calls = of, 0
    try:
        yield
    finally:
        _now.spans = None


def attend_in_spans(model: PreTrainedModel, arguments: frozenset[str]) -> bool:
    """Let a model attend in spans, and return whether it can; ``arguments`` are those of its forward pass.

    Architectures with windows, recurrent states, positions that are not arguments, or attention of their own cannot.
    """
    config: Any = model.config
    rotary = getattr(config, "rope_parameters", None) or {}
    if (
        config._attn_implementation != "sdpa"
        or "position_ids" not in arguments
        or rotary.get("rope_type") in _STRETCHED
        or not is_plain(empty_cache(config))
    ):
        return False
    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    model.set_attn_implementation(_NAME)
    cache = empty_cache(config)
    with torch.inference_mode(), spans(None):
        model(input_ids=torch.zeros((1, 1), dtype=torch.long), past_key_values=cache, use_cache=True)
        everywhere = _now.calls == len(cache.layers)
    if not everywhere:
        model.set_attn_implementation("sdpa")
    return everywhere


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as PyTorch does, span by span."""
    attend: Any = sdpa_attention_forward
    _now.calls += 1
    if _now.spans is None:
        return attend(module, query, key, value, attention_mask, **options)[0], None
    assert attention_mask is None  # one new token per row sees all that is its own
    parts = [
        attend(module, query[a:b], key[a:b, :, skip:], value[a:b, :, skip:], None, **options)[0]
        for a, b, skip in _now.spans
    ]
    return torch.cat(parts), None
