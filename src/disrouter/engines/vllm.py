"""An agent whose model vLLM runs, in a process beside its replica. Not tried on a GPU yet: tests put a stand-in here.

vLLM listens on loopback, at a free port, and answers only who has a key that is made up for it. The agent then is one
behind an OpenAI-compatible server like any other: its confidence is read from the first token's log-probabilities.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import urllib.request
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from disrouter.agents.transformers import TransformersAgent
from disrouter.errors import MissingExtraError, ModelError
from disrouter.types import AgentCard, Completion, Delta, Look, Query, Sampling, Scenario

if TYPE_CHECKING:
    from disrouter.agents.openai_compatible import OpenAICompatibleAgent

__all__ = ["VllmAgent"]

COMMAND = ("vllm", "serve")

START = 600.0
"""Seconds that a model has to load."""


class VllmAgent:
    """A local agent, with vLLM in the place of this package's own decoding.

    Args:
        agent: What to serve: its folder, its prompt and how it judges itself.
        command: What starts the server, before the model's folder.
        patience: Seconds that the model has to load.
    """

    def __init__(self, agent: TransformersAgent, *, command: Sequence[str] = COMMAND, patience: float = START) -> None:
        self.agent = agent
        self.command = tuple(command)
        self.patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._served: OpenAICompatibleAgent | None = None

    @property
    def card(self) -> AgentCard:
        """What others may know about this agent."""
        return self.agent.card

    @property
    def self_assessment(self) -> str:
        """How the agent judges itself."""
        return self.agent.self_assessment

    @property
    def scenario_prompt(self) -> bool:
        """Whether the agent reads the scenario."""
        return self.agent.scenario_prompt

    async def warm(self) -> None:
        """Start the server and wait until its model is loaded.

        Raises:
            MissingExtraError: vLLM or the client is not installed.
            ModelError: The server ended, or took too long.
        """
        try:
            from disrouter.agents.openai_compatible import OpenAICompatibleAgent
        except ModuleNotFoundError as exc:
            raise MissingExtraError.of("An agent on vLLM", "gateway") from exc
        port, key = _free_port(), f"DISROUTER_VLLM_{secrets.token_hex(4).upper()}"
        os.environ[key] = secrets.token_hex(24)
        self._start(port, os.environ[key])
        until = asyncio.get_running_loop().time() + self.patience
        while not await asyncio.to_thread(_healthy, port):
            if self._process is None or self._process.poll() is not None:
                raise ModelError(f"vLLM ended before the model of agent '{self.card.name}' was loaded.", hint=_HINT)
            if asyncio.get_running_loop().time() > until:
                await self.aclose()
                raise ModelError(
                    f"vLLM has not loaded the model of agent '{self.card.name}' in {self.patience:g} s.", hint=_HINT
                )
            await asyncio.sleep(0.2)
        assessment = self.agent.self_assessment
        assert assessment != "head" and assessment != "adapter"  # checked when the network file is read
        self._served = OpenAICompatibleAgent(
            self.card,
            model=self.card.name,
            base_url=f"http://127.0.0.1:{port}/v1",
            api_key_env=key,
            self_assessment=assessment,
            rejection=self.agent.rejection,
            scenario_prompt=self.agent.scenario_prompt,
            max_tokens=self.agent.max_tokens,
        )
        self._served.open()

    async def look(self, query: Query, scenario: Scenario) -> Look:
        """Look as the model behind the server does.

        Raises:
            AgentError: It broke.
        """
        return await self._ready().look(query, scenario)

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncGenerator[str | Delta | Completion, None]:
        """Answer as the model behind the server does.

        Raises:
            AgentError: It broke.
        """
        async with aclosing(self._ready().answer(query, scenario, look, sampling)) as pieces:
            async for piece in pieces:
                yield piece

    async def aclose(self) -> None:
        """End the server."""
        if self._served is not None:
            await self._served.aclose()
        if self._process is not None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, 10)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._process = None

    def _ready(self) -> OpenAICompatibleAgent:
        if self._served is None:
            raise ModelError(f"Agent '{self.card.name}' is asked before its model is loaded.")
        return self._served

    def _start(self, port: int, key: str) -> None:
        options = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", self.card.name]
        try:
            self._process = subprocess.Popen(
                [*self.command, str(Path(self.agent.model_path)), *options],
                env={**os.environ, "VLLM_API_KEY": key},
                preexec_fn=_end_with_parent,
            )
        except FileNotFoundError as exc:
            raise MissingExtraError(
                f"Agent '{self.card.name}' is to run on vLLM, and there is no '{self.command[0]}' on this machine.",
                hint="pip install vllm on every machine with a GPU, or leave `server: vllm` out",
            ) from exc


_HINT = "its own words stand in the replica's log"


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _end_with_parent() -> None:
    """Have the kernel end the server with its replica, however that ends (Linux)."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
