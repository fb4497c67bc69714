"""Muon in float32: momentum whose update is brought to orthogonal matrices by Newton-Schulz iterations.

The same rule and constants as ``torch.optim.Muon`` (Jordan et al. 2024), which iterates in bfloat16. A CPU without
bfloat16 units only emulates that, about ten times slower than float32. Matrices of one shape are updated together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import overload

import torch
from torch import Tensor

__all__ = ["Muon", "orthogonalised"]


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return matrices of shape (count, rows, columns) with their singular values brought near 1."""
    wide = matrices.size(-2) <= matrices.size(-1)
    x: Tensor = matrices if wide else matrices.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Optimizer for weight matrices; use another for embeddings, norms and biases."""

    def __init__(
        self, params: Iterable[Tensor], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step with Nesterov momentum and decoupled weight decay."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape].append(parameter)
            for shape, parameters in shapes.items():
                updates = [self._update(parameter, group["momentum"]) for parameter in parameters]
                rate = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(parameters, orthogonalised(torch.stack(updates)), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-rate)
        return None

    def _update(self, parameter: Tensor, momentum: float) -> Tensor:
        """Return the gradient looked at through Nesterov momentum, and keep the momentum."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return torch.lerp(gradient, buffer.lerp_(gradient, 1 - momentum), momentum)
