"""One suite for every method, ours, built in or brought along: does it keep the contract?

Each check is a sentence about behaviour. A method that breaks one is refused with the reason, before any number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from disrouter.baselines.contract import NEEDS, Fitted, Router, Rows, Seen
from disrouter.baselines.decide import decide
from disrouter.baselines.ledger import Decisions
from disrouter.baselines.toy import planted
from disrouter.errors import DisrouterError, UsageError
from disrouter.utility import BALANCE

__all__ = ["conform", "violations"]


def conform(router: Any) -> Router:
    """Return the router, or refuse it.

    Raises:
        UsageError: It breaks the contract; every broken rule is named.
    """
    broken = violations(router)
    if broken:
        name = getattr(router, "name", type(router).__name__)
        raise UsageError(
            f"Method '{name}' does not keep the contract of a routing method: " + "; ".join(broken) + ".",
            hint="the contract is described in docs/bench.md, under 'Your own method'",
        )
    kept: Router = router
    return kept


def violations(router: Any) -> list[str]:
    """Return what a router breaks of the contract, in words; empty if nothing."""
    shape = _shape_problems(router)
    if shape:
        return shape
    train, validation, test = planted(160, seed=1, prefix="a"), planted(60, seed=2, prefix="b"), planted(40, seed=3)
    try:
        fitted = router.fit(train, validation, seed=0)
    except Exception as exc:  # whatever a stranger's code raises is the reason to refuse it
        return [f"fit failed with {_said(exc)}"]
    if not isinstance(fitted, Fitted):
        return [f"fit returned {type(fitted).__name__}, which has no `seen` and `route`"]
    checks: list[Callable[[Router, Fitted, Rows, Rows, Rows], str | None]] = [
        _says_what_it_saw,
        _routes_every_query,
        _repeats_itself,
        _decides_query_by_query,
        _fits_the_same_again,
    ]
    for check in checks:
        try:
            broken = check(router, fitted, train, validation, test)
        except Exception as exc:
            return [f"route failed with {_said(exc)}"]
        if broken is not None:
            return [broken]
    return []


def _shape_problems(router: Any) -> list[str]:
    missing = [name for name in ("name", "needs", "fit") if not hasattr(router, name)]
    if missing:
        return [f"it has no `{name}`" for name in missing]
    problems = []
    name, needs = router.name, router.needs
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", name):
        problems.append(f"its name {name!r} is not lower-case words joined by hyphens")
    if not isinstance(needs, frozenset) or not needs <= set(NEEDS):
        problems.append(f"its needs {needs!r} are not a frozenset of {', '.join(NEEDS)}")
    return problems


def _says_what_it_saw(_router: Router, fitted: Fitted, train: Rows, validation: Rows, _test: Rows) -> str | None:
    if fitted.seen != Seen.of(train, validation):
        return "`seen` is not `Seen.of(train, validation)` of the rows it was fitted on"
    return None


def _routes_every_query(router: Router, fitted: Fitted, _train: Rows, _validation: Rows, test: Rows) -> str | None:
    for scenario in test.table.scenarios:
        decide(router, fitted, test, scenario)
    return None


def _repeats_itself(router: Router, fitted: Fitted, _train: Rows, _validation: Rows, test: Rows) -> str | None:
    if not _equal(decide(router, fitted, test, BALANCE), decide(router, fitted, test, BALANCE)):
        return "routing the same queries twice gives two results"
    return None


def _decides_query_by_query(router: Router, fitted: Fitted, _train: Rows, _validation: Rows, test: Rows) -> str | None:
    order = np.arange(len(test.texts))[::-1][::2]
    together, alone = decide(router, fitted, test, BALANCE), decide(router, fitted, test.select(order), BALANCE)
    if not _equal(_places(together, order), alone):
        return "what it decides on a query depends on which other queries are routed beside it"
    return None


def _fits_the_same_again(router: Router, fitted: Fitted, train: Rows, validation: Rows, test: Rows) -> str | None:
    again = router.fit(train, validation, seed=0)
    if not _equal(decide(router, fitted, test, BALANCE), decide(router, again, test, BALANCE)):
        return "fitting twice with one seed gives two different methods"
    return None


def _equal(one: Decisions, other: Decisions) -> bool:
    same = all(np.array_equal(getattr(one, f), getattr(other, f)) for f in ("agent", "looked", "asked"))
    return same and bool(np.allclose(one.overhead, other.overhead))


def _places(decisions: Decisions, at: np.ndarray) -> Decisions:
    return Decisions(
        agent=decisions.agent[at],
        looked=decisions.looked[:, at],
        asked=decisions.asked[:, at],
        overhead=decisions.overhead[at],
    )


def _said(exc: Exception) -> str:
    message = exc.message if isinstance(exc, DisrouterError) else str(exc)
    return f"{type(exc).__name__}: {message}" if message else type(exc).__name__
