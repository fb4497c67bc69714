"""Key-value caches that grow without copying and hand out rows: what lets an answer reuse the prefill of a look."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

__all__ = ["cut", "empty_cache", "fork", "is_plain", "keep_rows", "stack"]

_ROOM = 64


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # transformers leaves __init_subclass__ untyped
    """A layer that keeps spare room behind its keys and values.

    The stock layer copies the whole cache for every new token, which costs as much as the small models' arithmetic.
    """

    _spare_keys: torch.Tensor | None = None
    _spare_values: torch.Tensor | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new keys and values, shaped (rows, heads, tokens, width), and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None  # set by the initialization
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        self._spare_keys = _with_room(self._spare_keys, self.keys, key_states, old, new)
        self._spare_values = _with_room(self._spare_values, self.values, value_states, old, new)
        self.keys, self.values = self._spare_keys[..., :new, :], self._spare_values[..., :new, :]
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Keep the given rows, in that order; the result shares nothing with what was there."""
        super().reorder_cache(beam_idx)
        self._spare_keys = self._spare_values = None


def _with_room(
    spare: torch.Tensor | None, past: torch.Tensor, states: torch.Tensor, old: int, new: int
) -> torch.Tensor:
    """Return a buffer that holds ``past`` and then ``states``: the one at hand while its room lasts."""
    if spare is None or spare.shape[-2] < new:
        rows, heads, _, width = states.shape
        # Growing by half keeps the copying of long answers linear in their length.
        spare = states.new_empty((rows, heads, new + max(_ROOM, old // 2), width))
        if old:
            spare[..., :old, :] = past
    spare[..., old:new, :] = states
    return spare


def empty_cache(config: PretrainedConfig) -> DynamicCache:
    """Return an empty cache for a model; sliding-window and recurrent layers keep their own kind of state."""
    cache = DynamicCache(config=config)
    roomy = cast("type[Any]", _RoomyLayer)  # its constructor is untyped
    cache.layers = [roomy() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = _RoomyLayer
    return cache


def is_plain(cache: DynamicCache) -> bool:
    """Return whether every layer keeps all of its keys and values, so that caches can be stacked."""
    return bool(cache.layers) and all(type(layer) is _RoomyLayer for layer in cache.layers)


def stack(caches: Sequence[DynamicCache], rows: Sequence[int]) -> DynamicCache:
    """Return one plain cache of the first ``rows`` of each of several, which end at the same place.

    What shorter caches lack at the front is zero, and not to be read.
    """
    width = max(cache.get_seq_length() for cache in caches)
    stacked = copy.copy(caches[0])
    stacked.layers = [copy.copy(layer) for layer in caches[0].layers]
    for index, layer in enumerate(stacked.layers):
        for name in ("keys", "values"):
            parts = [getattr(cache.layers[index], name)[:count] for cache, count in zip(caches, rows, strict=True)]
            padded = [torch.nn.functional.pad(part, (0, 0, width - part.shape[-2], 0)) for part in parts]
            setattr(layer, name, torch.cat(padded))
            setattr(layer, f"_spare_{name}", None)
    return stacked


def keep_rows(cache: DynamicCache, rows: torch.Tensor) -> None:
    """Keep the given rows of a cache, in that order; a row may be kept more than once."""
    cache.reorder_cache(cast(torch.LongTensor, rows))


def cut(cache: DynamicCache, last: int) -> DynamicCache:
    """Return the plain cache without its last tokens; nobody else may use it any more."""
    cache.crop(-last)
    return cache


def fork(cache: DynamicCache, rows: torch.Tensor) -> DynamicCache:
    """Return a cache of the given rows that can grow without touching the one it came from."""
    fresh = copy.copy(cache)
    fresh.layers = [copy.copy(layer) for layer in cache.layers]
    keep_rows(fresh, rows)
    return fresh
