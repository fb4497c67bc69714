"""Deployments: every agent of a network as a Serve application of its own.

An agent that stays as it was keeps its replicas when the network is read anew; one that nobody uses is deleted.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import re
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Any

from disrouter.agents.transformers import TransformersAgent
from disrouter.engines.placement import Placement
from disrouter.engines.ray_agent import HandleTransport, RayAgent
from disrouter.engines.ray_app import application_name
from disrouter.engines.ray_replica import Replica
from disrouter.errors import RunError
from disrouter.network import Network
from disrouter.types import Agent

__all__ = ["Deployments", "cores_for"]

START = 600.0
"""Seconds that all replicas have to load their models."""

RELEASED = 5.0
"""Seconds that a replica has to end what it is at when it is stopped."""

ATTEMPTS = 2
"""Times that a replica that does not start is tried."""

DEPLOYMENT = "agent"

ROUTER = "disrouter.engines.ray_router.StickyRouter"

QUIET = {"log_level": "ERROR", "enable_access_log": False}
"""A line for every call would take a tenth of it."""

SCALING = {
    "upscale_delay_s": 2.0,
    "downscale_delay_s": 20.0,
    "metrics_interval_s": 1.0,
    "look_back_period_s": 2.0,
}
"""How soon copies follow the load: up when it has lasted, down when it has been gone for longer."""


def cores_for(placements: Mapping[str, Placement]) -> int:
    """Return the places that a cluster of our own needs so that every replica finds one."""
    return math.ceil(sum(placement.cpus * placement.copies for placement in placements.values()))


class Deployments:
    """The agents of one gateway on a cluster; several gateways may share it.

    Args:
        patience: Seconds that replicas have to start.
    """

    def __init__(self, *, patience: float = START) -> None:
        from ray import serve
        from ray.serve.context import _get_global_client

        self._serve: Any = serve
        self._patience = patience
        self._mine = secrets.token_hex(3)
        self._users = Counter[str]()
        self._lock = Lock()
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        # No HTTP of Serve's own: whoever asks comes through the gateway.
        serve.start(proxy_location="Disabled", logging_config=QUIET)
        self._client: Any = _get_global_client()

    def host(self, network: Network, placements: Mapping[str, Placement]) -> Network:
        """Return a network whose placed agents run on the cluster; the others stay as they are.

        Raises:
            RunError: An agent could not be started; nothing new is left running.
        """
        given = self._given(network, placements)
        apps = {**{name: self._app_of(network.agents[name], placements[name]) for name in placements}, **given}
        with self._lock:
            new = {name: app for name, app in apps.items() if name not in given and not self._users[app]}
            try:
                self._start({app: (network.agents[name], placements[name]) for name, app in new.items()})
            except BaseException:
                self._delete(list(new.values()))
                raise
            self._users.update(app for name, app in apps.items() if name not in given)
        agents = {
            name: self._agent(agent, apps[name], placements[name]) if name in apps else agent
            for name, agent in network.agents.items()
        }
        return network.with_agents(agents, network.edges)

    def close(self) -> None:
        """Delete whatever of this gateway is still there."""
        with self._lock:
            apps = [app for app, users in self._users.items() if users]
            self._users.clear()
        self._delete(apps)

    def _given(self, network: Network, placements: Mapping[str, Placement]) -> dict[str, str]:
        """Return the applications of agents that the cluster was started with; they are used and left alone."""
        named = {name: application_name(network.name, name) for name in placements}
        running = self._statuses()
        return {name: app for name, app in named.items() if app in running}

    def _agent(self, agent: Agent, app: str, placement: Placement) -> RayAgent:
        from ray.serve.handle import DeploymentHandle

        transport = HandleTransport(
            agent.card.name,
            partial(DeploymentHandle, DEPLOYMENT, app),
            patience=placement.patience,
            several=placement.copies > 1,
        )
        room = _ongoing(agent, placement) * placement.copies
        card = replace(agent.card, serving=replace(agent.card.serving, concurrency=room))
        return RayAgent(agent, card, transport, partial(self._leave, app), app=app)

    async def _leave(self, app: str) -> None:
        """Count one user of an application less; the last one turns off the light."""
        with self._lock:
            if not self._users[app]:
                return  # everything is closed already
            self._users[app] -= 1
            unused = not self._users[app]
        if unused:
            await asyncio.to_thread(self._delete, [app])

    def _app_of(self, agent: Agent, placement: Placement) -> str:
        """Return a name that stands for this agent, placed so."""
        from ray import cloudpickle

        digest = hashlib.blake2b(cloudpickle.dumps((agent, placement)), digest_size=6).hexdigest()
        readable = re.sub(r"[^A-Za-z0-9]+", "-", agent.card.name)[:40]
        return f"disrouter-{self._mine}-{readable}-{digest}"

    def _start(self, apps: Mapping[str, tuple[Agent, Placement]]) -> None:
        if not apps:
            return
        targets = [
            self._serve.RunTarget(application_of(agent, placement), name=app, route_prefix=None)
            for app, (agent, placement) in apps.items()
        ]
        self._serve.run_many(targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        until = time.monotonic() + self._patience
        while waiting := self._not_running(apps):
            if time.monotonic() >= until:
                app = waiting[0]
                said = self._message(app) or "its cluster may not have the cores or GPUs that it takes"
                raise RunError(
                    f"Agent '{apps[app][0].card.name}' has not started on the cluster in {self._patience:g} seconds: "
                    f"{said}",
                    hint="look at `ray status`, and at cpus, gpus and replicas of its entry",
                )
            time.sleep(0.1)

    def _not_running(self, apps: Mapping[str, tuple[Agent, Placement]]) -> list[str]:
        """Return the applications that do not run yet.

        Raises:
            RunError: One of them cannot.
        """
        found = self._statuses()
        for app, (agent, _) in apps.items():
            if app in found and _word(found[app]) in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise RunError(
                    f"Agent '{agent.card.name}' cannot be started on the cluster: {self._message(app)}",
                    hint="models must be in the same place on every machine, and so must this package",
                )
        return [app for app in apps if app not in found or _word(found[app]) != "RUNNING"]

    def _statuses(self) -> dict[str, Any]:
        """Return what the cluster says of every application.

        ``serve.status()`` says the same, and packs the router of each deployment anew: many times the work.
        """
        return {status.name: status for status in self._client.list_serve_statuses()}

    def _message(self, app: str) -> str:
        """Return what Serve says of an application, as one line."""
        status = self._statuses().get(app)
        if status is None:
            return ""
        said = [status.app_status.message, *(one.message for one in status.deployment_statuses)]
        lines = [line.strip() for text in said for line in text.splitlines() if line.strip()]
        # The last line of a traceback says what went wrong.
        telling = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)] or lines
        return telling[-1] if telling else ""

    def _delete(self, apps: list[str]) -> None:
        for app in apps:
            with suppress(Exception):  # on purpose: the cluster may be gone before us, and there is no more to do
                self._serve.delete(app, _blocking=False)


def application_of(agent: Agent, placement: Placement) -> Any:
    """Return the application of an agent."""
    from ray import serve

    bound = _deployment_of(agent, placement).bind(_runner(agent, placement))
    # With its proxy Serve takes no choice of ours between the copies of what HTTP comes in through. So nothing comes
    # in through this one, which has no copy and no process.
    closed = {"min_replicas": 0, "initial_replicas": 0, "max_replicas": 1}
    door = serve.deployment(_Closed, name="door", autoscaling_config=closed, ray_actor_options={"num_cpus": 0})
    return door.bind(bound)


def _runner(agent: Agent, placement: Placement) -> Agent:
    """Return what runs in a replica."""
    if placement.server == "agent":
        return agent
    from disrouter.engines.vllm import VllmAgent

    assert isinstance(agent, TransformersAgent)  # checked when the network file is read
    return VllmAgent(agent)


def _word(status: Any) -> str:
    """Return the state of an application, in Serve's word."""
    return str(status.app_status.status.value)


