"""Picking a device: the one asked for, or the fastest there is, and always with the reason."""

from __future__ import annotations

import pytest

from disrouter.agents.devices import Device, pick_device
from disrouter.errors import UsageError

torch = pytest.importorskip("torch")


def without_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_a_machine_without_accelerators_runs_models_on_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    without_accelerators(monkeypatch)

    device = pick_device()

    assert device == Device("cpu", "neither CUDA nor MPS is present")


def test_a_cuda_device_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Test GPU")

    device = pick_device()

    assert device == Device("cuda", "a CUDA device is present (Test GPU)")


def test_mps_is_preferred_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    without_accelerators(monkeypatch)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)

    assert pick_device().name == "mps"


def test_the_device_that_was_asked_for_is_used() -> None:
    assert pick_device("cpu") == Device("cpu", "it was asked for")


def test_a_device_this_machine_does_not_have_is_refused_with_those_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    without_accelerators(monkeypatch)

    with pytest.raises(UsageError, match=r"Device 'cuda:3' cannot be used on this machine\. Usable: cpu\."):
        pick_device("cuda:3")
