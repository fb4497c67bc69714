"""What a look would be worth that also says which kind of query it is: a trial, before anything of it is built.

    disrouter cards fit --network lab --output runs/cards      # leaves runs/cards-lab-…/table.parquet
    disrouter eval --network lab --domain in --seed 2026 --limit 2100 --run-dir runs/in
    disrouter eval --network lab --domain out --seed 2026 --limit 2100 --run-dir runs/out
    python scripts/lab_kinds.py lab runs/cards-lab-*/table.parquet runs/in/table.parquet runs/out/table.parquet

A kind is the nearest of a few dozen centres (k-means, no labels) of the hidden units of the agent's own confidence
head, on prompts of its profile and of pretraining. Kinds that are common in pretraining and rare in the profile say
"unknown": nothing is measured there, and the confidence alone speaks.

The classes of queries come in two blocks. One is fitted to confidences alone, as cards are; the other to kinds and
confidences. A look of unknown kind belongs to the first block, so that what kinds have taught is not applied where it
was not learnt. Kinds and bands are then gathered into some dozens of words per agent, which stand in for the bands of
the cards and tables as they are. Everything is fitted on the first table; its own halves are judged too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

import disrouter
from disrouter.agents._head import read_head
from disrouter.agents.folders import weights_digest
from disrouter.agents.recorded import RecordedAgent
from disrouter.agents.transformers import TransformersAgent
from disrouter.competence import Competence, DifficultyScale
from disrouter.evaluation.difficulty import measure
from disrouter.evaluation.methods import chosen, oracle
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.evaluation.replay import fitted, replay
from disrouter.lab.suite import LabSuite
from disrouter.network import Network
from disrouter.policies import policy_of
from disrouter.types import Query
from disrouter.utility import BALANCE, SCENARIOS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AGENTS = 3
"""The first agents tell kinds: nearly all queries have been looked at by one of them."""

KINDS, WORDS, GRADES = 64, 60, 640
PLAIN, TOLD = 12, 24
"""Classes of the block without kinds and of the block with them."""

FAMILIAR, FEWEST = 0.15, 20
"""A kind is known if it has this many profile prompts per pretraining prompt, and as many queries of the table."""

UNKNOWN, SLIP = 0.1, 0.02
"""Share of the plain block before anything is known, and chance that a query of the other says "unknown"."""

WEIGHT = 20.0
"""Queries' weight of the average in every class and of the prior in every kind."""

ROUNDS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Telling:
    """One agent's kinds: those of the pretraining's familiar part have places 0, 1, …; -1 is unknown."""

    centres: Floats
    place: Ints

    def of(self, units: Floats) -> Ints:
        return self.place[np.argmin((self.centres**2).sum(axis=1) - 2 * units @ self.centres.T, axis=1)]


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """One agent's bands, kinds and scores of the fitting queries."""

    edges: Floats
    band: Ints
    kind: Ints
    score: Floats
    kinds: int

    @property
    def bands(self) -> int:
        return len(self.edges) + 1


def units(agent: TransformersAgent, queries: list[Query]) -> Floats:
    """Return the hidden units of an agent's confidence head, shape (queries, hidden)."""
    states = torch.from_numpy(agent.states_many(queries, BALANCE)).double()
    folder = agent.model_path
    head = read_head(folder, model=weights_digest(folder), layers=states.shape[1], width=states.shape[2])
    with torch.inference_mode():
        inner = head.inner((states.flatten(1) - head.mean) / head.scale)
        return np.asarray(torch.nn.functional.gelu(inner).numpy(), dtype=np.float64)


def queries_of(table: OutcomeTable, suite: LabSuite) -> list[Query]:
    """Return the queries of a table of the lab's suite."""
    domain, split, seed, _ = table.query_ids[0].split("-")
    split_ = "validation" if split == "validation" else "test"
    drawn = suite.queries(domain, int(seed), len(table.query_ids), split=split_)
    assert tuple(query.id for query in drawn) == table.query_ids
    return drawn


