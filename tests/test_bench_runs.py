"""Bench runs: the same rows for everyone, decisions sealed before scores, failures never numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest import approx

from disrouter.agents.fakes import ScriptedAgent
from disrouter.baselines import Ledger, Need, Queries, Router, Rows, Seen, baseline_of
from disrouter.baselines.conformance import conform, violations
from disrouter.baselines.decide import decide
from disrouter.baselines.toy import AGENTS, planted
from disrouter.bench.methods import from_file, method_of, methods_of
from disrouter.bench.ours import Ours
from disrouter.bench.results import join
from disrouter.bench.runs import BenchRun, compare, read_bench_run, read_decisions
from disrouter.bench.tables import BenchTable, Split
from disrouter.errors import DataError, InterruptedRunError, UnknownNameError, UsageError
from disrouter.evaluation.replay import replay
from disrouter.network import Limits, Network
from disrouter.policies import PaperThreshold
from disrouter.utility import BALANCE, SCENARIOS


@dataclass
class Plain:
    """A router that sends all queries to one agent, or does whatever a test tells it to."""

    name: str = "plain"
    needs: frozenset[Need] = frozenset()
    answer: Any = 0
    raises: BaseException | None = None
    fits: list[str] = field(default_factory=list)
    seen: Seen | None = None

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> PlainFitted:
        self.fits.append(self.name)
        return PlainFitted(self, self.seen or Seen.of(train, validation))


@dataclass
class PlainFitted:
    router: Plain
    seen: Seen

    def route(self, queries: Queries, scenario: object, ledger: Ledger) -> Any:
        if self.router.raises is not None:
            raise self.router.raises
        answer = self.router.answer
        return answer(queries, ledger) if callable(answer) else np.full(len(queries), answer)


def table(n: int = 60) -> BenchTable:
    counts: tuple[tuple[Split, int], ...] = (("train", n // 3), ("validation", n // 3), ("test", n - 2 * (n // 3)))
    split = [name for name, count in counts for _ in range(count)]
    return BenchTable(rows=planted(n, seed=5), split=tuple(split))


def run(folder: Path, *methods: Router, **options: Any) -> BenchRun:
    return compare(options.pop("table", table()), methods, run_dir=folder, progress=False, **options)


def row(made: BenchRun, method: str, scenario: str = "balance") -> dict[str, Any]:
    found: dict[str, Any] = next(r for r in made.metrics["rows"] if (r["method"], r["scenario"]) == (method, scenario))
    return found


def network(policy: PaperThreshold | None = None, limits: Limits | None = None) -> Network:
    agents = [ScriptedAgent(name, cost=cost) for name, cost in AGENTS.items()]
    return Network("toy", agents, policy=policy or PaperThreshold(), limits=limits)


def test_a_run_holds_every_number_of_every_method(tmp_path: Path) -> None:
    made = run(tmp_path / "run", Plain(), Plain(name="dear", answer=2), reference="plain")

    test = made.config["queries"]["test"]
    score = table().of("test").table.score[1]
    assert test == 20
    assert row(made, "plain")["utility"] == approx(score[0].mean() - 0.5 * 0.1)
    assert row(made, "dear")["utility"] == approx(score[2].mean() - 0.5 * 0.9)
    assert row(made, "dear")["difference"] == approx(row(made, "dear")["utility"] - row(made, "plain")["utility"])
    assert row(made, "plain")["difference_ci"] == [0, 0]
    assert {r["method"] for r in made.metrics["rows"]} == {"plain", "dear", "oracle", "rate-aware-oracle"}


def test_a_finished_run_is_read_without_its_table(tmp_path: Path) -> None:
    made = run(tmp_path / "run", Plain())

    back = read_bench_run(tmp_path / "run")

    assert back.metrics == json.loads(json.dumps(made.metrics))
    np.testing.assert_array_equal(back.results["plain"]["balance"].score, made.results["plain"]["balance"].score)


def test_the_full_cost_holds_all_that_was_asked_for(tmp_path: Path) -> None:
    def look_ask_and_charge(queries: Queries, ledger: Ledger) -> NDArray[np.int64]:
        everyone = np.arange(len(queries))
        ledger.look(0, everyone)  # .01
        ledger.look(2, everyone)  # within the answer of agent 2
        ledger.ask(1, everyone)  # .4
        ledger.verify(1, everyone)  # .04 more
        ledger.charge(0.003)
        return np.full(len(queries), 2)  # .9

    needs: frozenset[Need] = frozenset({"confidences", "responses", "verifications"})
    made = run(tmp_path / "run", Plain(needs=needs, answer=look_ask_and_charge))

    assert row(made, "plain")["cost"] == approx(0.9)
    assert row(made, "plain")["cost_full"] == approx(0.01 + 0.9 + 0.4 + 0.04 + 0.003)
    assert row(made, "plain")["looks"] == 2


def test_a_ledger_sells_nothing_that_was_not_declared() -> None:
    ledger = Ledger(planted(3, seed=0), BALANCE, frozenset())

    for ask in (ledger.look, ledger.ask, ledger.verify):
        with pytest.raises(UsageError, match="which it has not declared"):
            ask(0, np.arange(3))
    with pytest.raises(UsageError, match="costs are finite"):
        ledger.charge(-0.1)


def test_a_ledger_holds_no_score() -> None:
    rows = planted(30, seed=0)
    other = replace(rows, table=replace(rows.table, score=1 - rows.table.score))

    one, two = (Ledger(r, BALANCE, frozenset()) for r in (rows, other))

    assert not vars(one)["_table"].score.any()
    assert not vars(two)["_table"].score.any()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda q, _: np.zeros(len(q) - 1, dtype=int), r"returned shape \(19,\) for 20 queries"),
        (lambda q, _: np.full(len(q), 7), "to the unknown agent 7"),
        (lambda q, _: np.full(len(q), -1), "to the unknown agent -1"),
        (lambda q, _: np.zeros(len(q)), "agents are whole numbers"),
    ],
)
def test_a_method_that_returns_no_agents_failed_and_has_no_number(tmp_path: Path, answer: Any, reason: str) -> None:
    made = run(tmp_path / "run", Plain(name="bad", answer=answer), Plain())

    bad = made.outcomes[0]
    assert bad.status == "failed"
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(bad.reason)
    assert "bad" not in {r["method"] for r in made.metrics["rows"]}
    assert "plain" in {r["method"] for r in made.metrics["rows"]}


def test_a_method_that_breaks_or_saw_other_rows_failed(tmp_path: Path) -> None:
    made = run(
        tmp_path / "run",
        Plain(name="breaks", raises=ZeroDivisionError("no way")),
        Plain(name="cheats", seen=Seen(train="x", validation="y")),
        Plain(),
    )

    assert [(o.status, o.reason) for o in made.outcomes] == [
        ("failed", "ZeroDivisionError: no way"),
        ("failed", "DataError: it was fitted on other rows than it was given"),
        ("done", None),
    ]


def test_a_method_that_needs_what_the_table_lacks_is_skipped_with_the_reason(tmp_path: Path) -> None:
    bare = table()
    bare = replace(bare, rows=replace(bare.rows, features=None))

    made = run(tmp_path / "run", Plain(name="probe", needs=frozenset({"features"})), Plain(), table=bare)

    assert made.outcomes[0].status == "skipped"
    assert made.outcomes[0].reason == "the table records no features"


def test_an_interrupted_run_goes_on_with_what_is_not_done(tmp_path: Path) -> None:
    first, stopped = Plain(name="first"), Plain(name="second", raises=KeyboardInterrupt())
    with pytest.raises(InterruptedRunError, match="the methods finished so far are kept"):
        run(tmp_path / "run", first, stopped)
    assert not (tmp_path / "run" / "results.parquet").exists()

    second = Plain(name="second")
    again = Plain(name="first")
    run(tmp_path / "run", again, second)

    assert second.fits == ["second"]
    assert again.fits == []


def test_a_method_can_be_added_to_a_finished_run(tmp_path: Path) -> None:
    run(tmp_path / "run", Plain())
    kept, new = Plain(), Plain(name="new", answer=1)

    made = run(tmp_path / "run", kept, new)

    assert (kept.fits, new.fits) == ([], ["new"])
    assert {o.method for o in made.outcomes} == {"plain", "new"}


def test_a_folder_of_another_comparison_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run", Plain())

    with pytest.raises(DataError, match="holds another comparison: it differs in its seeds"):
        run(tmp_path / "run", Plain(), seeds=(1,))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty and no run folder"):
        run(tmp_path / "other", Plain())


def test_decisions_that_were_changed_after_the_seal_are_told(tmp_path: Path) -> None:
    run(tmp_path / "run", Plain(), Plain(name="dear", answer=2))
    decisions = tmp_path / "run" / "decisions"
    (decisions / "dear.seed0.npz").replace(decisions / "plain.seed0.npz")

    with pytest.raises(DataError, match="are not those that were sealed"):
        read_decisions(tmp_path / "run", "plain", 0)


def test_every_seed_is_fitted_and_told(tmp_path: Path) -> None:
    made = run(tmp_path / "run", baseline_of("random"), seeds=(0, 1, 2))

    assert len(row(made, "random")["utility_of_seeds"]) == 3
    assert len(set(row(made, "random")["utility_of_seeds"])) > 1


def test_outcomes_without_scenarios_are_swept_over_alpha(tmp_path: Path) -> None:
    made = run(tmp_path / "run", Plain())

    sweep = made.metrics["sweep"]["plain"]
    assert [p["alpha"] for p in sweep] == approx([0.1 * i for i in range(11)])
    first, last = sweep[0], sweep[-1]
    # utility falls by the cost, .1, over the whole range
    assert first["utility"] - last["utility"] == approx(0.1)
    assert made.metrics["areas"]["plain"]["utility_area"] == approx(first["accuracy"] - 0.05)


def test_the_oracle_is_an_upper_bound_and_marked_as_such(tmp_path: Path) -> None:
    made = run(tmp_path / "run", *methods_of(["smallest", "largest", "random", "best-single"]))

    for scenario in SCENARIOS:
        best = row(made, "rate-aware-oracle", scenario)["utility"]
        assert all(r["utility"] <= best + 1e-12 for r in made.metrics["rows"] if r["scenario"] == scenario)


def test_ours_keeps_the_contract_of_every_other_method() -> None:
    assert violations(Ours(network())) == []


@pytest.mark.parametrize("limits", [None, Limits(max_hops=2)])
def test_ours_on_the_bench_gets_and_pays_what_replay_says(limits: Limits | None) -> None:
    rows = planted(80, seed=9)
    ours = Ours(network(limits=limits))
    routed = replay(rows.table, ours.network).choice

    for s, scenario in enumerate(rows.table.scenarios):
        joined = join(decide(ours, ours.fit(rows, rows, seed=0), rows, scenario), rows, scenario)
        assert joined.score == approx(routed.score[s])
        assert joined.cost == approx(routed.cost[s])
        assert joined.cost_full == approx(routed.cost_full[s])


class PeeksAtItsNeighbours(Plain):
    """Decides by the batch: what a test set looks like as a whole."""

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> PlainFitted:
        return PlainFitted(replace(self, answer=lambda q, _: np.arange(len(q)) % 2), Seen.of(train, validation))


@pytest.mark.parametrize(
    ("router", "reason"),
    [
        (object(), "it has no `name`"),
        (Plain(name="No Good"), "not lower-case words"),
        (Plain(needs=frozenset({"scores"})), "its needs"),  # type: ignore[arg-type]
        (Plain(seen=Seen(train="a", validation="b")), "`seen` is not"),
        (Plain(answer=9), "unknown agent 9"),
        (Plain(answer=lambda q, ledger: ledger.look(0, np.arange(len(q)))), "has not declared"),
        (PeeksAtItsNeighbours(), "depends on which other queries"),
        (Plain(answer=lambda q, _: np.random.default_rng().integers(0, 3, len(q))), "gives two results"),
    ],
)
def test_a_method_that_breaks_the_contract_is_refused_with_the_reason(router: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        conform(router)


OWN = '''
"""A router of somebody's own."""
import numpy as np
from disrouter.baselines import Seen

