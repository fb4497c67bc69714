"""Training small networks: AdamW on minibatches, stopped early by a validation loss, the best weights kept."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["tensor", "trained"]

EPOCHS, PATIENCE = 60, 5

_GAIN = 1e-3
"""Nats that the loss must fall to count as better."""

_BATCH, _STEPS = 256, 10
"""Largest batch; steps per epoch that few rows are cut into."""


def trained(
    make: Callable[[], nn.Module],
    loss: Callable[[nn.Module, Tensor], Tensor],
    rows: int,
    judge: Callable[[nn.Module], Tensor],
    *,
    seed: int,
    rate: float = 1e-2,
    decay: float = 1e-2,
    epochs: int = EPOCHS,
) -> nn.Module:
    """Return the network with the weights of its best epoch.

    Args:
        make: Makes the network; its draws come from the seed.
        loss: The loss of the network on the train rows at these places.
        rows: Number of train rows.
        judge: The network's loss on validation.
        seed: All chance: first weights, order of rows, dropout.
        rate: Learning rate.
        decay: Weight decay.
        epochs: Most passes over the rows; fewer if :data:`PATIENCE` of them bring nothing.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make()
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
        batch = int(np.clip(rows // _STEPS, 8, _BATCH))
        best, weights, waited = float("inf"), copy.deepcopy(network.state_dict()), 0
        for _ in range(epochs):
            network.train()
            for places in torch.split(torch.randperm(rows), batch):
                optimizer.zero_grad()
                torch.autograd.backward(loss(network, places))
                optimizer.step()
            network.eval()
            with torch.no_grad():
                judged = float(judge(network))
            waited += 1
            if judged < best - _GAIN:
                best, weights, waited = judged, copy.deepcopy(network.state_dict()), 0
            if waited >= PATIENCE:
                break
        network.load_state_dict(weights)
    return network.eval()


def tensor(values: object) -> Tensor:
    """Return a copy of values as a tensor of floats."""
    return torch.tensor(np.asarray(values), dtype=torch.float32)
