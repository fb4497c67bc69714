"""Where routes come from: outcome tables, run folders, exported traces, a gateway's store; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from disrouter.agents.openai_compatible import OpenAICompatibleAgent
from disrouter.agents.recorded import RecordedAgent
from disrouter.agents.turns import TURN_SECONDS
from disrouter.errors import ConfigError, DataError, UnknownNameError
from disrouter.evaluation.outcome_files import write_timings
from disrouter.evaluation.outcomes import Outcome, OutcomeTable
from disrouter.gateway.records import HopRecord, RouteRecord
from disrouter.gateway.store import open_store
from disrouter.network import Network
from disrouter.planning import Slowdown, Visit, open_source, site_of
from disrouter.planning.outcomes import skipping
from disrouter.planning.site import GATEWAY
from disrouter.types import AgentCard, QueryPrice
from disrouter.utility import BALANCE, COST_FIRST

NAMES = {"small": 0.1, "large": 0.9}


def network(*names: str) -> Network:
    cards = [AgentCard(name=name, price=QueryPrice(cost=NAMES.get(name, 0.5))) for name in names or NAMES]
    return Network("pool", [RecordedAgent(card, ()) for card in cards])


def table(queries: int = 6, *, failing: int | None = None) -> OutcomeTable:
    """Small answers every third query; looks take 0.1 and 0.2 s, answers 1 s and 2 s of 10 tokens."""
    return OutcomeTable.of(
        Outcome(
            query_id=f"q{q}",
            agent=name,
            scenario=BALANCE.name,
            alpha=BALANCE.alpha,
            score=1.0,
            confidence=0.9 if q % 3 == 0 else 0.2,
            answer=None if q == failing and name == "small" else "so",
            answer_tokens=10,
            look_cost=cost / 10,
            answer_cost=cost,
            look_seconds=0.1 if name == "small" else 0.2,
            answer_seconds=1.0 if name == "small" else 2.0,
            failure="broke" if q == failing and name == "small" else None,
        )
        for name, cost in NAMES.items()
        for q in range(queries)
    )


def hop(agent: str, decision: Any, seconds: float, **more: Any) -> HopRecord:
    return HopRecord(agent=agent, decision=decision, seconds=seconds, cost=0.1, **more)


def record(number: int, *hops: HopRecord, **more: Any) -> RouteRecord:
    settings = {"scenario": "balance", "alpha": 0.5, "outcome": "answered", "code": 200, **more}
    return RouteRecord(
        trace_id=f"{number:032x}", time=100.0 + number, model="disrouter", endpoint="chat", hops=hops, **settings
    )


RECORDS = [
    record(0, hop("small", "reject", 0.2), hop("large", "answer", 2.0, completion_tokens=10), seconds=2.3),
    record(1, hop("small", "answer", 1.2, completion_tokens=10), seconds=1.3, first_token_seconds=0.5, stream=True),
    record(2, hop("small", "failure", 0.0, error="agent_busy"), hop("large", "answer", 3.0), seconds=3.0),
    record(3, outcome="failed", code=503, error="agent_busy"),
]


def test_a_table_is_routed_by_the_network() -> None:
    source = open_source_of(table())

    found = source.workload(network())

    assert [visit.agent for visit in found.routes[0].visits] == ["small", "small"]
    assert found.routes[0].visits == (Visit("small", "look", 0.1), Visit("small", "answer", 1.0, 0.1, 11))
    assert found.routes[1].visits == (
        Visit("small", "look", 0.1),
        Visit("large", "look", 0.2),
        Visit("large", "answer", 2.0, 0.2, 11),
    )
    assert found.share("large", "answer") == pytest.approx(2 / 3)
    assert found.behaviours["small"].answer_share == pytest.approx(1 / 3)
    assert found.accuracy == 1.0
    assert found.work("large") == pytest.approx(2 / 3 * 2.2)


def test_alpha_and_skipping_change_the_routes_of_a_table() -> None:
    from disrouter.policies import PaperThreshold, policy_of

    paper = network().replace(policy=PaperThreshold(0.5))
    source = open_source_of(table())

    # A confidence of 0.2 is enough from an alpha of 0.96 on, where (1 - alpha)^0.5 falls below it.
    shares = [source.workload(paper, s).share("small", "answer") for s in (COST_FIRST, scenario(0.97))]

    assert shares == [pytest.approx(1 / 3), 1.0]
    assert skipping(paper, True) is None
    assert policy_of("value-of-forwarding").skip  # type: ignore[union-attr]


def scenario(alpha: float) -> Any:
    from disrouter.utility import scenario_of

    return scenario_of(alpha)


def open_source_of(outcomes: OutcomeTable) -> Any:
    from disrouter.planning.sources import Source

    return Source(name="table", table=outcomes)


def test_a_broken_agent_of_a_table_takes_no_time_and_is_told_of() -> None:
    found = open_source_of(table(failing=0)).workload(network())

    assert [visit.agent for visit in found.routes[0].visits] == ["large", "large"]
    assert found.notes[0].startswith("1 of 6 queries met a broken agent")


def test_a_run_folder_gives_its_table_with_its_seconds(tmp_path: Path) -> None:
    from disrouter.evaluation.outcome_files import write_table

    write_table(table(), tmp_path / "table.parquet", timings=False)
    untimed = open_source(str(tmp_path)).workload(network())
    write_timings(table(), tmp_path / "timings.parquet")
    timed = open_source(str(tmp_path)).workload(network())

    assert untimed.mean_seconds("large", "answer") == 0.0
    assert timed.mean_seconds("large", "answer") == 2.0
    assert open_source(str(tmp_path / "table.parquet")).table is not None


def test_exported_traces_and_the_store_they_come_from_give_the_same_routes(tmp_path: Path) -> None:
    from disrouter.gateway.store_reading import every_route, json_of

    address = str(tmp_path / "gateway.db")
    store = open_store(address)
    store.write(RECORDS)
    lines = [json.dumps({"schema": 1, **json_of(kept)}) for kept in every_route(store)]
    store.close()
    (tmp_path / "traces.jsonl").write_text("\n".join(lines) + "\n\n")

    exported = open_source(str(tmp_path / "traces.jsonl")).workload(network())
    stored = open_source(address).workload(network())

    assert exported.routes == stored.routes
    assert exported.timed
    assert [route.time for route in exported.routes] == [100.0, 101.0, 102.0]
    assert exported.notes == ("1 traces without an answer are left out",)


def test_the_look_of_an_answering_agent_lasts_as_its_rejections_do(tmp_path: Path) -> None:
    first, second, third = routes_of(tmp_path, RECORDS).routes

    assert first.visits[0] == Visit("small", "look", 0.2)
    # large never rejects, so nothing is known of its looks: all of its time is the answer.
    assert first.visits[1:] == (Visit("large", "answer", 2.0, 0.2, 11),)
    # small: 0.2 s of its 1.2 s are the look. It streamed: 0.8 s of the answer came after its first word.
    look, answer = second.visits
    assert look == Visit("small", "look", 0.2)
    assert (answer.seconds, answer.first) == (pytest.approx(1.0), pytest.approx(0.2))
    # What was busy then is no visit: the plan makes its own queues.
    assert [visit.agent for visit in third.visits] == ["large"]


def routes_of(folder: Path, records: list[RouteRecord]) -> Any:
    address = str(folder / "some.db")
    store = open_store(address)
    store.write(records)
    store.close()
    return open_source(address).workload(network())


def test_a_recalled_answer_is_one_visit(tmp_path: Path) -> None:
    recalled = record(
        7, hop("small", "reject", 0.2), hop("large", "reject", 0.3), hop("small", "answer", 1.0, reason="recall")
    )

    (route,) = routes_of(tmp_path, [recalled]).routes

    assert [(visit.agent, visit.step) for visit in route.visits] == [
        ("small", "look"),
        ("large", "look"),
        ("small", "answer"),
    ]


def test_traces_of_one_alpha_can_be_chosen(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "two.db"))
    store.write([RECORDS[0], record(9, hop("small", "answer", 1.0), scenario="cost-first", alpha=0.8)])
    store.close()
    source = open_source(str(tmp_path / "two.db"))

    assert len(source.workload(network()).routes) == 2
    assert len(source.workload(network(), COST_FIRST).routes) == 1


def test_traces_of_another_network_are_refused_with_the_difference(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "other.db"))
    store.write(RECORDS)
    store.close()

    with pytest.raises(
        DataError, match=r"of another network: they name 'small', which network 'pool' does not have"
    ) as told:
        open_source(str(tmp_path / "other.db")).workload(network("medium", "large"))
    assert "It has 'medium', 'large'" in told.value.message
    with pytest.raises(DataError, match="no outcomes of 'medium'"):
        open_source_of(table()).workload(network("medium", "large"))


@pytest.mark.parametrize(
    "text", ["nonsense\n", "[1]\n", '{"hops": 3}\n', '{"hops": [{"agent": "small"}]}\n', "[" * 9_999]
)
def test_lines_that_are_no_traces_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.jsonl").write_text(text)

    with pytest.raises(DataError, match=r"line 1: not a trace|Trace 1 of"):
        open_source(str(tmp_path / "x.jsonl")).workload(network())


def test_sources_without_any_route_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "run").mkdir()
    open_store(str(tmp_path / "empty.db")).close()

    for name in ("empty.jsonl", "empty.db"):
        with pytest.raises(DataError, match="no answered queries"):
            open_source(str(tmp_path / name)).workload(network())
    with pytest.raises(DataError, match="no finished run"):
        open_source(str(tmp_path / "run"))
    with pytest.raises(DataError, match="There is nothing at"):
        open_source(str(tmp_path / "nowhere"))
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        open_source(str(tmp_path / "cut.parquet"))


def test_a_site_takes_concurrency_and_queues_from_the_network() -> None:
    made = site_of(network(), concurrency={"large": 3}, costs={"small": 1.0, "large": 2.0})

    assert [(host.name, host.agents[0].concurrency, host.agents[0].queue) for host in made.hosts] == [
        ("small", 64, 256),
        ("large", 3, 256),
    ]
    assert made.successors == {"small": ("large",), "large": ()}
    assert made.cost({"small": 2, "large": 3}) == 8.0


def test_agents_that_stand_together_are_one_host_and_take_turns() -> None:
    (host, gateway) = site_of(network(), together=[("small", "large")], gateway_seconds=0.001).hosts

    assert host.name == "small+large"
    assert host.slowdown.at(4) == 4.0
    assert gateway.name == GATEWAY


def local_network() -> Network:
    """Two models in this process and a server."""
    from disrouter.agents import TransformersAgent

    cards = [
        AgentCard(name=name, price=QueryPrice(cost=cost), details={"backend": backend})
        for name, cost, backend in (("a", 0.1, "transformers"), ("server", 0.5, "openai"), ("b", 0.9, "transformers"))
    ]
    models = [TransformersAgent(card, "nowhere") for card in cards if card.name != "server"]
    return Network("pool", [models[0], RecordedAgent(cards[1], ()), models[1]])


def test_models_in_one_process_are_one_station_that_takes_turns() -> None:
    process, server = site_of(local_network()).hosts

    assert (process.name, process.room) == ("a+b", 128)
    assert process.turn == TURN_SECONDS
    assert process.slowdown.at(4) == 4.0
    assert process.rate == 1.0
    assert (server.name, server.turn, server.slowdown.at(4)) == ("server", None, 1.0)


@pytest.mark.parametrize(("decides_with", "keeps"), [(None, True), ("adapter", False)])
def test_words_keep_a_place_for_the_answer_unless_another_model_says_them(
    decides_with: str | None, keeps: bool
) -> None:
    card = AgentCard(name="server", price=QueryPrice(cost=0.5), details={"backend": "openai"})
    agent = OpenAICompatibleAgent(
        card, model="m", base_url="http://127.0.0.1:9/v1", self_assessment="text", decides_with=decides_with
    )

    (host,) = site_of(Network("pool", [agent])).hosts

    assert host.agents[0].keeps_place is keeps


def test_models_whose_service_is_told_apart_stand_apart() -> None:
    batching = Slowdown(((1, 1.0), (8, 2.0)))

    told = site_of(local_network(), slowdowns={"a": batching}).hosts
    alone = site_of(local_network(), together=[("a",)]).hosts
    shared = site_of(local_network(), together=[("a", "server")]).hosts

    assert [(host.name, host.turn, host.slowdown.at(8)) for host in told] == [
        ("a", None, 2.0),  # a server that batches
        ("server", None, 1.0),
        ("b", TURN_SECONDS, 8.0),
    ]
    assert [(host.name, host.turn) for host in alone] == [("a", TURN_SECONDS), ("server", None), ("b", TURN_SECONDS)]
    assert [(host.name, host.turn) for host in shared] == [("a+server", None), ("b", TURN_SECONDS)]


def test_sites_that_cannot_be_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Unknown agent 'medium'"):
        site_of(network(), concurrency={"medium": 3})
    with pytest.raises(UnknownNameError, match="Unknown agent 'medium'"):
        site_of(network(), costs={"medium": 3.0})
    with pytest.raises(ConfigError, match="missing of 'large'"):
        site_of(network(), costs={"small": 1.0})
    with pytest.raises(ConfigError, match="twice"):
        site_of(network(), together=[("small", "large"), ("small",)])
    with pytest.raises(ConfigError, match="Concurrency 0"):
        site_of(network(), concurrency={"small": 0})
