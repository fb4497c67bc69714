"""Baselines: each keeps the contract, each is alive where routing can be learned, and none loads anything by name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from disrouter.baselines import BASELINES, Rows, baseline_of
from disrouter.baselines._answers import final_answer
from disrouter.baselines._tuning import TRIES, cheapest_best, full_costs
from disrouter.baselines.automix import Pomdp
from disrouter.baselines.conformance import violations
from disrouter.baselines.contract import Fitted, Router, Verifications
from disrouter.baselines.decide import decide
from disrouter.baselines.features import TFIDF, SentenceTransformers, feature_cost, features_of
from disrouter.baselines.toy import planted
from disrouter.bench.methods import methods_of
from disrouter.errors import ConfigError, MissingExtraError, UnknownNameError
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


def quick(name: str, epochs: int) -> Router:
    """The baseline, without more training than the toy asks for."""
    return baseline_of(name, epochs=epochs) if name == "graphrouter" else baseline_of(name)


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_keeps_the_contract(name: str) -> None:
    assert violations(quick(name, epochs=6)) == []


@pytest.mark.parametrize("name", LEARNED)
def test_every_learned_baseline_comes_close_to_the_oracle_where_routing_can_be_learned(name: str) -> None:
    router = quick(name, epochs=48)

    shares = share_of_oracle(router, router.fit(TRAIN, VALIDATION, seed=0), TEST)

    assert min(shares) >= 0.9, shares


@pytest.mark.parametrize("name", sorted(FIXED))
def test_a_router_that_does_not_read_the_query_stays_far_from_the_oracle(name: str) -> None:
    router = baseline_of(name)

    shares = share_of_oracle(router, router.fit(TRAIN, VALIDATION, seed=0), TEST)

    assert max(shares) < 0.8, shares


def alike(rows: Rows) -> Rows:
    """The two cheaper agents only, equally right and broken together."""
    table = rows.table.select(agents=["small", "medium"])
    broken = np.broadcast_to(np.arange(len(rows.texts)) % 10 == 0, table.shape)
    answer, failure = table.answer.copy(), table.failure.copy()
    answer[broken], failure[broken] = None, "out of memory"
    table = replace(table, score=np.where(broken, 0.0, 1.0), answer=answer, failure=failure)
    assert rows.verifications is not None
    share = np.where(broken, np.nan, rows.verifications.share[:, :2])
    checked = Verifications(share=share, cost=rows.verifications.cost[:, :2])
    return replace(rows, table=table, verifications=checked)


@pytest.mark.parametrize("name", LEARNED)
def test_where_all_agents_are_equally_right_every_learned_baseline_asks_the_cheapest(name: str) -> None:
    train, validation, test = (alike(planted(n, seed=n)) for n in (120, 60, 40))
    router = quick(name, epochs=15)

    fitted = router.fit(train, validation, seed=0)

    for scenario in test.table.scenarios:
        assert (decide(router, fitted, test, scenario).agent == 0).mean() >= 0.9


@pytest.mark.parametrize("name", LEARNED)
def test_one_agent_alone_is_a_table_too(name: str) -> None:
    def alone(rows: Rows) -> Rows:
        assert rows.verifications is not None
        checked = Verifications(share=rows.verifications.share[:, :1], cost=rows.verifications.cost[:, :1])
        return replace(rows, table=rows.table.select(agents=["small"]), verifications=checked)

    router = quick(name, epochs=3)

    fitted = router.fit(alone(toy(40, 31, "a")), alone(toy(1, 32, "b")), seed=0)

    assert set(decide(router, fitted, alone(toy(5, 33, "c")), TEST.table.scenarios[0]).agent) == {0}


@pytest.mark.parametrize("name", LEARNED)
def test_every_learned_baseline_tries_the_same_number_of_settings(name: str) -> None:
    module = import_module(f"disrouter.baselines.{BASELINES[name].partition(':')[0]}")

    assert len(module.SETTINGS) == len(set(module.SETTINGS)) == TRIES


def test_reading_the_text_is_charged_to_every_query() -> None:
    router = baseline_of("carrot-knn", features=replace(TFIDF, cost=0.03))
    fitted = router.fit(TRAIN, VALIDATION, seed=0)

    decisions = decide(router, fitted, TEST, TEST.table.scenarios[0])

    assert decisions.overhead == pytest.approx(0.03)


def test_a_sentence_encoder_is_charged_like_the_cheapest_look_unless_its_cost_is_given() -> None:
    # A look costs a tenth of an answer, and the cheapest answer 0.02.
    assert feature_cost(features_of("sentence-transformers:encoder"), TRAIN.table) == pytest.approx(0.002)
    assert feature_cost(SentenceTransformers("encoder", cost=0.01), TRAIN.table) == 0.01


def test_features_nobody_has_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="'bert'"):
        features_of("bert")
    with pytest.raises(ConfigError, match="folder"):
        features_of("sentence-transformers")


@pytest.mark.skipif(find_spec("sentence_transformers") is not None, reason="the encoder library is installed")
def test_a_sentence_encoder_without_its_library_says_what_to_install() -> None:
    with pytest.raises(MissingExtraError, match="pip install sentence-transformers"):
        features_of("sentence-transformers:encoder").fit(["one"], seed=0)


def test_features_are_fitted_on_training_texts_alone() -> None:
    encoder = TFIDF.fit(TRAIN.texts, seed=0)

    rows = encoder.encode(["apples 12", "entirely unknown vocabulary"])

    assert np.isfinite(rows).all()
    assert np.allclose(encoder.encode(TRAIN.texts).mean(axis=0), 0, atol=1e-9)
    assert np.array_equal(encoder.encode(["apples 12"]), rows[:1])


def test_a_cascade_pays_for_the_answers_it_rejects() -> None:
    router = baseline_of("frugalgpt")
    fitted = router.fit(TRAIN, VALIDATION, seed=0)

    decisions = decide(router, fitted, TEST, TEST.table.scenarios[0])

    hard = np.array([dataset == "hard" for dataset in TEST.table.datasets])
    assert decisions.asked[0, hard].all()  # the cheap answer was bought
    assert (decisions.agent[hard] == 2).mean() > 0.9  # and rejected
    assert full_costs(TEST.table, 0, decisions)[hard].min() >= 0.42


def test_a_pomdp_buys_a_verification_only_where_it_can_change_the_answer() -> None:
    # Agent 0 is right half of the time and says so without fail; agent 1 is always right and costs 0.4.
    def model(cost: float) -> Pomdp:
        return Pomdp(
            chain=(0, 1),
            score={0: np.array([0.0, 1.0]), 1: np.array([1.0, 1.0])},
            seen={0: np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), 1: np.full((3, 2), 1 / 3)},
            asking={0: 0.1, 1: cost},
            checking={0: 0.05, 1: 0.05},
            cuts=(0.5,),
        )

    value, step = model(0.4).ask(0, np.array([0.5, 0.5]))

    # Verified: -0.1 - 0.05 + ½·1 + ½·(1 - 0.4) = 0.65, which is more than ½ - 0.1 for the answer unverified.
    assert value == pytest.approx(0.65)
    assert (step.cuts, step.then[1]) == ((0.5,), None)
    assert step.then[0] is not None and step.then[0].agent == 1 and step.then[0].then == ()

    # At a price of 1 for the other answer nothing is gained by knowing: ½ - 0.1.
    assert model(1.0).ask(0, np.array([0.5, 0.5]))[0] == pytest.approx(0.4)


def test_ties_go_to_the_cheaper_agent_whatever_the_last_bits_say() -> None:
    value = np.array([[0.5, 0.1], [0.5 + 1e-12, 0.3]])

    assert cheapest_best(value, np.array([[0.2, 0.2], [0.1, 0.4]])).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("answer", "final"),
    [("so 2+3 = 5.", "5"), ("it costs 1,200.50 in all", "1200.5"), ("the answer is Paris.", "paris"), (None, "")],
)
def test_answers_agree_by_their_last_number_or_else_their_last_word(answer: str | None, final: str) -> None:
    assert final_answer(answer) == final


def test_an_unknown_method_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'routellm-mf'"):
        baseline_of("routellm-fm")


def test_looking_names_up_loads_nothing_heavy() -> None:
    code = (
        "import sys; from disrouter.baselines.registry import BASELINES; assert len(BASELINES) > 15; "
        "print(*{'torch', 'sklearn', 'scipy', 'torch_geometric', 'numpy'} & set(sys.modules))"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.split() == []


class WordCounts:
    """Stands in for the library of sentence encoders, which no test environment has: counts of three words."""

    def __init__(self, model: str, *, local_files_only: bool) -> None:
        assert (model, local_files_only) == ("encoder", True)

    def encode(self, texts: list[str], *, convert_to_numpy: bool) -> np.ndarray:
        words = ("integral", "limit", "series", "converge", "lemma", "proof"), ("rhyme", "verse", "sonnet", "poem")
        return np.array([[sum(word in text for word in group) for group in words] for text in texts], dtype=np.float32)


def test_methods_read_a_sentence_encoder_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=WordCounts))
    (router,) = methods_of(["mlp"], features="sentence-transformers:encoder")

    decisions = decide(router, router.fit(TRAIN, VALIDATION, seed=0), TEST, TEST.table.scenarios[0])

    hard = np.array([dataset == "hard" for dataset in TEST.table.datasets])
    assert (decisions.agent[hard] == 2).all()
    assert decisions.overhead == pytest.approx(0.002)  # a look of the cheapest agent


def test_methods_that_read_no_text_take_no_features() -> None:
    assert methods_of(["smallest"], features="tfidf") == methods_of(["smallest"])
    with pytest.raises(UnknownNameError, match="'bert'"):
        methods_of(["mlp"], features="bert")
