from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from disrouter.errors import DataError
from disrouter.evaluation import metrics
from disrouter.evaluation.methods import (
    best_single,
    chosen,
    largest,
    oracle,
    random_choice,
    rate_aware_oracle,
    smallest,
)
from disrouter.evaluation.outcomes import Outcome, OutcomeTable

SHARED = Path(__file__).parents[2] / "shared" / "data"

ALPHAS = {"performance-first": 0.2, "balance": 0.5, "cost-first": 0.8}


def table_of(
    scores: dict[str, list[float]], costs: dict[str, float], *, prefix: str = "q", alphas: dict[str, float] = ALPHAS
) -> OutcomeTable:
    """A table in which each agent has these scores, the same in every scenario, at a flat cost."""
    return OutcomeTable.of(
        Outcome(
            query_id=f"{prefix}{i}",
            agent=agent,
            scenario=scenario,
            alpha=alpha,
            score=score,
            answer="x",
            answer_cost=costs[agent],
        )
        for scenario, alpha in alphas.items()
        for agent, column in scores.items()
        for i, score in enumerate(column)
    )


def test_utility_is_quality_minus_weighted_cost() -> None:
    # 1 - 0.5 * 0.4 and 0 - 0.5 * 0.2
    found = metrics.utilities(np.array([1.0, 0.0]), np.array([0.4, 0.2]), alpha=0.5)

    np.testing.assert_allclose(found, [0.8, -0.1])


def test_auroc_counts_pairs_and_halves_ties() -> None:
    # right: .9 and .5; wrong: .5 and .1. Pairs: .9>.5, .9>.1, .5=.5 (half), .5>.1 -> 3.5 of 4
    found = metrics.auroc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))

    assert found == 3.5 / 4


def test_auroc_leaves_out_unknown_confidences() -> None:
    found = metrics.auroc(np.array([0.9, np.nan, 0.1]), np.array([True, True, False]))

    assert found == 1.0


@pytest.mark.parametrize("labels", [[True, True], [False, False]])
def test_auroc_of_one_class_is_none(labels: list[bool]) -> None:
    assert metrics.auroc(np.array([0.9, 0.1]), np.array(labels)) is None


def test_scores_of_confidences_are_none_where_none_is_known() -> None:
    unknown = np.array([np.nan, np.nan])

    assert metrics.auroc(unknown, np.array([True, False])) is None
    assert metrics.brier(unknown, np.array([True, False])) is None
    assert metrics.ece(unknown, np.array([True, False])) is None


def test_brier_is_the_mean_squared_error() -> None:
    # (.8 - 1)^2 = .04, (.4 - 0)^2 = .16 -> mean .10
    assert metrics.brier(np.array([0.8, 0.4]), np.array([True, False])) == pytest.approx(0.10)


def test_ece_weighs_the_gaps_of_the_bins() -> None:
    # two bins of width .5: {.2, .4} accuracy .5, confidence .3, gap .2; {.9, .9} accuracy 1, gap .1 -> .5*.2 + .5*.1
    q, y = np.array([0.2, 0.4, 0.9, 0.9]), np.array([True, False, True, True])

    assert metrics.ece(q, y, bins=2) == pytest.approx(0.15)


def test_certain_confidences_fall_into_the_outer_bins() -> None:
    by_bin = metrics.reliability(np.array([0.0, 1.0]), np.array([False, True]), bins=10)

    np.testing.assert_array_equal(by_bin.confidence, [0.0, 1.0])
    np.testing.assert_array_equal(by_bin.count, [1, 1])


def test_accept_f1_balances_precision_and_recall() -> None:
    # accepted 2, of which 1 right; right 2, of which 1 accepted: precision = recall = F1 = 1/2
    assert metrics.accept_f1(np.array([True, True, False]), np.array([True, False, True])) == 0.5


def test_oracle_share_needs_an_oracle_that_earns_something() -> None:
    assert metrics.oracle_share(0.3, 0.6) == 0.5
    assert metrics.oracle_share(-0.1, 0.0) is None


