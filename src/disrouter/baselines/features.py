"""Query features: what routers outside the agents read of a query's text, as rows of numbers.

TF-IDF with SVD by default, which needs no model and no network; sentence-transformers when asked for. Both are fitted
on training texts only. Whoever routes by them is charged :func:`feature_cost` per query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from disrouter.errors import ConfigError, MissingExtraError, UnknownNameError

if TYPE_CHECKING:
    from disrouter.evaluation.outcomes import OutcomeTable

__all__ = [
    "FEATURES",
    "TFIDF",
    "SentenceTransformers",
    "TextEncoder",
    "TextFeatures",
    "TfidfSvd",
    "feature_cost",
    "features_of",
]

Matrix = NDArray[np.float64]


class TextEncoder(Protocol):
    """Features fitted on training texts."""

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return one row per text."""
        ...


class TextFeatures(Protocol):
    """A way to turn texts into rows of numbers."""

    @property
    def cost(self) -> float | None:
        """Normalised cost per text; None means that of a look of the cheapest agent."""
        ...

    def fit(self, texts: Sequence[str], *, seed: int) -> TextEncoder:
        """Return the encoder of these training texts."""
        ...


@dataclass(frozen=True, slots=True)
class TfidfSvd:
    """Words, word pairs and short runs of characters by TF-IDF, reduced by SVD, beside a few counts of the text.

    Columns have mean 0 and, over all of each part, deviation 1 on the training texts.
    """

    dimensions: int = 48
    words: int = 8000
    """Most terms of each kind that are kept, the most frequent."""

    characters: bool = True
    """Whether runs of characters count too."""

    cost: float = 0.0
    """It asks no model: looking words up costs microseconds."""

    name: ClassVar[str] = "tfidf"

    def fit(self, texts: Sequence[str], *, seed: int) -> TextEncoder:
        """Return the encoder; the same one for the same texts, so that many routers share the work."""
        return _fit_tfidf(tuple(texts), self, seed)


@dataclass(frozen=True, slots=True)
class SentenceTransformers:
    """Embeddings of a sentence encoder that lies on this machine (sentence-transformers, installed by you)."""

    model: str
    """Folder of the encoder."""

    cost: float | None = None
    """Normalised cost per text. An encoder is a model: unless you know better it is charged like a cheapest look."""

    name: ClassVar[str] = "sentence-transformers"

    def fit(self, texts: Sequence[str], *, seed: int) -> TextEncoder:
        """Return the encoder, which only learns mean and deviation from the texts."""
        return _fit_sentences(tuple(texts), self.model)


TFIDF = TfidfSvd()
"""What everyone reads unless asked otherwise."""

FEATURES: dict[str, str] = {
    TfidfSvd.name: "TF-IDF of words and characters with SVD; offline, free",
    SentenceTransformers.name: "a sentence encoder in a local folder: sentence-transformers:FOLDER",
}
"""Names of features, each with its sentence."""


def features_of(spec: str) -> TextFeatures:
    """Return the features that a name means: ``tfidf`` or ``sentence-transformers:FOLDER``.

    Raises:
        UnknownNameError: No features have this name.
        ConfigError: The folder of the sentence encoder is not named.
    """
    name, _, rest = spec.partition(":")
    if name == TfidfSvd.name and not rest:
        return TFIDF
    if name != SentenceTransformers.name:
        raise UnknownNameError.of("features", spec, FEATURES)
    if not rest:
        raise ConfigError(
            "Features 'sentence-transformers' need the folder of an encoder.",
            hint="write sentence-transformers:FOLDER",
        )
    return SentenceTransformers(rest)


def feature_cost(features: TextFeatures, table: OutcomeTable) -> float:
    """Return the normalised cost of reading one text, at the prices of a table."""
    if features.cost is not None:
        return features.cost
    return float(table.look_cost.mean(axis=(0, 2)).min())