def telling(agent: TransformersAgent, suite: LabSuite, measured: Floats) -> Telling:
    """Return an agent's kinds; ``measured`` are its units of the fitting table's queries."""
    profile = units(agent, suite.queries("in", 1, 2000, split="train"))
    recited = units(agent, [query for query, _ in suite.replay(8000, 77)])
    centres, _ = kmeans2(np.vstack([profile, recited]), KINDS, minit="++", rng=np.random.default_rng(0), iter=25)
    raw = Telling(centres, np.arange(KINDS))
    counts = [np.bincount(raw.of(each), minlength=KINDS) for each in (profile, recited, measured)]
    known = (counts[0] >= FAMILIAR * np.maximum(counts[1], 1)) & (counts[2] >= FEWEST)
    return Telling(centres, np.where(known, np.cumsum(known) - 1, -1))


def normalised(logs: Floats) -> Floats:
    weights = np.exp(logs - logs.max(axis=0))
    return np.asarray(weights / weights.sum(axis=0), dtype=np.float64)


def by_band(said: Said, belief: Floats) -> tuple[Floats, Floats]:
    """Return how often each band is said and is right, by class, as cards have it: both (Z, B)."""
    bands = np.eye(said.bands)[said.band]
    right, all_ = belief @ (bands * said.score[:, None]), belief @ bands
    mean_right, mean_all = (bands * said.score[:, None]).sum(axis=0) + 0.5, bands.sum(axis=0) + 1.0
    share = WEIGHT * mean_all / mean_all.sum()
    speaks = (all_ + share) / (all_ + share).sum(axis=1, keepdims=True)
    return speaks, (right + share * mean_right / mean_all) / (all_ + share)


def by_kind(said: Said, belief: Floats) -> Floats:
    """Return how often each known kind is said, by class, shape (Z, K); a rare kind says little about the class."""
    kinds = np.eye(said.kinds + 1)[said.kind][:, : said.kinds]
    often, prior = kinds.sum(axis=0), belief.mean(axis=1)[:, None]
    tells = (belief @ kinds + WEIGHT * prior) / (often + WEIGHT) * often / prior
    return np.asarray(tells / tells.sum(axis=1, keepdims=True), dtype=np.float64)


def block(said: list[Said], classes: int, *, kinds: bool) -> tuple[Floats, Floats]:
    """Return prior (Z,) and beliefs (Z, n) of a latent class model, by expectation-maximisation."""
    n = len(said[0].score)
    belief: Floats = np.random.default_rng(0).dirichlet(np.full(classes, 0.3), n).T
    prior = belief.mean(axis=1)
    for _ in range(ROUNDS):
        prior = (belief.sum(axis=1) + 1.0) / (n + classes)
        logs = np.repeat(np.log(prior)[:, None], n, axis=1)
        for agent in said:
            speaks, solves = by_band(agent, belief)
            right = np.clip(solves[:, agent.band], 1e-4, 1 - 1e-4)
            logs += np.log(speaks)[:, agent.band]
            logs += agent.score * np.log(right) + (1.0 - agent.score) * np.log(1.0 - right)
            if kinds and agent.kinds:
                logs += np.where(agent.kind >= 0, np.log(by_kind(agent, belief))[:, agent.kind], 0.0)
        belief = normalised(logs)
    return prior, belief


