"""Trying all cases on a target, some at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from disrouter.conformance.case import Ability, BrokenRuleError, Case
from disrouter.conformance.chat import CHAT
from disrouter.conformance.completions import COMPLETIONS, MODELS
from disrouter.conformance.faults import FAULTS
from disrouter.conformance.refusals import REFUSALS
from disrouter.conformance.responses import RESPONSES
from disrouter.conformance.streaming import STREAMING
from disrouter.conformance.target import Target
from disrouter.conformance.tools import STRUCTURED, TOOLS
from disrouter.errors import RunError, UnknownNameError

__all__ = ["CASES", "Outcome", "Report", "cases_named", "run"]

CASES: Sequence[Case] = tuple(
    case
    for group in (CHAT, STREAMING, TOOLS, STRUCTURED, COMPLETIONS, RESPONSES, MODELS, REFUSALS, FAULTS)
    for case in group.cases
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case."""

    case: Case
    verdict: Literal["passed", "failed", "skipped"]
    detail: str = ""
    """How the rule was broken, or what was missing to try it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of all cases, in their order."""

    outcomes: Sequence[Outcome]
    abilities: frozenset[Ability]
    """What was known of the model behind the gateway."""

    def of(self, verdict: str) -> list[Outcome]:
        """Return the outcomes with one verdict."""
        return [outcome for outcome in self.outcomes if outcome.verdict == verdict]


def cases_named(words: Iterable[str]) -> list[Case]:
    """Return the cases of names, of groups and of beginnings of names; all, if there are no words.

    Raises:
        UnknownNameError: A word means no case.
    """
    wanted = list(words)
    for word in wanted:
        if not any(_means(word, case) for case in CASES):
            known = [*dict.fromkeys(case.group for case in CASES), *(case.name for case in CASES)]
            raise UnknownNameError.of("case", word, known[:9], hint="`disrouter conformance --list` shows all")
    return [case for case in CASES if not wanted or any(_means(word, case) for word in wanted)]


def _means(word: str, case: Case) -> bool:
    return word == case.group or case.name == word or case.name.startswith(f"{word}-")


async def run(
    target: Target,
    cases: Sequence[Case] = CASES,
    *,
    abilities: Collection[Ability] | None = None,
    at_once: int = 4,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Try cases on a target and say what became of them.

    Args:
        target: The gateway; opened and closed here.
        cases: What to try.
        abilities: What the model behind the gateway can; None finds out whether it is the mock, which can all of it.
        at_once: Cases under way at any time.
        report: Told how many are done.

    Raises:
        RunError: Nobody answers at the target's address.
    """
    async with target:
        await _reach(target)
        known = frozenset(abilities) if abilities is not None else await _find_out(target)
        known |= {"key"} if target.key is not None else frozenset[Any]()
        places = asyncio.Semaphore(at_once)
        done = 0

        async def try_one(case: Case) -> Outcome:
            nonlocal done
            async with places:
                outcome = await _try(case, target, known)
            done += 1
            report(done, len(cases))
            return outcome

        return Report(await asyncio.gather(*map(try_one, cases)), known)


async def _reach(target: Target) -> None:
    try:
        await target.get("/models")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise RunError(
            f"Nobody answers at '{target.url}': {error or type(error).__name__}.",
            hint="is the gateway running, and does the address end in /v1?",
        ) from error


async def _find_out(target: Target) -> frozenset[Ability]:
    """Return everything if the mock backend answers, else nothing."""
    reply = await target.chat("[words=3]", n=1)
    body: Any = reply.json() if reply.status == 200 else None
    try:
        mock = body["choices"][0]["message"]["content"] == "word0 word1 word2"
    except (TypeError, LookupError):
        return frozenset()
    return frozenset({"tools", "structured", "logprobs", "n", "mock"}) if mock else frozenset()


async def _try(case: Case, target: Target, abilities: frozenset[Ability]) -> Outcome:
    missing = sorted(case.needs - abilities)
    if missing:
        return Outcome(case, "skipped", f"needs {', '.join(missing)}")
    try:
        await case.check(target)
    except BrokenRuleError as failure:
        return Outcome(case, "failed", str(failure))
    except TimeoutError:
        return Outcome(case, "failed", f"no answer within {target.timeout:g} s")
    except (aiohttp.ClientError, ConnectionError) as error:
        return Outcome(case, "failed", f"no HTTP answer: {error or type(error).__name__}")
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        # The answer is so unlike what it should be that the check itself stumbled.
        return Outcome(case, "failed", f"the answer cannot be read: {type(error).__name__}: {error}")
    return Outcome(case, "passed")
