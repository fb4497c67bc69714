from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import disrouter
from disrouter.agents import RecordedAgent, TransformersAgent
from disrouter.agents.openai_compatible import OpenAICompatibleAgent, Patience
from disrouter.config import embedded_networks, load
from disrouter.errors import ConfigError
from disrouter.network import Limits
from disrouter.policies import OwnWord, PaperThreshold, Threshold
from disrouter.types import Query, QueryPrice, Scenario, Seconds, Serving, TokenPrice
from disrouter.utility import BALANCE, COST_FIRST

A = "{name: a, backend: transformers, model: model, price: {cost: 0.1}}"
B = "{name: b, backend: transformers, model: model, price: {cost: 0.9}}"
TWO = f"name: n\nagents:\n  - {A}\n  - {B}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model in it that is whole as far as can be seen without loading it."""
    model = tmp_path / "model"
    model.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (model / "config.json").write_text("{}")
    (model / "tokenizer.json").write_text("{}")
    (model / "chat_template.jinja").write_text("{{ messages }}")
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "network.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> list[str]:
    """The problems that the message about a file lists, one per line."""
    with pytest.raises(ConfigError) as error:
        load(written(folder, text))
    first, *lines = str(error.value).splitlines()
    assert str(folder / "network.yaml") in first
    return [line.strip() for line in lines]


# Files that are right


def test_the_smallest_file_needs_a_name_and_agents(folder: Path) -> None:
    network = load(written(folder, TWO))

    assert network.name == "n"
    assert network.chain == ("a", "b")
    assert (network.policy, network.scenario, network.limits) == (OwnWord(), BALANCE, Limits())
    assert network.agents["a"].card.price == QueryPrice(cost=0.1, look_share=0.1)


def test_every_key_arrives_where_it_belongs(folder: Path) -> None:
    path = written(
        folder,
        """
        name: all/keys
        agents:
          - name: small
            backend: transformers
            model: model
            price: {cost: 0.1, look_share: 0.25}
            self_assessment: token
            context_length: 2048
            max_tokens: 64
            rejection: I pass
            scenario_prompt: false
            seconds: {look: 0.2, answer: 1.5}
            always_answers: false
          - {name: middle, backend: transformers, model: model, price: {cost: 0.5}, self_assessment: none}
          - {name: large, backend: transformers, model: model, price: {cost: 1}, always_answers: true}
        edges: {small: [large, middle], middle: [large]}
        policy: {name: paper, gamma: 1.0}
        scenario: 0.35
        limits: {max_hops: 2, max_cost: 1.5, max_seconds: 30}
        """,
    )

    network = load(path)

    assert network.edges == {"small": ("large", "middle"), "middle": ("large",), "large": ()}
    assert network.policy == PaperThreshold(gamma=1.0)
    assert network.scenario == Scenario(name="alpha=0.35", alpha=0.35)
    assert network.limits == Limits(max_hops=2, max_cost=1.5, max_seconds=30)
    assert network.always_answers == {"small": False, "large": True}
    card = network.agents["small"].card
    assert (card.price, card.context_length) == (QueryPrice(cost=0.1, look_share=0.25), 2048)
    assert card.seconds == Seconds(look=0.2, answer=1.5)
    assert network.agents["middle"].card.seconds is None
    assert card.details == {"backend": "transformers", "model": "model"}


def test_token_prices_are_normalised_by_the_cost_unit(folder: Path) -> None:
    network = load(
        written(
            folder,
            "name: n\ncost_unit: 0.01\nagents: "
            "[{name: a, backend: transformers, model: model, price: {input: 0.5, output: 2}}]",
        )
    )

    assert network.agents["a"].card.price == TokenPrice(input=0.5, output=2.0, unit=0.01)


def test_no_weights_are_loaded_with_the_file(folder: Path) -> None:
    # The weights of this model are a single number: loading them would fail.
    assert isinstance(load(written(folder, TWO)).agents["a"], TransformersAgent)