def in_words(said: Said, plain: Floats, told: Floats, prior: Floats) -> tuple[Floats, Floats, Ints]:
    """Return how often each word is said and is right, by class of both blocks, and the word of each kind and band."""
    (speaks, solves), (speaks_told, solves_told) = by_band(said, plain), by_band(said, told)
    if not said.kinds:
        return np.vstack([speaks, speaks_told]), np.vstack([solves, solves_told]), np.arange(said.bands)[None]
    often = np.bincount(said.kind[said.kind >= 0], minlength=said.kinds) / (said.kind >= 0).sum()
    cells = (by_kind(said, told)[:, :, None] * speaks_told[:, None, :]).reshape(len(told), -1)
    cells_plain = (often[None, :, None] * speaks[:, None, :]).reshape(len(plain), -1)
    # Cells that leave about the same belief (Hellinger) become one word.
    weight = prior @ cells
    points = np.sqrt((prior[:, None] * cells / weight).T)
    heavy = np.repeat(points, np.maximum(1, np.round(weight * 3000)).astype(int), axis=0)
    centres, _ = kmeans2(heavy, WORDS - said.bands, minit="++", rng=np.random.default_rng(5), iter=20)
    near = np.argmin((centres**2).sum(axis=1) - 2 * points @ centres.T, axis=1)
    _, word = np.unique(near, return_inverse=True)
    gather = np.eye(word.max() + 1)[word]
    often_told, often_plain = cells @ gather, cells_plain @ gather
    right_told = (cells * np.tile(solves_told, said.kinds)) @ gather / np.maximum(often_told, 1e-12)
    right_plain = (cells_plain * np.tile(solves, said.kinds)) @ gather / np.maximum(often_plain, 1e-12)
    # In the plain block most looks are of unknown kind, in the other hardly any.
    says = np.vstack(
        [
            np.hstack([0.3 * often_plain, 0.7 * speaks]),
            np.hstack([(1 - SLIP) * often_told, SLIP * speaks_told]),
        ]
    )
    right = np.vstack([np.hstack([right_plain, solves]), np.hstack([right_told, solves_told])])
    unknown = gather.shape[1] + np.arange(said.bands)
    return says, np.clip(right, 0, 1), np.vstack([word.reshape(said.kinds, said.bands), unknown])


def measured(
    table: OutcomeTable, kinds: Mapping[str, Ints]
) -> tuple[dict[str, Competence], dict[str, tuple[Floats, Ints]]]:
    """Return cards over words, and for every agent its edges and the word of each kind (the last: none) and band."""
    cards = measure(table, seed=0)
    said = []
    for place, name in enumerate(table.agents):
        edges, kind = np.array(cards[name].bands), kinds.get(name, np.full(table.shape[2], -1))
        band = np.searchsorted(edges, np.nan_to_num(table.confidence[0, place]), side="right")
        said.append(Said(edges, band, kind, table.score[0, place], int(kind.max()) + 1))
    (first, plain), (second, told) = block(said, PLAIN, kinds=False), block(said, TOLD, kinds=True)
    prior = np.concatenate([UNKNOWN * first, (1 - UNKNOWN) * second])
    spoken = [in_words(agent, plain, told, second) for agent in said]
    scale = graded(prior, said, spoken)
    found, words = {}, {}
    for name, agent, (says, right, word) in zip(table.agents, said, spoken, strict=True):
        count = says.shape[1]
        says = says / says.sum(axis=1, keepdims=True)
        found[name] = replace(
            cards[name],
            scale=scale,
            bands=tuple((w + 1) / count for w in range(count - 1)),
            speaks=tuple(map(tuple, says)),
            solves=tuple(map(tuple, right)),
        )
        words[name] = agent.edges, word
    return found, words


def graded(prior: Floats, said: list[Said], spoken: list[tuple[Floats, Floats, Ints]]) -> DifficultyScale:
    """Return the scale: beliefs after looks of some of the agents, with kinds and without, gathered into grades."""
    random, n, beliefs = np.random.default_rng(1), len(said[0].score), []
    for unknown in (False, True) * 3:
        logs = np.repeat(np.log(prior)[:, None], n, axis=1)
        for agent, (says, _, word) in zip(said, spoken, strict=True):
            asked = random.random(n) < random.uniform(0.3, 1.0)
            heard = word[-1 if unknown else agent.kind, agent.band]
            logs += np.where(asked & (agent.bands > 1), np.log(np.maximum(says, 1e-9))[:, heard], 0.0)
        beliefs.append(normalised(logs).T)
    first = (prior[:, None] * spoken[0][0]).T
    fixed = np.vstack([prior[None], first / first.sum(axis=1, keepdims=True)])
    points = np.sqrt(np.unique(np.round(np.vstack(beliefs), 4), axis=0))
    centres, _ = kmeans2(points, GRADES - len(fixed), minit="++", rng=np.random.default_rng(2), iter=8)
    grades = np.maximum(np.vstack([fixed, centres**2]), 1e-7)
    grades /= grades.sum(axis=1, keepdims=True)
    return DifficultyScale(prior=tuple(prior / prior.sum()), grades=tuple(map(tuple, grades)))


