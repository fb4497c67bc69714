"""Devices: the one place that decides where a model runs, and says why."""

from __future__ import annotations

from dataclasses import dataclass

from disrouter.errors import MissingExtraError, UsageError

__all__ = ["Device", "pick_device"]


@dataclass(frozen=True, slots=True)
class Device:
    """Where a model runs, and why there."""

    name: str
    """``cpu``, ``mps``, ``cuda`` or ``cuda:N``, as torch spells it."""

    reason: str


def pick_device(wanted: str | None = None) -> Device:
    """Return the device that was asked for, or else the fastest this machine has: CUDA, then MPS, then CPU.

    Raises:
        UsageError: No device has that name, or this machine does not have it.
        MissingExtraError: torch is not installed.
    """
    try:
        import torch
    except ImportError as exc:
        raise MissingExtraError.of("Running a model in this process", "local") from exc

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if wanted is None:
        if gpus:
            return Device("cuda", f"a CUDA device is present ({torch.cuda.get_device_name()})")
        if mps:
            return Device("mps", "no CUDA device, but Apple's MPS is present")
        return Device("cpu", "neither CUDA nor MPS is present")
    available = ["cpu", *(["mps"] if mps else []), *(["cuda"] if gpus else []), *(f"cuda:{n}" for n in range(gpus))]
    if wanted not in available:
        raise UsageError(
            f"Device '{wanted}' cannot be used on this machine. Usable: {', '.join(available)}.",
            hint="leave the device out to use the fastest one",
        )
    return Device(wanted, "it was asked for")