@pytest.mark.parametrize("function", [metrics.accuracy, metrics.mean_cost])
def test_means_of_no_queries_are_refused(function: object) -> None:
    assert callable(function)

    with pytest.raises(DataError, match="of no queries"):
        function(np.array([]))


def test_bootstrap_repeats_with_its_seed_and_differs_with_another() -> None:
    values = np.arange(20.0)[None]

    once = metrics.bootstrap_means(values, resamples=50, seed=1)

    np.testing.assert_array_equal(once, metrics.bootstrap_means(values, resamples=50, seed=1))
    assert not np.array_equal(once, metrics.bootstrap_means(values, resamples=50, seed=2))


def test_bootstrap_draws_the_same_queries_for_every_series() -> None:
    values = np.random.default_rng(0).random(30)

    means = metrics.bootstrap_means(np.stack([values, values + 0.25]), resamples=100, seed=0)

    # Paired resamples keep a constant difference constant.
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 0.25)


def test_bootstrap_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.3, 400)

    ours = metrics.interval(metrics.bootstrap_means(values[None], resamples=4000, seed=0)[:, 0])

    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    # Two draws of 4000 resamples: the ends (standard error of the mean: .015) differ by noise only.
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_bootstrap_of_one_query_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 queries, not 1"):
        metrics.bootstrap_means(np.ones((1, 1)))


def test_paired_difference_of_one_query_has_no_interval() -> None:
    assert metrics.paired_difference(np.array([1.0]), np.array([0.25])) == metrics.Estimate(0.75, None)


def test_paired_difference_is_surer_than_two_separate_means() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.normal(0.5, 0.3, 300)
    ours = theirs + rng.normal(0.05, 0.02, 300)

    found = metrics.paired_difference(ours, theirs)

    assert found.interval is not None
    # Paired, the noise is .02 / sqrt(300) = .0012, far below the queries' own .3 / sqrt(300) = .017.
    assert 0.045 < found.interval[0] < found.value < found.interval[1] < 0.055


def test_paired_difference_needs_the_same_queries() -> None:
    with pytest.raises(DataError, match="Cannot pair 2 queries with 3"):
        metrics.paired_difference(np.zeros(2), np.zeros(3))


def test_oracle_takes_the_cheapest_right_agent_else_the_cheapest() -> None:
    scores = {"large": [1.0, 1.0, 0.0], "small": [1.0, 0.0, 0.0]}

    picks = oracle(table_of(scores, {"large": 0.9, "small": 0.1}))

    # place 1 is the small agent: right and cheaper; wrong; nobody right
    assert picks[0].tolist() == [1, 0, 1]


def test_rate_aware_oracle_weighs_rates_against_costs() -> None:
    # alpha .5: small .6 - .05 = .55 against large .9 - .45 = .45; then small .2 - .05 = .15 against large 1 - .45 = .55
    scores = {"small": [0.6, 0.2], "large": [0.9, 1.0]}

    picks = rate_aware_oracle(table_of(scores, {"small": 0.1, "large": 0.9}, alphas={"balance": 0.5}))

    assert picks[0].tolist() == [0, 1]


def test_random_choice_depends_on_seed_and_query_only() -> None:
    scores = {"a": [1.0] * 300, "b": [0.0] * 300}
    table = table_of(scores, {"a": 0.1, "b": 0.2})
    backwards = table.select(queries=np.arange(300)[::-1])

    picks = random_choice(table, seed=3)

    np.testing.assert_array_equal(picks[:, ::-1], random_choice(backwards, seed=3))
    assert not np.array_equal(picks, random_choice(table, seed=4))
    assert 100 < int(picks[0].sum()) < 200


def test_smallest_and_largest_go_by_cost_not_by_order() -> None:
    table = table_of({"dear": [1.0], "cheap": [0.0], "middle": [0.0]}, {"dear": 0.9, "cheap": 0.1, "middle": 0.4})

    assert smallest(table)[0, 0] == 1
    assert largest(table)[0, 0] == 0


def test_best_single_is_chosen_on_the_validation_queries() -> None:
    costs = {"a": 0.1, "b": 0.1}
    table = table_of({"a": [1.0, 1.0], "b": [0.0, 0.0]}, costs)
    validation = table_of({"a": [0.0, 0.0], "b": [1.0, 1.0]}, costs, prefix="v")

    # On the test queries "a" is better; it must not show.
    assert best_single(table, validation).tolist() == [[1, 1]] * 3