def test_policies_and_scenarios_go_by_name(folder: Path) -> None:
    assert load(written(folder, TWO + "policy: paper\nscenario: cost-first")).policy == PaperThreshold()
    assert load(written(folder, TWO + "policy: {name: threshold, threshold: 0.4}")).policy == Threshold(0.4)
    assert load(written(folder, TWO + "scenario: cost-first")).scenario == COST_FIRST


def test_recorded_agents_repeat_an_outcome_table(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from disrouter.evaluation.outcomes import Outcome, OutcomeTable

    rows = [
        Outcome(query_id="q1", agent="a", scenario="balance", alpha=0.5, score=0.0, confidence=0.2, answer="three"),
        Outcome(query_id="q1", agent="b", scenario="balance", alpha=0.5, score=1.0, confidence=0.9, answer="four"),
    ]
    OutcomeTable.of(rows).write(tmp_path / "outcomes.parquet")
    text = TWO.replace("transformers, model: model", "recorded, model: outcomes.parquet")

    network = load(written(tmp_path, text))
    trace = network.ask(Query.from_text("2 + 2?", id="q1"))

    assert isinstance(network.agents["a"], RecordedAgent)
    assert [(hop.agent, hop.decision) for hop in trace.hops] == [("a", "reject"), ("b", "answer")]
    assert trace.answer == "four"


def test_a_recorded_agent_that_the_table_does_not_know_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from disrouter.evaluation.outcomes import Outcome, OutcomeTable

    row = Outcome(query_id="q1", agent="b", scenario="balance", alpha=0.5, score=1.0, answer="four")
    OutcomeTable.of([row]).write(tmp_path / "outcomes.parquet")

    (problem,) = problems(tmp_path, TWO.replace("transformers, model: model", "recorded, model: outcomes.parquet"))

    assert problem.startswith("agents[0].model: Unknown agent 'a' in the outcome table. Known: 'b'")


def test_the_package_loads_networks_too(folder: Path) -> None:
    assert disrouter.load(written(folder, TWO)).chain == ("a", "b")


# The embedded networks


def test_the_lab_is_embedded() -> None:
    assert embedded_networks() == ("lab", "lab-flops", "lab-paper")


def test_the_lab_asks_five_agents_by_rising_price() -> None:
    network = load("lab")

    assert network.chain == ("agent-1", "agent-2", "agent-3", "agent-4", "agent-5")
    assert [network.agents[name].card.price.rank for name in network.chain] == [0.1, 0.2, 0.4, 0.7, 0.9]


def test_the_lab_priced_by_flops_asks_in_the_same_order() -> None:
    assert load("lab-flops").chain == load("lab").chain


# Files that are wrong


def test_all_problems_of_a_file_are_reported_at_once(folder: Path) -> None:
    found = problems(
        folder,
        """
        name: n
        agents:
          - {name: a, backend: transformer, model: model, price: {cost: -0.2}}
          - {name: b, backend: transformers, modle: model, price: {cost: 0.4, look_share: 2}}
          - {name: c, backend: transformers, model: nowhere, price: {input: 1, output: 4}}
          - {name: c, backend: transformers, model: model, price: {cost: 0.9}}
        edges: {a: [b], b: [a, d]}
        scenario: 1.5
        policy: papr
        limits: {max_hops: 0}
        scenaro: balance
        scenario: 1.5
        """,
    )

    assert found == [
        "line 13: key 'scenario' is already given in line 9; keep one",
        "agents[0].backend: 'transformer' is not allowed; give 'transformers' (a model on this machine), 'openai' "
        "(behind an OpenAI-compatible server), 'node' (a process that `disrouter agent serve` runs) or 'recorded' (an "
        "outcome table)",
        "agents[0].price.cost: -0.2 is not allowed; give a number from 0 to 1, the normalised cost per query",
        "agents[1].price.look_share: 2 is not allowed; give a number from 0 to 1, the share of the cost that a look "
        "takes (default 0.1)",
        "agents[1].modle: unknown key; known: name, backend, model, price, base_url, node, api_key_env, "
        "hop_secret_env, model_digest, version, self_assessment, decides_with, context_length, max_tokens, rejection, "
        "scenario_prompt, card, seconds, always_answers, timeouts, retries, concurrency, queue, breaker, ray; did you "
        "mean 'model'?",
        "limits.max_hops: 0 is not allowed; give a whole number from 1, the most agents asked per query",
        "scenaro: unknown key; known: name, agents, cost_unit, edges, policy, scenario, dispatch, limits; did you mean "
        "'scenario'?",
        "agents[1].model: missing; give a folder or table relative to the network file, 'lab:agent-1' for a shipped "
        "checkpoint, or with the backend 'openai' the model's name on its server",
        "agents: the name 'c' is given twice",
        "agents[2].price: prices per token need a cost_unit at the top of the file, the money that counts as a cost "
        "of 1",
        f"agents[2].model: Model folder '{folder / 'nowhere'}' does not exist. (give the path of a folder in Hugging "
        "Face format)",
        "policy: Unknown policy 'papr'. Known: 'own-word', 'threshold', 'paper', 'value-of-forwarding'. (did you mean "
        "'paper'?)",
        "scenario: Scenario alpha 1.5 is out of range: it must lie from 0 to 1. (0 ignores cost, 1 weighs it like "
        "quality; the paper uses 0.2, 0.5 and 0.8)",
        "edges: unknown agent 'd' in the edges; known: 'a', 'b', 'c'",
        "edges: cycle a -> b -> a: a query could travel for ever; remove one of these edges",
    ]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("edges: {a: [b], b: [a]}", "edges: cycle a -> b -> a"),
        ("edges: {a: [bb]}", "edges: unknown agent 'bb'"),
        ("edges: {a: b}", "edges.a: 'b' is not allowed; give a mapping from an agent's name"),
        ("edges: {}", "edges: 'a', 'b' can never be asked"),
        ("scenario: fast", "scenario: Unknown scenario 'fast'"),
        ("scenario: true", "scenario: True is not allowed"),
        ("scenario:", "scenario: None is not allowed"),
        ("scenario: [balance]", "scenario: ['balance'] is not allowed"),
        ("scenario: -0.1", "scenario: Scenario alpha -0.1 is out of range"),
        ("policy: {gamma: 1}", "policy: A policy needs a name"),
        ("policy: threshold", "policy: Policy 'threshold' needs a threshold"),
        ("policy: {name: paper, gamma: -1}", "policy: Policy 'paper': gamma -1"),
        (f"scenario: {10**400}", "scenario: Scenario alpha inf is out of range"),
        (f"policy: {{name: paper, gamma: {10**400}}}", "policy: Policy 'paper': gamma 1000"),
        ("policy: 3", "policy: A policy needs a name; got 3"),
        ("limits: {max_cost: 0.05}", "limits: max_cost 0.05 is below the price 0.1 of 'a'"),
        ("limits: {max_hops: 1.5}", "limits.max_hops: 1.5 is not allowed; give a whole number"),
        ("limits: {max_seconds: .inf}", "limits.max_seconds: inf is not allowed"),
        ("limits: 3", "limits: 3 is not allowed; give a mapping with max_hops"),
        ("cost_unit: 0", "cost_unit: 0 is not allowed; give a number above 0"),
        ("name: m", "line 5: key 'name' is already given in line 1; keep one"),
        ("7: seven", "the file: key 7 is not text; put it in quotes"),
        ("edges: {yes: [a], a: [b]}", "edges: key True is not text"),
    ],
)
def test_a_wrong_value_at_the_top_is_one_problem(folder: Path, more: str, problem: str) -> None:
    (found,) = problems(folder, TWO + more)

    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("price: {cost: 1.2}", "agents[0].price.cost: 1.2 is not allowed; give a number from 0 to 1"),
        ("price: {cost: .nan}", "agents[0].price.cost: nan is not allowed"),
        ("price: {cost: '0.1'}", "agents[0].price.cost: '0.1' is not allowed"),
        ("price: {cost: true}", "agents[0].price.cost: True is not allowed"),
        ("price: 0.1", "agents[0].price: 0.1 is not allowed; give {cost, look_share} per query"),
        ("price: {}", "agents[0].price: no price; give cost, or input and output"),
        ("price: {input: 1}", "agents[0].price: output is missing"),
        ("price: {cost: 0.1, input: 1, output: 1}", "agents[0].price: cost excludes input and output"),
        ("price: {input: -1, output: 1}", "agents[0].price.input: -1 is not allowed; give a number from 0"),
        ("price: {input: 1, output: 1, look_share: 0.1}", "agents[0].price: look_share goes with cost only"),
        ("price: {cost: 0.1}, name: 'a b'", "agents[0].name: 'a b' is not allowed; give a name"),
        ("price: {cost: 0.1}, seconds: {look: -1}", "agents[0].seconds.look: -1 is not allowed; give a number from 0"),
        ("price: {cost: 0.1}, seconds: 2", "agents[0].seconds: 2 is not allowed; give {look, answer}"),
        ("price: {cost: 0.1}, context_length: 0", "agents[0].context_length: 0 is not allowed"),
        ("price: {cost: 0.1}, scenario_prompt: 1", "agents[0].scenario_prompt: 1 is not allowed; give true"),
        ("price: {cost: 0.1}, rejection: ''", "agents[0].rejection: '' is not allowed"),
        ("price: {cost: 0.1}, self_assessment: word", "agents[0].self_assessment: 'word' is not allowed; give 'token'"),
        ("price: {cost: 0.1}, always_answers: false", "edges: agent 'a' is declared always_answers: false"),
        ("price: {cost: 0.1}, model: 'lab:agent-9'", "agents[0].model: Unknown lab model 'agent-9'"),
        ("price: {cost: 0.1}, backend: recorded, model: none.parquet", "agents[0].model: There is no outcome table"),
        ("price: {cost: 0.1}, model: model/config.json", "agents[0].model: Model '"),
        ("price: {cost: 0.1}, model: ~nobody-here/x", "agents[0].model: '~nobody-here/x' begins with the home folder"),
        ("price: {cost: 0.1}, model: .", "agents[0].model: Folder '"),
    ],
)
def test_a_wrong_value_of_an_agent_is_one_problem(folder: Path, entry: str, problem: str) -> None:
    defaults = {"name": "a", "backend": "transformers", "model": "model"}
    rest = "".join(f"{key}: {value}, " for key, value in defaults.items() if f"{key}:" not in entry)

    (found,) = problems(folder, f"name: n\nagents: [{{{rest}{entry}}}]\n")

    assert found.startswith(problem)


