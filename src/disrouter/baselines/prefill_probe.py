"""A probe of one small agent's prefill that predicts all agents.

Source: probes of hidden states for self-assessment (Kadavath et al., arXiv 2207.05221; Azaria and Mitchell, arXiv
2304.13734), used as a router: what the cheapest agent's prefill holds of a query also tells how hard it is for
others.
Algorithm: a perceptron from the hidden states of the prompt's last token to all agents' scores, then argmax score −
weight·cost, at once and without asking anybody else.
Departures: none; it is the natural rival of self-assessment, with the same information about the query.
May look at: the recorded prefill features of one agent. Charged: that agent's look at every query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from disrouter.baselines._plug_in import Floats, PlugIn, fit_plug_in
from disrouter.baselines.contract import Need, Queries, Rows
from disrouter.baselines.ledger import Ledger
from disrouter.baselines.mlp import SETTINGS, learn_scores
from disrouter.errors import DataError

__all__ = ["PrefillProbe"]


@dataclass(frozen=True, slots=True)
class PrefillProbe:
    """Reads one agent's mind to judge all."""

    name: ClassVar[str] = "prefill-probe"
    needs: ClassVar[frozenset[Need]] = frozenset({"features"})

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> PlugIn:
        """Train the probe on train, choose setting and cost weight on validation.

        Raises:
            DataError: No prefill features were recorded.
        """
        if train.features is None or validation.features is None:
            raise DataError("Method 'prefill-probe' needs prefill features, which these rows do not hold.")
        x = train.features.values
        deviation = x.std(axis=0)
        reader = _FeatureReader(x.mean(axis=0), np.where(deviation > 1e-6, deviation, 1.0))
        return fit_plug_in(
            train,
            validation,
            reader,
            reader.scaled(x),
            reader.scaled(validation.features.values),
            settings=SETTINGS,
            learn=learn_scores,
            seed=seed,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _FeatureReader:
    """Reads prefill features, at the cost of a look."""

    mean: Floats
    scale: Floats
    needs: frozenset[Need] = PrefillProbe.needs

    def read(self, queries: Queries, ledger: Ledger) -> Floats:
        return self.scaled(ledger.features(np.arange(len(queries))))

    def scaled(self, values: Floats) -> Floats:
        return np.asarray((values - self.mean) / self.scale)
