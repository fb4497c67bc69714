"""Graphs of names: who may pass a query to whom, and what would make such a graph unusable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from graphlib import TopologicalSorter
from itertools import chain
from typing import TypeAlias

__all__ = [
    "Edges",
    "cascade",
    "cycle_in",
    "entries_of",
    "graph_problems",
    "reachable",
    "topological",
    "without",
]

Edges: TypeAlias = Mapping[str, tuple[str, ...]]
"""For every agent the agents it may pass to, the preferred one first."""


def cascade(ranks: Mapping[str, float]) -> dict[str, tuple[str, ...]]:
    """Return the chain by rising rank; equal ranks keep the order in which they are given."""
    names = sorted(ranks, key=lambda name: ranks[name])
    return {name: tuple(names[i + 1 : i + 2]) for i, name in enumerate(names)}


def entries_of(names: Iterable[str], edges: Edges) -> list[str]:
    """Return the names nobody passes to."""
    targets = {to for successors in edges.values() for to in successors}
    return [name for name in names if name not in targets]


def reachable(name: str, edges: Edges) -> frozenset[str]:
    """Return every name that can be reached along the edges from one name."""
    found: set[str] = set()
    due = list(edges.get(name, ()))
    while due:
        if (to := due.pop()) not in found:
            found.add(to)
            due.extend(edges.get(to, ()))
    return frozenset(found)


def topological(names: Sequence[str], edges: Edges) -> tuple[str, ...]:
    """Return the names of a graph without cycles, each after all that lead to it; else in the order given."""
    leading: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        for to in edges.get(name, ()):
            leading[to].append(name)
    return tuple(TopologicalSorter(leading).static_order())


def cycle_in(edges: Edges) -> list[str] | None:
    """Return one cycle as the names along it, first and last the same; None if there is none."""
    finished: set[str] = set()
    for start in edges:
        path: list[str] = []
        # Iterators on an explicit stack: a long chain must not end in a RecursionError.
        stack = [iter((start,))]
        while stack:
            name = next(stack[-1], None)
            if name is None:
                stack.pop()
                if path:
                    finished.add(path.pop())
            elif name in path:
                return [*path[path.index(name) :], name]
            elif name not in finished:
                path.append(name)
                stack.append(iter(edges.get(name, ())))
    return None


def graph_problems(names: Sequence[str], edges: Edges, always_answers: Mapping[str, bool]) -> list[str]:
    """Return every reason why queries cannot be routed along ``edges``, as sentences with the next step.

    Args:
        names: The agents of the network.
        edges: Who may pass to whom; an agent that is not a key passes to nobody.
        always_answers: True for agents that never reject, False for agents that must be able to.
    """
    unknown = _unknown_names(names, edges)
    problems = [*unknown, *_repeated_names(edges)]
    known = {name: tuple(to for to in edges.get(name, ()) if to in set(names)) for name in names}
    cycle = cycle_in(known)
    if cycle:
        problems.append(f"cycle {' -> '.join(cycle)}: a query could travel for ever; remove one of these edges")
    elif not unknown:  # a name spelt right would lead somewhere
        problems.extend(_entry_problems(names, known))
    problems.extend(
        f"agent '{name}' is declared always_answers: false but passes to nobody, a dead end that may reject; "
        "give it a successor or let it always answer"
        for name in names
        if not known[name] and always_answers.get(name) is False
    )
    return problems


def without(names: Sequence[str], edges: Edges, dropped: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the edges of the remaining names; whoever passed to a dropped one passes to its successors instead."""
    gone = set(dropped)

    @cache  # agents share successors: without memory the paths would multiply
    def heirs(name: str) -> tuple[str, ...]:
        ways = (heirs(to) if to in gone else (to,) for to in edges.get(name, ()))
        return tuple(dict.fromkeys(chain.from_iterable(ways)))

    return {name: heirs(name) for name in names if name not in gone}


def _unknown_names(names: Sequence[str], edges: Edges) -> list[str]:
    asked = dict.fromkeys([*edges, *(to for successors in edges.values() for to in successors)])
    return [f"unknown agent '{name}' in the edges; {_known(name, names)}" for name in asked if name not in names]


def _known(name: str, names: Sequence[str]) -> str:
    close = get_close_matches(name, names, n=1)
    return f"known: {_listed(names) or 'none'}" + (f"; did you mean '{close[0]}'?" if close else "")


def _repeated_names(edges: Edges) -> list[str]:
    return [
        f"agent '{name}' lists '{to}' more than once as successor; keep one"
        for name, successors in edges.items()
        for to in dict.fromkeys(successors)
        if successors.count(to) > 1
    ]


def _entry_problems(names: Sequence[str], edges: Edges) -> list[str]:
    entries = entries_of(names, edges)
    alone = [name for name in entries if not edges[name]] if len(names) > 1 else []
    starts = [name for name in entries if name not in alone]
    problems = []
    if alone:
        problems.append(
            f"{_listed(alone)} can never be asked: no edge leads there or away; add edges, or remove what is not needed"
        )
    if len(starts) > 1:
        problems.append(
            f"more than one entry: nobody passes to {_listed(starts)}, so it is unclear who is asked first; "
            "add edges until one is left"
        )
    return problems


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
