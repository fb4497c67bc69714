"""An agent on vLLM, with a stand-in that takes the same command line: started, asked, and ended."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from disrouter.agents.transformers import TransformersAgent
from disrouter.engines.vllm import VllmAgent
from disrouter.errors import MissingExtraError, ModelError
from disrouter.network import Network
from disrouter.types import AgentCard, Query, QueryPrice

STAND_IN = (sys.executable, str(Path(__file__).with_name("vllm_stand_in.py")))


def agent(folder: Path) -> TransformersAgent:
    card = AgentCard(name="large", price=QueryPrice(cost=0.9))
    return TransformersAgent(card, folder, self_assessment="none", scenario_prompt=False, max_tokens=64)


async def test_an_agent_starts_its_server_answers_and_ends_it(tmp_path: Path) -> None:
    served = VllmAgent(agent(tmp_path), command=STAND_IN)
    await served.warm()
    process = served._process
    assert process is not None

    trace = await Network("solo", [served]).route(Query.from_text("hello?"))
    await served.aclose()

    assert trace.agent == "large" and trace.answer
    assert process.poll() is not None


async def test_a_server_that_ends_at_once_is_told(tmp_path: Path) -> None:
    served = VllmAgent(agent(tmp_path / "nowhere"), command=STAND_IN)

    with pytest.raises(ModelError, match="vLLM ended before the model of agent 'large' was loaded"):
        await served.warm()


async def test_a_machine_without_vllm_is_told_what_to_do(tmp_path: Path) -> None:
    served = VllmAgent(agent(tmp_path), command=("vllm-that-is-not-there", "serve"))

    with pytest.raises(MissingExtraError) as error:
        await served.warm()

    assert error.value.hint is not None and "pip install vllm" in error.value.hint