class _Closed:
    """A door to an agent that is never opened."""

    def __init__(self, agent: Any) -> None:
        self.agent = agent


def _deployment_of(agent: Agent, placement: Placement) -> Any:
    """Return the deployment of an agent, to be bound to it."""
    from ray import serve
    from ray.serve.config import RequestRouterConfig

    ongoing = _ongoing(agent, placement)
    options: dict[str, Any] = {"num_replicas": placement.replicas}
    if placement.copies > placement.replicas:
        scaling = {"min_replicas": placement.replicas, "max_replicas": placement.copies}
        options = {"autoscaling_config": {**scaling, **SCALING, "target_ongoing_requests": max(1.0, ongoing / 2)}}
    return serve.deployment(
        Replica,
        name=DEPLOYMENT,
        max_ongoing_requests=ongoing,
        max_queued_requests=max(1, agent.card.serving.queue),
        ray_actor_options={"num_cpus": placement.cpus, "num_gpus": placement.gpus},
        max_constructor_retry_count=ATTEMPTS,
        graceful_shutdown_timeout_s=RELEASED,
        graceful_shutdown_wait_loop_s=0.2,
        health_check_period_s=2.0,
        health_check_timeout_s=30.0,
        logging_config=QUIET,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
        **options,
    )


def _ongoing(agent: Agent, placement: Placement) -> int:
    return placement.max_ongoing or agent.card.serving.concurrency
