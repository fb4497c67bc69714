"""The OpenAI API by the letter: named cases that can be tried on any gateway, knowing only its address.

A pure client: it imports nothing of the gateway of this project.
"""

from __future__ import annotations

from disrouter.conformance.case import ABILITIES, Ability, Case
from disrouter.conformance.runner import CASES, Outcome, Report, cases_named, run
from disrouter.conformance.target import Target

__all__ = ["ABILITIES", "CASES", "Ability", "Case", "Outcome", "Report", "Target", "cases_named", "run"]