@dataclass(frozen=True, slots=True, eq=False)
class _Tfidf:
    """A fitted :class:`TfidfSvd`."""

    vectorizer: Any
    svd: Any
    centre: Matrix
    scale: Matrix

    def encode(self, texts: Sequence[str]) -> Matrix:
        return _encode_tfidf(self, tuple(texts))


@lru_cache(maxsize=8)
def _fit_tfidf(texts: tuple[str, ...], features: TfidfSvd, seed: int) -> _Tfidf:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    shared = {"max_features": features.words, "sublinear_tf": True, "dtype": np.float64}
    # Every run of letters or digits and every other sign is a word: "12+7" has three.
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"[^\W\d_]+|\d+|[^\w\s]", **shared)
    runs = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), **shared)
    union = FeatureUnion([("words", words), ("characters", runs)] if features.characters else [("words", words)])
    found = union.fit_transform(texts)
    svd = TruncatedSVD(max(1, min(features.dimensions, min(found.shape) - 1)), random_state=seed % 2**32)
    parts = svd.fit_transform(found), _counts(texts)
    # One scale for the whole SVD, so that weak components stay weak; one for each count.
    deviations = [np.full(parts[0].shape[1], _spread(parts[0].std(axis=0))), parts[1].std(axis=0)]
    scale = np.concatenate(deviations)
    return _Tfidf(union, svd, np.hstack(parts).mean(axis=0), np.where(scale > 1e-9, scale, 1.0))


@lru_cache(maxsize=16)
def _encode_tfidf(encoder: _Tfidf, texts: tuple[str, ...]) -> Matrix:
    reduced = encoder.svd.transform(encoder.vectorizer.transform(texts))
    return _frozen((np.hstack([reduced, _counts(texts)]) - encoder.centre) / encoder.scale)


@dataclass(frozen=True, slots=True, eq=False)
class _Sentences:
    """A fitted :class:`SentenceTransformers`."""

    model: str
    centre: Matrix
    scale: Matrix

    def encode(self, texts: Sequence[str]) -> Matrix:
        return _frozen((_embed(self.model, tuple(texts)) - self.centre) / self.scale)


@lru_cache(maxsize=8)
def _fit_sentences(texts: tuple[str, ...], model: str) -> _Sentences:
    found = _embed(model, texts)
    return _Sentences(model, found.mean(axis=0), np.full(found.shape[1], _spread(found.std(axis=0))))


@lru_cache(maxsize=16)
def _embed(model: str, texts: tuple[str, ...]) -> Matrix:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as exc:
        raise MissingExtraError(
            "Features 'sentence-transformers' need the library of that name, which is not installed.",
            hint="pip install sentence-transformers, or use the features 'tfidf'",
        ) from exc
    found = SentenceTransformer(model, local_files_only=True).encode(list(texts), convert_to_numpy=True)
    return np.asarray(found, dtype=np.float64)


def _counts(texts: Sequence[str]) -> Matrix:
    """Return how long and how numerical each text is, shape (n, 6); logarithms, since lengths multiply."""
    rows = [_count(text) for text in texts]
    return np.log1p(np.array(rows, dtype=np.float64).reshape(len(texts), 6))


def _count(text: str) -> tuple[int, ...]:
    numbers = "".join(c if c.isdigit() else " " for c in text).split()
    words = text.split()
    return (
        len(text),
        len(words),
        max(map(len, words), default=0),
        len(numbers),
        max(map(len, numbers), default=0),
        sum(not (c.isalnum() or c.isspace()) for c in text),
    )


def _spread(deviations: Matrix) -> float:
    """Return one deviation for several columns together; 1 where nothing varies."""
    together = float(np.sqrt(np.mean(deviations**2)))
    return together if together > 1e-9 else 1.0


def _frozen(matrix: Matrix) -> Matrix:
    """Return a matrix that nobody can change: routers share it."""
    matrix.flags.writeable = False
    return matrix
