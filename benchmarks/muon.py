"""Time one Muon step on the matrices of agent-4: torch's (bfloat16 iterations) against ours (float32).

python benchmarks/muon.py
"""

from __future__ import annotations

import time

import torch

from disrouter.lab.family import lab_model
from disrouter.lab.muon import Muon


def main() -> None:
    """Time both and print their ratio."""
    torch.set_num_threads(1)
    spec = lab_model("agent-4")
    shapes = [(spec.hidden, spec.hidden)] * 4 + [(spec.mlp, spec.hidden)] * 2 + [(spec.hidden, spec.mlp)]
    parameters = [torch.nn.Parameter(torch.randn(shape)) for _ in range(spec.layers) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    seconds = {}
    for name, optimizer in (("torch", torch.optim.Muon(parameters, lr=0.01)), ("ours", Muon(parameters, lr=0.01))):
        optimizer.step()
        began = time.perf_counter()
        for _ in range(3):
            optimizer.step()
        seconds[name] = (time.perf_counter() - began) / 3
    ratio = seconds["torch"] / seconds["ours"]
    print(f"torch {seconds['torch']:.2f} s   ours {seconds['ours']:.2f} s   ratio {ratio:.1f}")


if __name__ == "__main__":
    main()
