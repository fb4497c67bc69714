"""Frozen dataclasses that are quick to make are like all others."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from disrouter._frozen import quick


@quick
@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 7
    tags: list[str] = field(default_factory=list)
    note: str = field(default="", compare=False, kw_only=True)


def test_it_takes_what_any_dataclass_takes() -> None:
    assert Point(1) == Point(1, 7, []) == Point(x=1, y=7, tags=[], note="not compared")
    assert repr(Point(1, note="n")) == "Point(x=1, y=7, tags=[], note='n')"
    assert Point.__match_args__ == ("x", "y", "tags")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Point(1, 2, [], "note")  # type: ignore[call-arg]


def test_defaults_that_are_made_are_made_anew() -> None:
    first, second = Point(1), Point(1)

    first.tags.append("a")

    assert second.tags == []


def test_it_is_frozen_and_of_its_own_class() -> None:
    point = Point(1)

    assert type(point) is Point
    for name in ("x", "unknown", "__class__"):
        with pytest.raises((FrozenInstanceError, TypeError)):
            setattr(point, name, 2)


def test_it_can_be_copied_replaced_and_pickled() -> None:
    point = Point(1, 2, ["a"], note="n")

    assert replace(point, x=3) == Point(3, 2, ["a"])
    for twin in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point))):
        assert (twin, twin.note) == (point, "n")


def test_classes_that_do_more_are_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class Checked:
        x: int

        def __post_init__(self) -> None:
            assert self.x

    @dataclass(frozen=True)
    class Open:
        x: int

    for cls in (Checked, Open):
        with pytest.raises(TypeError, match="no plain frozen dataclass"):
            quick(cls)
