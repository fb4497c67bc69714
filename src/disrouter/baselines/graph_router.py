"""GraphRouter: queries and agents as nodes of a graph, routing as predicting edges.

Paper: GraphRouter: A Graph-based Router for LLM Selections (arXiv 2410.03834).
Algorithm: every train query has an edge to every agent that carries what happened: reward, score and cost. Two rounds
of graph convolution (torch-geometric's ``GeneralConv``) let agents gather what their edges tell. The chance that an
agent is the best one for a query is σ of the mean product of the query's aligned features and the agent's gathered
ones. Trained once per scenario, whose alpha makes the reward, by hiding random train edges and predicting them from
the others, with cross-entropy against the best agent.
Departures: no task nodes, since a router is not told which dataset a query comes from; agents are described by an
indicator, their mean score and cost, not by a text about them; messages are averaged, not summed, so that scale does
not grow with the number of queries. Training stops early by the loss on a real validation split, whose edges are
never in sight; the epoch and the setting of the best utility there are kept.
May look at: the query's text. Charged: the features.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from disrouter.baselines._nets import tensor
from disrouter.baselines._plug_in import Floats, TextReader
from disrouter.baselines._tuning import best_of, cheapest_best, column_of, worth
from disrouter.baselines.contract import AgentPlaces, Need, Queries, Rows, Seen
from disrouter.baselines.features import TFIDF, TextFeatures, feature_cost
from disrouter.baselines.ledger import Ledger
from disrouter.seeds import seed_of
from disrouter.types import Scenario

with warnings.catch_warnings():  # torch-geometric compiles scripts as it loads, which torch no longer likes
    warnings.simplefilter("ignore")
    from torch_geometric.nn import GeneralConv

__all__ = ["GraphRouter"]

SETTINGS = ((32, 2e-2), (16, 2e-2), (64, 2e-2), (32, 5e-3))
"""Hidden width, learning rate."""

_EVERY, _PATIENCE, _GAIN = 3, 4, 2e-3
"""Epochs between looks at validation; looks without a lower loss after which it stops; nats that count as lower."""

_HIDDEN_SHARE, _QUERIES = 0.3, 4000
"""Share of edges that are hidden and predicted; most train queries that are drawn into one epoch."""


@dataclass(frozen=True, slots=True)
class GraphRouter:
    """Learns what agents are good for from a graph of what they did."""

    features: TextFeatures = TFIDF
    epochs: int = 100
    """Most passes over the graph."""

    name: ClassVar[str] = "graphrouter"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> FittedGraphRouter:
        """Train one network per scenario and setting on train, stop and choose on validation."""
        encoder = self.features.fit(train.texts, seed=seed_of(seed, "features"))
        reader = TextReader(encoder, feature_cost(self.features, train.table))
        x, x_validation = encoder.encode(train.texts), encoder.encode(validation.texts)
        chosen = []
        for s, scenario in enumerate(train.table.scenarios):
            held = validation.column(scenario)
            graph = _Graph.of(x, train.table.score[s], train.table.answer_cost[s], scenario.alpha)
            judge = _Graph.of(
                x_validation, validation.table.score[held], validation.table.answer_cost[held], scenario.alpha
            )
            candidates = [
                _train(graph, judge, setting, self.epochs, seed_of(seed, scenario.name)) for setting in SETTINGS
            ]

            def value(candidate: Edges, scenario: Scenario = scenario) -> float:
                fitted = FittedGraphRouter(Seen(train="", validation=""), reader, (scenario,), (candidate,))
                return worth(fitted.route, validation, scenario)

            chosen.append(best_of(candidates, value))
        return FittedGraphRouter(Seen.of(train, validation), reader, train.table.scenarios, tuple(chosen))


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """What predicts the edges of a new query: it has none yet, so that all agents have gathered is fixed."""

    align: nn.Module
    gathered: Tensor
    """Shape (A, 2·hidden)."""

    cost: Floats
    """Mean cost per agent, which breaks ties."""

    def places(self, rows: Floats) -> AgentPlaces:
        """Return the agent of the likeliest edge for each row of features."""
        with torch.no_grad():
            chance = torch.sigmoid(_product(self.align(tensor(rows)), self.gathered)).double().numpy().T
        # Six digits: single precision has no more.
        return cheapest_best(np.round(chance, 6), np.broadcast_to(self.cost[:, None], chance.shape))


@dataclass(frozen=True, slots=True, eq=False)
class FittedGraphRouter:
    """One predictor of edges per scenario."""

    seen: Seen
    reader: TextReader
    scenarios: tuple[Scenario, ...]
    edges: tuple[Edges, ...]

    def route(self, queries: Queries, scenario: Scenario, ledger: Ledger) -> AgentPlaces:
        """Send every query along its likeliest edge."""
        return self.edges[column_of(self.scenarios, scenario)].places(self.reader.read(queries, ledger))


@dataclass(frozen=True, slots=True, eq=False)
class _Graph:
    """Queries, agents and what happened between them."""

    x: Tensor
    agents: Tensor
    """Features of agents, shape (A, A + 2)."""

    edge: Tensor
    """Reward, score and cost, shape (n, A, 3)."""

    best: Tensor
    """1 at the best agent of each query, shape (n, A)."""

    reward: Floats
    """Shape (A, n)."""

    cost: Floats
    """Mean per agent."""

    @classmethod
    def of(cls, x: Floats, score: Floats, cost: Floats, alpha: float) -> _Graph:
        reward = score - alpha * cost
        agents = np.hstack([np.eye(len(score)), score.mean(axis=1)[:, None], cost.mean(axis=1)[:, None]])
        best = np.eye(len(score))[cheapest_best(reward, cost)]
        edge = tensor(np.stack([reward.T, score.T, cost.T], axis=2))
        return cls(tensor(x), tensor(agents), edge, tensor(best), reward, cost.mean(axis=1))


class _Network(nn.Module):
    """The authors' encoder and decoder: align, two convolutions, a product."""

    def __init__(self, width: int, agents: int, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, 2 * hidden)
        self.agent = nn.Linear(agents, 2 * hidden)
        self.edge = nn.Linear(3, 3)
        self.first = GeneralConv(2 * hidden, 2 * hidden, in_edge_channels=3, aggr="mean")
        self.second = GeneralConv(2 * hidden, 2 * hidden, in_edge_channels=3, aggr="mean")
        self.norms = nn.ModuleList([nn.BatchNorm1d(2 * hidden), nn.BatchNorm1d(2 * hidden)])

    def forward(self, graph: _Graph, queries: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Return aligned queries and gathered agents; ``visible`` (n, A) says which edges carry messages."""
        aligned = self.query(graph.x[queries])
        nodes = torch.cat([aligned, self.agent(graph.agents)])
        source, target = visible.nonzero(as_tuple=True)
        index = torch.stack([source, target + len(aligned)])
        told = torch.relu(self.edge(graph.edge[queries][visible]))
        nodes = torch.relu(self.norms[0](self.first(nodes, index, told)))
        nodes = self.norms[1](self.second(nodes, index, told))
        return aligned, nodes[len(aligned) :]


def _product(aligned: Tensor, gathered: Tensor) -> Tensor:
    """Return the logits of all edges, shape (n, A)."""
    return aligned @ gathered.T / gathered.shape[1]


def _train(graph: _Graph, judge: _Graph, setting: tuple[int, float], epochs: int, seed: int) -> Edges:
    hidden, rate = setting
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _Network(graph.x.shape[1], graph.agents.shape[1], hidden)
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
        best, kept, lowest, waited = -np.inf, _edges(network, graph), np.inf, 0
        for epoch in range(1, epochs + 1):
            network.train()
            queries = torch.randperm(len(graph.x))[:_QUERIES]
            hidden_edges = torch.rand(len(queries), len(graph.agents)) < _HIDDEN_SHARE
            aligned, gathered = network(graph, queries, ~hidden_edges)
            logits = _product(aligned, gathered)[hidden_edges]
            loss = nn.functional.binary_cross_entropy_with_logits(logits, graph.best[queries][hidden_edges])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            if epoch % _EVERY:
                continue
            candidate = _edges(network, graph)
            places = candidate.places(judge.x.numpy())
            utility = float(judge.reward[places, np.arange(len(places))].mean())
            with torch.no_grad():
                logits = _product(candidate.align(judge.x), candidate.gathered)
                surprise = float(nn.functional.binary_cross_entropy_with_logits(logits, judge.best))
            waited += 1
            if surprise < lowest - _GAIN:
                lowest, waited = surprise, 0
            if utility >= best:
                best, kept = utility, _frozen(candidate)
            if waited >= _PATIENCE:
                break
    return kept


def _edges(network: _Network, graph: _Graph) -> Edges:
    """Return the predictor of new queries' edges, with train edges in sight."""
    network.eval()
    with torch.no_grad():
        queries = torch.arange(min(len(graph.x), _QUERIES))
        _, gathered = network(graph, queries, torch.ones(len(queries), len(graph.agents), dtype=torch.bool))
    return Edges(network.query, gathered, graph.cost)


def _frozen(edges: Edges) -> Edges:
    return Edges(copy.deepcopy(edges.align), edges.gathered, edges.cost)
