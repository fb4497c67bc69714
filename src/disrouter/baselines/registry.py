"""The built-in methods by name. Looking a name up loads nothing; only making the method imports its file."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from disrouter.errors import MissingExtraError, UnknownNameError

if TYPE_CHECKING:
    from disrouter.baselines.contract import Router

__all__ = ["BASELINES", "baseline_of"]

BASELINES: dict[str, str] = {
    "random": "fixed:Random",
    "smallest": "fixed:Smallest",
    "largest": "fixed:Largest",
    "best-single": "fixed:BestSingle",
    "routellm-mf": "matrix_factorisation:MatrixFactorisation",
    "routellm-classifier": "text_classifier:TextClassifier",
    "hybrid-llm": "hybrid_llm:HybridLlm",
    "forc": "forc:Forc",
    "carrot-knn": "nearest_neighbours:NearestNeighbours",
    "avengers-pro": "clusters:Clusters",
    "mlp": "mlp:Mlp",
    "svm": "svm:Svm",
    "irt": "item_response:ItemResponse",
    "graphrouter": "graph_router:GraphRouter",
    "external-classifier": "external_classifier:ExternalClassifier",
    "prefill-probe": "prefill_probe:PrefillProbe",
    "frugalgpt": "frugal_gpt:FrugalGpt",
    "automix": "automix:AutoMix",
    "cascade-routing": "cascade_routing:CascadeRouting",
}
"""Name → ``module:Class`` under :mod:`disrouter.baselines`, in the order of reports."""

_EXTRA = {"scipy", "sklearn", "torch", "torch_geometric"}


def baseline_of(name: str, **settings: Any) -> Router:
    """Return a built-in method by its name.

    Raises:
        UnknownNameError: No built-in method has that name.
        MissingExtraError: The libraries it runs on are not installed.
    """
    if name not in BASELINES:
        raise UnknownNameError.of("method", name, BASELINES)
    module, _, cls = BASELINES[name].partition(":")
    try:
        made: Router = getattr(import_module(f"disrouter.baselines.{module}"), cls)(**settings)
    except ModuleNotFoundError as exc:
        if exc.name is not None and exc.name.split(".")[0] in _EXTRA:
            raise MissingExtraError.of(f"Method '{name}'", "bench") from exc
        raise
    return made
