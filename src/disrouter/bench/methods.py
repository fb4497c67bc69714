"""Which methods are compared: built in, installed beside the package, or from a file of the user's."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from disrouter.baselines import BASELINES, Router, baseline_of
from disrouter.baselines.conformance import conform
from disrouter.baselines.features import features_of
from disrouter.errors import UnknownNameError, UsageError

__all__ = ["ENTRY_POINTS", "known_methods", "method_of", "methods_of"]

ENTRY_POINTS = "disrouter.baselines"
"""Entry-point group under which an installed package offers methods."""


def known_methods() -> tuple[str, ...]:
    """Return the names of all methods that need no file: built in, then installed."""
    return (*BASELINES, *sorted(point.name for point in entry_points(group=ENTRY_POINTS)))


def methods_of(names: Sequence[str], own: Sequence[str] = (), *, features: str | None = None) -> list[Router]:
    """Return methods by name (``all``: every one that is built in) and those of the user's (``path.py:Name``).

    ``features`` names what built-in methods read of texts, see :mod:`disrouter.baselines.features`.

    Raises:
        UnknownNameError: A name nobody has.
        UsageError: A file cannot be used, a method breaks the contract, or two share a name.
    """
    wanted = [name for chosen in names for name in (BASELINES if chosen == "all" else (chosen,))]
    found = [_reading(method_of(name), features if name in BASELINES else None) for name in dict.fromkeys(wanted)]
    found += [from_file(spec) for spec in own]
    seen: set[str] = {"ours", "oracle", "rate-aware-oracle"}
    for router in found:
        if router.name in seen:
            raise UsageError(f"Two methods are called '{router.name}'.", hint="give yours another `name`")
        seen.add(router.name)
    return found


def _reading(router: Router, features: str | None) -> Router:
    """Return a built-in method with other features of texts; the method itself if it reads none."""
    settings: Any = router
    if features is None or not hasattr(settings, "features"):
        return router
    changed: Router = replace(settings, features=features_of(features))
    return changed


def method_of(name: str) -> Router:
    """Return a built-in or installed method by its name.

    Raises:
        UnknownNameError: Nobody has that name.
        UsageError: An installed method breaks the contract.
    """
    if name in BASELINES:
        return baseline_of(name)
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == name:
            try:
                loaded = point.load()
            except Exception as exc:  # a stranger's package may fail in any way
                raise UsageError(f"Method '{name}' of '{point.value}' cannot be loaded: {exc!r}.") from exc
            return conform(_made(loaded, name))
    raise UnknownNameError.of(
        "method", name, known_methods(), hint="a file of your own is given as --baseline path.py:Name"
    )


def from_file(spec: str) -> Router:
    """Return the method ``Name`` of a Python file, ``path.py:Name``, if it keeps the contract. The file is run.

    Raises:
        UsageError: There is no such file or name, the file fails, or the method breaks the contract.
    """
    path, _, name = spec.rpartition(":")
    if not path.endswith(".py") or not name.isidentifier():
        raise UsageError(f"'{spec}' names no method.", hint="write path.py:Name, for example my_router.py:MyRouter")
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"There is no file '{file}'.", hint="check the path")
    module_name = f"disrouter_baseline_{file.stem}"
    module_spec = importlib.util.spec_from_file_location(module_name, file)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        module_spec.loader.exec_module(module)
    except Exception as exc:  # the user's own code
        raise UsageError(f"'{file}' fails when it is read: {type(exc).__name__}: {exc}.") from exc
    if not hasattr(module, name):
        known = [n for n in vars(module) if not n.startswith("_")]
        raise UnknownNameError.of("method", name, known, where=f"'{file}'")
    return conform(_made(getattr(module, name), spec))


def _made(found: Any, what: str) -> Any:
    """Return the router itself: what was found, or what it makes when called without arguments."""
    if hasattr(found, "fit") and not isinstance(found, type):
        return found
    try:
        return found()
    except Exception as exc:
        raise UsageError(
            f"Method '{what}' cannot be made: {type(exc).__name__}: {exc}.",
            hint="it must be a router, or make one when called without arguments",
        ) from exc
