"""Adapters that are on while an agent decides and off while it answers, on tiny models of random weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from disrouter.agents._adapter import ADAPTER_FOLDER, ADAPTER_WEIGHTS
from disrouter.agents.transformers import TransformersAgent
from disrouter.errors import ConfigError, ModelError
from disrouter.lab.family import FAMILY, MIXED, checkpoint_path
from disrouter.lab.model import LabModel
from disrouter.lab.pretraining import new_model, save_checkpoint
from disrouter.lab.suite import LabSuite
from disrouter.lab.tokenizer import REJECTION, build_tokenizer
from disrouter.training.deciding import adapted, teach_decision
from disrouter.training.deciding_rl import reinforce_decision
from disrouter.training.recipes import load_recipe
from disrouter.training.settings import LoraSettings, RlSettings, SftSettings
from disrouter.training.targets import Target
from disrouter.types import AgentCard, Completion, Look, Query, QueryPrice, Sampling, Scenario
from disrouter.utility import BALANCE, COST_FIRST
from merged_adapter import write_merged

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of what PEFT asks transformers

QUERIES = LabSuite().queries("in", 0, 24, split="train")
WORDS = frozenset({"sort", "reverse", "count", "facts"})
From = Literal["prompt", "reply"]


def model_of(folder: Path, spec: LabModel) -> Path:
    tokenizer = build_tokenizer()
    save_checkpoint(new_model(replace(spec, mlp=16), tokenizer), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_of(tmp_path_factory.mktemp("tiny") / "model", replace(FAMILY[0], hidden=16, heads=1, layers=2))


def taught(model: Path, folder: Path, since: From, scenario: Scenario | None = None) -> Path:
    """Teach an adapter to reject questions about words."""
    targets = [Target(query, scenario, REJECTION if query.dataset in WORDS else "#1") for query in QUERIES]
    lora = LoraSettings(rank=8, alpha=16, decides=since, new_tokens=[REJECTION])
    settings = SftSettings(rate=2e-2, epochs=30, batch=12, lora=lora)
    teach_decision(model, targets, folder / "done", folder / "work", settings, rejection=REJECTION)
    return folder / "done"


@pytest.fixture(scope="module", params=["prompt", "reply"])
def since(request: pytest.FixtureRequest) -> From:
    found: From = request.param
    return found


@pytest.fixture(scope="module")
def agent_folder(tiny: Path, since: From, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught(tiny, tmp_path_factory.mktemp(since), since)


def agent_in(
    folder: Path, how: Literal["adapter", "token"] = "adapter", *, scenario_prompt: bool = False
) -> TransformersAgent:
    card = AgentCard(name="tiny", price=QueryPrice(cost=0.1))
    return TransformersAgent(
        card, folder, self_assessment=how, scenario_prompt=scenario_prompt, max_tokens=6, device="cpu"
    )


def right_decisions(looks: Sequence[Look]) -> float:
    return sum(look.accepts is (query.dataset not in WORDS) for query, look in zip(QUERIES, looks, strict=True)) / 24


def test_an_adapter_learns_the_decision(agent_folder: Path) -> None:
    looks = agent_in(agent_folder).look_many(QUERIES, BALANCE)

    assert right_decisions(looks) > 0.9
    assert all(look.accepts is (look.confidence is not None and look.confidence >= 0.5) for look in looks)


def test_no_answer_changes_by_a_token(tiny: Path, agent_folder: Path) -> None:
    drawn = Sampling(temperature=1.0, seed=3)

    before = agent_in(tiny, "token").answer_many(QUERIES, BALANCE, sampling=drawn)
    after = agent_in(agent_folder).answer_many(QUERIES, BALANCE, sampling=drawn)

    assert [answer.text for answer in after] == [answer.text for answer in before]
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (agent_folder, tiny))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def live(agent: TransformersAgent, query: Query) -> tuple[Look, Completion]:
    async def ask() -> tuple[Look, Completion]:
        look = await agent.look(query, BALANCE)
        *_, last = [part async for part in agent.answer(query, BALANCE, look, Sampling())]
        assert isinstance(last, Completion)
        return look, last

    return asyncio.run(ask())


def test_it_reads_the_same_alone_and_in_a_batch(agent_folder: Path) -> None:
    agent = agent_in(agent_folder)

    together = agent.look_and_answer_many(QUERIES, BALANCE)
    alone = [live(agent, query) for query in QUERIES[:8]]

    assert [(look.confidence, answer.text, look.usage, answer.usage) for look, answer in alone] == [
        (look.confidence, answer.text, look.usage, answer.usage) for look, answer in together[:8]
    ]


def test_a_prompt_that_two_models_read_is_paid_twice(agent_folder: Path, since: From) -> None:
    look, answer = live(agent_in(agent_folder), QUERIES[0])
    (plain,) = agent_in(agent_folder, "token").look_many(QUERIES[:1], BALANCE)
    read = plain.usage.prompt_tokens

    if since == "prompt":
        assert (look.usage.prompt_tokens, answer.usage.prompt_tokens) == (read, read)
    else:  # the decision read the reply's one token once more, and the answer went on from the prompt
        assert (look.usage.prompt_tokens, answer.usage.prompt_tokens) == (read + 1, 0)


def test_the_scenario_is_for_the_decision_and_not_for_the_answer(tiny: Path, since: From, tmp_path: Path) -> None:
    folder = taught(tiny, tmp_path, since, COST_FIRST)

    told = agent_in(folder, scenario_prompt=True).look_and_answer_many(QUERIES, COST_FIRST)
    plain = agent_in(tiny, "token").answer_many(QUERIES, COST_FIRST)

    assert right_decisions([look for look, _ in told]) > 0.9
    assert [answer.text for _, answer in told] == [answer.text for answer in plain]
    assert all(answer.usage.prompt_tokens > 0 for _, answer in told)


def test_models_whose_cache_forgets_read_their_decision_all_the_same(tmp_path: Path) -> None:
    gemma = model_of(tmp_path / "gemma", replace(MIXED[1], hidden=16, heads=1, layers=3, window=4))
    folder = taught(gemma, tmp_path, "reply")

    looks = agent_in(folder).look_many(QUERIES, BALANCE)

    trained, tokenizer = adapted(folder, None)
    trained.eval()
    for query, look in zip(QUERIES[:6], looks, strict=False):
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": query.text}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=False,
        )
        with torch.no_grad():
            scores = trained(input_ids=ids).logits[0, -1].double()
        reject = float(scores.softmax(-1)[tokenizer.convert_tokens_to_ids(REJECTION)])
        assert look.confidence == pytest.approx(1.0 - reject, abs=2e-2)  # saved in bfloat16, and read so


def test_the_same_seed_teaches_the_same_adapter(tiny: Path, agent_folder: Path, since: From, tmp_path: Path) -> None:
    again = taught(tiny, tmp_path, since)

    weights = f"{ADAPTER_FOLDER}/{ADAPTER_WEIGHTS}"
    assert (again / weights).read_bytes() == (agent_folder / weights).read_bytes()


@pytest.mark.slow
def test_an_adapter_merged_into_its_model_decides_as_a_server_of_adapters_would(tmp_path: Path) -> None:
    whole = agent_in(write_merged("agent-1", tmp_path / "merged"), "token", scenario_prompt=True)
    agent = agent_in(checkpoint_path("agent-1", "paper"), scenario_prompt=True)

    pairs = list(zip(whole.look_many(QUERIES, BALANCE), agent.look_many(QUERIES, BALANCE), strict=True))

    assert {look.accepts for _, look in pairs} == {True, False}
    for merged, look in pairs:
        # The merged weights are rounded once more, to 16 bits.
        assert merged.confidence == pytest.approx(look.confidence, abs=0.1)


@pytest.mark.parametrize("scenario", [BALANCE, None], ids=["paper", "calibrated"])
def test_reinforcement_goes_on_from_the_adapter(agent_folder: Path, scenario: Scenario | None, tmp_path: Path) -> None:
    reinforce_decision(
        agent_folder,
        [(query, scenario) for query in QUERIES],
        dict.fromkeys(QUERIES, 0.0),
        tmp_path / "rl",
        tmp_path / "work",
        RlSettings(queries=24, epochs=12, rate=2e-2, batch=8),
        rejection=REJECTION,
    )

    before, after = (
        agent_in(folder, scenario_prompt=scenario is not None) for folder in (agent_folder, tmp_path / "rl")
    )
    accepted = [sum(look.confidence or 0.0 for look in agent.look_many(QUERIES, BALANCE)) for agent in (before, after)]
    assert accepted[1] < 0.3 * accepted[0]
    answers = [[answer.text for answer in agent.answer_many(QUERIES, BALANCE)] for agent in (before, after)]
    assert answers[0] == answers[1]


def test_reinforcement_turns_decisions_that_do_not_pay(agent_folder: Path, tmp_path: Path) -> None:
    # Taught to reject questions about words, it answers just those rightly.
    reinforce_decision(
        agent_folder,
        [(query, None) for query in QUERIES],
        {query: float(query.dataset in WORDS) for query in QUERIES},
        tmp_path / "rl",
        tmp_path / "work",
        RlSettings(queries=24, epochs=40, rate=2e-2, batch=8),
        rejection=REJECTION,
    )

    assert right_decisions(agent_in(tmp_path / "rl").look_many(QUERIES, BALANCE)) < 0.1


def test_the_brier_score_makes_the_success_rate_the_confidence(agent_folder: Path, tmp_path: Path) -> None:
    reinforce_decision(
        agent_folder,
        [(query, None) for query in QUERIES],
        dict.fromkeys(QUERIES, 0.8),
        tmp_path / "rl",
        tmp_path / "work",
        RlSettings(queries=24, epochs=40, rate=2e-2, batch=8),
        rejection=REJECTION,
    )

    looks = agent_in(tmp_path / "rl").look_many(QUERIES, BALANCE)
    assert [look.confidence for look in looks] == pytest.approx([0.8] * 24, abs=0.1)


def test_an_agent_without_an_adapter_is_told_how_to_get_one(tiny: Path) -> None:
    with pytest.raises(ModelError, match="has no deciding adapter") as caught:
        agent_in(tiny).look_many(QUERIES[:1], BALANCE)

    assert "disrouter train" in str(caught.value)


def test_an_adapter_beside_another_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = taught(tiny, tmp_path, "prompt")
    weights = {name: value + 1 for name, value in load_file(folder / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()  # it may be a link to the base's own
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError, match="belongs to another model"):
        agent_in(folder).look_many(QUERIES[:1], BALANCE)


@pytest.mark.parametrize("damaged", [ADAPTER_WEIGHTS, "adapter_config.json"])
def test_a_damaged_adapter_is_refused(tiny: Path, damaged: str, tmp_path: Path) -> None:
    folder = taught(tiny, tmp_path, "prompt")
    file = folder / ADAPTER_FOLDER / damaged
    file.write_bytes(file.read_bytes()[:-40])

    with pytest.raises(ModelError, match="cannot be read"):
        agent_in(folder).look_many(QUERIES[:1], BALANCE)


def test_an_adapter_of_another_kind_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = taught(tiny, tmp_path, "prompt")
    config = folder / ADAPTER_FOLDER / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"peft_type": "IA3"}))

    with pytest.raises(ModelError, match="is not a deciding adapter"):
        agent_in(folder).look_many(QUERIES[:1], BALANCE)


RECIPE = """\
name: r
mode: calibrated
suite: lab
agents:
  - {name: small, model: "lab:agent-1", price: {cost: 0.1}, AGENT}
  - {name: large, model: "lab:agent-5", price: {cost: 0.9}, train: false}