class Mine:
    name = "mine"
    needs = frozenset()

    def fit(self, train, validation, *, seed):
        self.seen = Seen.of(train, validation)
        return self

    def route(self, queries, scenario, ledger):
        return np.array([len(text) % 3 for text in queries.texts])
'''


def test_a_method_of_ones_own_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)

    made = run(tmp_path / "run", *methods_of(["smallest"], [f"{tmp_path}/mine.py:Mine"]))

    assert "mine" in {r["method"] for r in made.metrics["rows"]}


@pytest.mark.parametrize(
    ("spec", "source", "reason"),
    [
        ("mine.py", OWN, "write path.py:Name"),
        ("gone.py:Mine", OWN, "There is no file"),
        ("mine.py:Mein", OWN, "did you mean 'Mine'"),
        ("mine.py:Mine", "1 / 0", "fails when it is read: ZeroDivisionError"),
        ("mine.py:Mine", OWN.replace("seed):", "seed, extra):"), "fit failed with TypeError"),
        ("mine.py:Mine", "def Mine(argument): ...", "cannot be made"),
    ],
)
def test_a_file_that_holds_no_method_is_refused_with_the_reason(
    tmp_path: Path, spec: str, source: str, reason: str
) -> None:
    (tmp_path / "mine.py").write_text(source)

    with pytest.raises(UsageError) as caught:
        from_file(f"{tmp_path}/{spec}")

    assert reason in str(caught.value)


def test_an_unknown_method_is_told_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="Unknown method 'oracel'"):
        method_of("oracel")


def test_two_methods_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN.replace('"mine"', '"smallest"'))

    with pytest.raises(UsageError, match="Two methods are called 'smallest'"):
        methods_of(["smallest"], [f"{tmp_path}/mine.py:Mine"])