def test_best_single_refuses_validation_queries_that_are_test_queries() -> None:
    table = table_of({"a": [1.0, 1.0]}, {"a": 0.1})

    with pytest.raises(DataError, match="'q0' is in the test and in the validation table"):
        best_single(table, table)


# -- real recorded outcomes, with golden numbers from their README ---------------------------------------------------

POOL = {
    "mistralai/Mistral-7B-v0.1": 0.10,
    "meta-llama/Meta-Llama-3-8B": 0.15,
    "cognitivecomputations/dolphin-2.9-llama3-8b": 0.20,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": 0.40,
    "gpt-4-1106-preview": 1.00,
}

GOLDEN = {
    # rows: {alpha: (smallest, largest, random mean, best single, rate-aware oracle)}
    "all": {
        0.2: (0.3471, 0.6567, 0.5336, 0.6581, 0.8790),
        0.5: (0.3171, 0.3567, 0.4226, 0.5981, 0.7788),
        0.8: (0.2871, 0.0567, 0.3116, 0.5381, 0.6926),
    },
    "test": {
        0.2: (0.3657, 0.6605, 0.5504, 0.6855, 0.8890),
        0.5: (0.3357, 0.3605, 0.4394, 0.6255, 0.7939),
        0.8: (0.3057, 0.0605, 0.3284, 0.5655, 0.7104),
    },
}


def gsm8k() -> list[dict[str, object]]:
    path = SHARED / "gsm8k_outcomes.jsonl"
    if not path.is_file():
        pytest.skip("needs the recorded GSM8K outcomes in ../shared/data")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def gsm8k_table(rows: list[dict[str, object]], split: str, prefix: str) -> OutcomeTable:
    kept = [row["scores"] for row in rows if split in ("all", row["split"])]
    scores = {agent: [s[agent] for s in kept if isinstance(s, dict)] for agent in POOL}
    return table_of(scores, POOL, prefix=prefix)


def means(table: OutcomeTable, picks: NDArray[np.integer]) -> list[float]:
    choice = chosen(table, picks)
    return [
        float(metrics.utilities(choice.score[s], choice.cost[s], scenario.alpha).mean())
        for s, scenario in enumerate(table.scenarios)
    ]


@pytest.mark.parametrize("split", ["all", "test"])
def test_real_outcomes_give_the_golden_utilities(split: str) -> None:
    table = gsm8k_table(gsm8k(), split, "q")
    singles = [means(table, np.full((3, table.shape[2]), a)) for a in range(5)]

    found = {
        alpha: (
            means(table, smallest(table))[s],
            means(table, largest(table))[s],
            sum(single[s] for single in singles) / 5,
            # The README's best single agent is the best on these very rows, with hindsight.
            max(single[s] for single in singles),
            means(table, rate_aware_oracle(table))[s],
        )
        for s, alpha in enumerate((0.2, 0.5, 0.8))
    }

    assert table.shape[2] == {"all": 1319, "test": 552}[split]
    for alpha, golden in GOLDEN[split].items():
        assert found[alpha] == pytest.approx(golden, abs=5.1e-5), f"alpha {alpha}"


def test_best_single_agent_of_real_outcomes_is_chosen_without_hindsight() -> None:
    rows = gsm8k()
    table, validation = gsm8k_table(rows, "test", "q"), gsm8k_table(rows, "validation", "v")

    found = means(table, best_single(table, validation))

    # At alpha .2 the 111 validation rows prefer GPT-4 (.6605 on the test rows) to dolphin-2.9 (.6855).
    assert found == pytest.approx([0.6605, 0.6255, 0.5655], abs=5.1e-5)


def test_drawn_random_choices_come_close_to_the_golden_mean() -> None:
    table = gsm8k_table(gsm8k(), "all", "q")

    found = np.mean([means(table, random_choice(table, seed=seed)) for seed in range(20)], axis=0)

    assert found == pytest.approx([0.5336, 0.4226, 0.3116], abs=0.01)