sft: {SFT}
rl: {RL}
"""


@pytest.mark.parametrize(
    ("agent", "sft", "rl", "what"),
    [
        ("train: true", "lora: {decides: reply}", "vllm: true", "rl.vllm: vLLM would answer with the adapter on"),
        ("train: true", "rate: 0.1", "gammas: {cheap: 1}", "rl.gammas: 'cheap' is no scenario; there are perf"),
        ("train: true", "rate: 0.1", "gammas: {balance: -1}", "rl.gammas.balance: -1 is not allowed; give a number"),
        ("gammas: {cheap: 1}", "rate: 0.1", "rate: 0.1", "agents.small.gammas: 'cheap' is no scenario; there are perf"),
        ("train: true", "rate: 0.1", "replay: 8", "rl.replay: only an adapter that only decides"),
        ("train: true", "lora: {decides: reply}", "learn: all", "rl.learn: an adapter that only decides"),
        ("train: true", "lora: {decides: reply}", "lora: {decides: prompt}", "sft.lora: where one adapter only"),
        ("train: true", "rate: 0.1", "lora: {decides: prompt}", "sft.lora: where one adapter only decides"),
        ("sft: {rate: 0.1}", "lora: {decides: reply}", "rate: 0.1", "agents.small.sft.lora: where one adapter"),
        ("train: true", "lora: {decides: reply}, kl: 1.0", "rate: 0.1", "sft.kl: an adapter that only decides"),
        (
            "train: true",
            "lora: {decides: reply, new_tokens: [balance]}",
            "rate: 0.1",
            "new_tokens: 'balance' stands before",
        ),
    ],
)
def test_what_does_not_go_with_an_adapter_that_only_decides_is_said(
    agent: str, sft: str, rl: str, what: str, tmp_path: Path
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.replace("AGENT", agent).replace("SFT", sft).replace("RL", rl))

    with pytest.raises(ConfigError, match=what):
        load_recipe(file)


def test_a_recipe_whose_adapter_only_decides_asks_its_agents_so(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    text = RECIPE.replace("AGENT", "train: true").replace("SFT", "lora: {decides: reply}").replace("RL", "rate: 0.1")
    file.write_text(text)

    assert load_recipe(file).assessment == "adapter"