def spelt(table: OutcomeTable, words: Mapping[str, tuple[Floats, Ints]], kinds: Mapping[str, Ints]) -> OutcomeTable:
    """Return the table with every agent's word in place of its confidence."""
    confidence = table.confidence[:1].copy()
    for place, name in enumerate(table.agents):
        edges, word = words[name]
        band = np.searchsorted(edges, np.nan_to_num(confidence[0, place]), side="right")
        kind = kinds.get(name, np.full(table.shape[2], -1))
        confidence[0, place] = (word[kind, band] + 0.5) / (word.max() + 1)
    return replace(table, confidence=np.broadcast_to(confidence, table.shape))


def worth(network: Network, cards: Mapping[str, Competence], table: OutcomeTable) -> tuple[Floats, list[str]]:
    """Return the utility at full cost of every query, shape (S, Q), and a line of figures per scenario."""
    told = {
        name: RecordedAgent(replace(agent.card, competence=cards[name]), []) for name, agent in network.agents.items()
    }
    routed = network.with_agents(told, network.edges).replace(policy=policy_of("value-of-forwarding"))
    choice, best = replay(table, routed).choice, chosen(table, oracle(table))
    values, lines = [], []
    for s, scenario in enumerate(table.scenarios):
        utility = (choice.score[s] - scenario.alpha * choice.cost[s]).mean()
        share = utility / (best.score[s] - scenario.alpha * best.cost[s]).mean()
        values.append(choice.score[s] - scenario.alpha * choice.cost_full[s])
        rejections = 1.0 - choice.cost[s].sum() / choice.cost_full[s].sum()
        lines.append(f"{utility:.3f} ({share:.3f})  full {values[-1].mean():.3f}  rejections {rejections:.3f}")
    return np.array(values), lines


def main(named: str, fitted_on: str, *judged_on: str) -> None:
    """Print utility, share of the oracle and what kinds add, for every table and scenario."""
    network, suite = disrouter.load(named), LabSuite()

    def read(path: str) -> OutcomeTable:
        return fitted(OutcomeTable.read(path), network).in_scenarios(list(SCENARIOS.values()))

    first = read(fitted_on)
    tables = {"in the fit": first, **{path: read(path) for path in judged_on}}
    kinds: dict[str, dict[str, Ints]] = {path: {} for path in tables}
    for name in list(network.agents)[:AGENTS]:
        agent = network.agents[name]
        assert isinstance(agent, TransformersAgent)
        seen = {path: units(agent, queries_of(table, suite)) for path, table in tables.items()}
        tells = telling(agent, suite, seen["in the fit"])
        for path, found in seen.items():
            kinds[path][name] = tells.of(found)
            print(f"{name}: {np.mean(kinds[path][name] >= 0):.3f} of known kind, {path}", flush=True)
    even = np.arange(first.shape[2]) % 2 == 0
    halves = [
        (first.select(queries=half), {name: kind[half] for name, kind in kinds["in the fit"].items()})
        for half in (even, ~even)
    ]
    judged = [("other half of the fitting table", *halves[0], *halves[1])]
    judged += [(path, first, kinds["in the fit"], tables[path], kinds[path]) for path in judged_on]
    for what, on, on_kinds, table, table_kinds in judged:
        cards, words = measured(on, on_kinds)
        without, plain = worth(network, measure(on, seed=0), table)
        with_, told = worth(network, cards, spelt(table, words, table_kinds))
        gain = with_ - without
        error = 1.96 * gain.std(axis=1) / np.sqrt(gain.shape[1])
        for s, scenario in enumerate(table.scenarios):
            print(f"{what}, {scenario.name}\n  without {plain[s]}\n  kinds   {told[s]}", flush=True)
            print(f"  gain at full cost {gain[s].mean():+.4f} ± {error[s]:.4f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