def test_a_model_that_is_cut_off_is_refused(folder: Path) -> None:
    weights = folder / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2])

    found = problems(folder, TWO)

    assert len(found) == 2  # for each agent that uses it
    assert "are cut off" in found[0]


def test_prices_of_two_kinds_need_edges(folder: Path) -> None:
    token = "{name: t, backend: transformers, model: model, price: {input: 1, output: 4}}"
    text = f"name: n\ncost_unit: 1\nagents: [{A}, {token}]\n"

    assert problems(folder, text) == [
        "edges: prices per query and per token cannot be ordered into a cascade; give the edges"
    ]
    assert load(written(folder, text + "edges: {a: [t]}")).chain == ("a", "t")


def test_an_agent_that_is_no_mapping_is_told_its_keys(folder: Path) -> None:
    (found,) = problems(folder, f"name: n\nagents: [a, {B}]\n")

    assert found.startswith("agents[0]: 'a' is not allowed; give a mapping with name, backend, model, price")


def test_a_long_bad_value_is_shown_in_part(folder: Path) -> None:
    (found,) = problems(folder, TWO + "cost_unit: " + "x" * 500)

    assert len(found) < 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("- a\n- b", "holds a list, not a mapping"),
        ("just text", "holds a str, not a mapping"),
        ("name: [", "is not valid YAML at line 1, column 8"),
        ("a: &x 1\nb: *x", r"line 2, column 4: aliases \(\*name\) are not allowed"),
        ("a: !!python/object/apply:os.system [ls]", "is not valid YAML at line 1"),
        ("a: 2025-13-45", "holds a value YAML cannot read"),
        ("name: n\n---\nname: m", "is not valid YAML"),
        ("name: \x00", "is not valid YAML"),
        ("[" * 3_000, "is nested too deeply"),
        ("a: !!bool maybe", "has a tag"),
        ("a: !!timestamp soon", "has a tag"),
        ('a: !!int ""', "has a tag"),
        ("#" * 200_001, "is larger than 200,000 bytes"),
    ],
)
def test_what_is_no_network_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(written(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_bytes(b"name: \xff")

    with pytest.raises(ConfigError, match=r"is not text in UTF-8 \(byte 6\)"):
        load(path)


def test_a_missing_file_names_the_path_and_the_embedded_networks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml' does not exist") as error:
        load(tmp_path / "nowhere.yaml")

    assert error.value.hint == "give the path of a YAML file or an embedded network: lab, lab-flops, lab-paper"


def test_a_folder_is_no_network_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder, not a file"):
        load(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(["name", "agents", "edges", "policy", "scenario", "limits", "cost_unit", "price", "model"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(content=st.dictionaries(KEYS, JSON | st.lists(st.dictionaries(KEYS, JSON, max_size=5), max_size=3)))
def test_whatever_a_file_holds_the_answer_is_a_network_or_one_clear_error(
    tmp_path: Path, content: dict[str, object]
) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(ConfigError):
        load(path)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_examples_lack_nothing_but_the_models(path: Path) -> None:
    try:
        load(path)
    except ConfigError as error:
        _, *lines = str(error).splitlines()
        assert lines
        assert all(".model: Model folder" in line and "does not exist" in line for line in lines)


# Agents behind servers

SERVER = "name: a, backend: openai, model: m, price: {cost: 0.1}"


def test_an_agent_behind_a_server_has_what_the_file_says_and_asks_nobody_while_loading(folder: Path) -> None:
    path = folder / "network.yaml"
    path.write_text(
        f"""
        name: n
        agents:
          - {{{SERVER}, base_url: "http://127.0.0.1:9/v1/", api_key_env: SOME_KEY, self_assessment: prompt, retries: 3,
             timeouts: {{first_token: 7}}, concurrency: 2, queue: 0, breaker: {{failures: 1, seconds: 3}}}}
        """
    )

    agent = load(path).agents["a"]

    assert isinstance(agent, OpenAICompatibleAgent)
    assert (agent.model, agent.self_assessment, agent.api_key_env) == ("m", "prompt", "SOME_KEY")
    assert agent.patience == Patience(connect=5, first_token=7, stall=60, total=600, retries=3)
    assert agent.card.serving == Serving(concurrency=2, queue=0, failures=1, pause=3)


def test_an_agent_behind_a_server_answers_without_self_assessment_unless_the_file_says_otherwise(folder: Path) -> None:
    path = folder / "network.yaml"
    path.write_text(f'name: n\nagents:\n  - {{{SERVER}, base_url: "http://127.0.0.1:9/v1"}}\n')

    agent = load(path).agents["a"]

    assert isinstance(agent, OpenAICompatibleAgent)
    assert (agent.self_assessment, agent.scenario_prompt, agent.max_tokens) == ("none", False, None)
    assert agent.card.serving.concurrency == 256


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (SERVER, "agents[0].base_url: missing"),
        (SERVER + ", base_url: 'ftp://x'", "agents[0].base_url: it is no plain http or https address"),
        (SERVER + ", base_url: 'http://me:pw@x/v1'", "agents[0].base_url: it holds a user name or a password"),
        (SERVER + ", base_url: 'http://x/v1', api_key_env: 'sk-123'", "agents[0].api_key_env: 'sk-123' is not allowed"),
        (SERVER + ", base_url: 'http://x/v1', self_assessment: head", "agents[0].self_assessment: 'head' does not go"),
        (SERVER + ", base_url: 'http://x/v1', timeouts: {total: 0}", "agents[0].timeouts.total: 0 is not allowed"),
        (SERVER + ", base_url: 'http://x/v1', timeouts: {wait: 1}", "agents[0].timeouts.wait: unknown key"),
        (SERVER + ", base_url: 'http://x/v1', retries: 11", "agents[0].retries: 11 is not allowed"),
        (SERVER + ", base_url: 'http://x/v1', concurrency: 0", "agents[0].concurrency: 0 is not allowed"),
        (SERVER + ", base_url: 'http://x/v1', breaker: {failures: 0}", "agents[0].breaker.failures: 0 is not allowed"),
    ],
)
def test_a_wrong_entry_of_an_agent_behind_a_server_is_one_problem(entry: str, message: str, folder: Path) -> None:
    (found,) = problems(folder, f"name: n\nagents:\n  - {{{entry}}}\n")

    assert found.startswith(message)


@pytest.mark.parametrize(
    "key", ["base_url: 'http://x/v1'", "api_key_env: K", "decides_with: m", "retries: 2", "timeouts: {total: 3}"]
)
def test_keys_of_servers_go_with_servers_only(key: str, folder: Path) -> None:
    entry = f"name: a, backend: transformers, model: 'lab:agent-1', price: {{cost: 0.1}}, {key}"

    (found,) = problems(folder, f"name: n\nagents:\n  - {{{entry}}}\n")

    only = "backends 'openai' and 'node'" if key.startswith(("base_url", "retries", "timeouts")) else "backend 'openai'"
    assert found == f"agents[0].{key.partition(':')[0]}: goes with the {only} only; remove it"


@pytest.mark.parametrize("assessment", ["token", "text"])
def test_another_model_of_the_server_may_decide(assessment: str, folder: Path) -> None:
    path = folder / "network.yaml"
    entry = f'{SERVER}, base_url: "http://127.0.0.1:9/v1", self_assessment: {assessment}, decides_with: agent-decides'
    path.write_text(f"name: n\nagents:\n  - {{{entry}}}\n")

    agent = load(path).agents["a"]

    assert isinstance(agent, OpenAICompatibleAgent)
    assert (agent.model, agent.decides_with) == ("m", "agent-decides")
    assert agent.card.details == {"backend": "openai", "model": "m", "decides_with": "agent-decides"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "decides_with: b",
            "decides_with: goes with self_assessment token or text, and here it is 'none'; give one of",
        ),
        ("decides_with: b, self_assessment: prompt", "decides_with: goes with self_assessment token or text, and here"),
        (
            "decides_with: m, self_assessment: token",
            "decides_with: 'm' is the model that answers; name another one, or",
        ),
        ("decides_with: '', self_assessment: token", "decides_with: '' is not allowed; give the name of the model on"),
        (
            "decides_with: 5, self_assessment: token",
            "decides_with: 5 is not allowed; give the name of the model on the",
        ),
    ],
)
def test_a_model_that_cannot_decide_is_one_problem(keys: str, message: str, folder: Path) -> None:
    (found,) = problems(folder, f"name: n\nagents:\n  - {{{SERVER}, base_url: 'http://127.0.0.1:9/v1', {keys}}}\n")

    assert found.startswith(f"agents[0].{message}")


def test_who_decides_behind_a_node_is_for_the_node_to_say(folder: Path) -> None:
    entry = "name: a, backend: node, base_url: 'http://127.0.0.1:9/v1', price: {cost: 0.1}, decides_with: b"

    (found,) = problems(folder, f"name: n\nagents:\n  - {{{entry}}}\n")

    assert found == "agents[0].decides_with: does not go with the backend 'node': it is for the node to say; remove it"


@pytest.mark.parametrize("assessment", ["text", "prompt"])
def test_self_assessment_by_words_goes_with_servers_only(assessment: str, folder: Path) -> None:
    entry = f"name: a, backend: transformers, model: 'lab:agent-1', price: {{cost: 0.1}}, self_assessment: {assessment}"

    (found,) = problems(folder, f"name: n\nagents:\n  - {{{entry}}}\n")

    assert found.endswith("does not go with the backend 'transformers'; give token, adapter, head, none")
