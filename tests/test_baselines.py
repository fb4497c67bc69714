"""Baselines: each keeps the contract, each is alive where routing can be learned, and none loads anything by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from disrouter.baselines import BASELINES, Rows, baseline_of
from disrouter.baselines._tuning import full_costs
from disrouter.baselines.conformance import violations
from disrouter.baselines.contract import Fitted, Router
from disrouter.baselines.decide import decide
from disrouter.baselines.toy import planted
from disrouter.evaluation import methods
from disrouter.evaluation.metrics import utilities
from disrouter.types import QueryPrice

FIXED = {"random", "smallest", "largest", "best-single"}
LEARNED = [name for name in BASELINES if name not in FIXED]
PRICES = {"small": QueryPrice(cost=0.02), "medium": QueryPrice(cost=0.1), "large": QueryPrice(cost=0.4)}
"""At these prices even a cascade, which buys the answers it rejects, can come close to the oracle."""


def toy(n: int, seed: int, prefix: str) -> Rows:
    rows = planted(n, seed=seed, prefix=prefix)
    return replace(rows, table=rows.table.repriced(PRICES))


TRAIN, VALIDATION, TEST = toy(400, 11, "train"), toy(150, 12, "validation"), toy(300, 13, "test")


def share_of_oracle(router: Router, fitted: Fitted, rows: Rows) -> list[float]:
    """The utility earned, everything charged, over the oracle's, per scenario."""
    bound = methods.chosen(rows.table, methods.oracle(rows.table))
    shares = []
    for s, scenario in enumerate(rows.table.scenarios):
        decisions = decide(router, fitted, rows, scenario)
        score = rows.table.score[s, decisions.agent, np.arange(len(rows.texts))]
        earned = utilities(score, full_costs(rows.table, s, decisions), scenario.alpha).mean()
        shares.append(float(earned / utilities(bound.score[s], bound.cost[s], scenario.alpha).mean()))
    return shares


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_keeps_the_contract(name: str) -> None:
    quick = {"epochs": 6} if name == "graphrouter" else {}

    assert violations(baseline_of(name, **quick)) == []


@pytest.mark.parametrize("name", LEARNED)
def test_every_learned_baseline_comes_close_to_the_oracle_where_routing_can_be_learned(name: str) -> None:
    router = baseline_of(name)

    shares = share_of_oracle(router, router.fit(TRAIN, VALIDATION, seed=0), TEST)

    assert min(shares) >= 0.9, shares


@pytest.mark.parametrize("name", sorted(FIXED))
def test_a_router_that_does_not_read_the_query_stays_far_from_the_oracle(name: str) -> None:
    router = baseline_of(name)

    shares = share_of_oracle(router, router.fit(TRAIN, VALIDATION, seed=0), TEST)

    assert max(shares) < 0.8, shares
