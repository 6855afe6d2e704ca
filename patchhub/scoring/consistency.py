"""Does free text about the subject read like text about things of which the new fact is true?

Consistency RS (Meng et al. 2022, arXiv:2202.05262, section 3.4): the generations of a case joined,
the reference texts joined (passages about other subjects that really have the new object under this
relation), and the cosine of their tf-idf vectors. Torch-free.

Words are as scikit-learn's vectoriser finds them, which the paper used: runs of two or more word
characters in lower case. A word that the weights do not know counts for nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.recordfile import read_records

_WORD = re.compile(r"\b\w\w+\b")


@dataclass(frozen=True, slots=True)
class WordWeights:
    """Inverse document frequencies.

    Attributes:
        idf: Weight of each known word.
    """

    idf: Mapping[str, float]

    @classmethod
    def of(cls, documents: Iterable[str]) -> WordWeights:
        """Smoothed weights of a corpus: ln((1 + n) / (1 + df)) + 1, with n documents.

        What is similar depends on the corpus, so numbers of different corpora do not compare.
        """
        seen = [set(_words(text)) for text in documents]
        counts = Counter(word for words in seen for word in words)
        top = 1 + len(seen)
        return cls({word: math.log(top / (1 + df)) + 1 for word, df in sorted(counts.items())})

    @classmethod
    def read(cls, vocabulary: Path, idf: Path) -> WordWeights:
        """The weights that ROME publishes: ``tfidf_vocab.json`` and ``idf.npy``.

        Args:
            vocabulary: A JSON object of words and their places.
            idf: A vector of weights in NumPy's format.

        Raises:
            NotFoundError: E109. InvalidInputError: E130, E131, they are no such files.
        """
        import numpy as np

        (words,) = read_records(vocabulary)
        try:
            weights = np.load(idf, allow_pickle=False)
        except OSError as error:
            raise NotFoundError("E109", f"{idf}: cannot be read", found=error.strerror) from error
        except ValueError as error:
            raise _wrong(idf, "an array in NumPy's format", error) from error
        if weights.ndim != 1 or weights.dtype.kind != "f" or not np.isfinite(weights).all():
            raise _wrong(idf, "a vector of weights", f"{weights.dtype} {weights.shape}")
        places = {word: words.integer(word) for word in words.names()}
        if sorted(places.values()) != list(range(len(weights))):
            raise _wrong(idf, f"{len(places)} weights, one per word", f"{len(weights)}")
        return cls({word: float(weights[place]) for word, place in places.items()})

    def similarity(self, one: str, other: str) -> float:
        """Cosine of the tf-idf vectors of two texts, in [0, 1]; 0 where one has no known word."""
        a, b = self._vector(one), self._vector(other)
        product = math.fsum(weight * b[word] for word, weight in a.items() if word in b)
        length = math.hypot(*a.values()) * math.hypot(*b.values())
        return min(1.0, product / length) if length else 0.0

    def _vector(self, text: str) -> dict[str, float]:
        return {
            word: count * self.idf[word]
            for word, count in Counter(_words(text)).items()
            if word in self.idf
        }


def consistency(
    generations: Iterable[str], references: Iterable[str], weights: WordWeights
) -> float:
    """RS of one case as a share; the literature gives it times 100."""
    return weights.similarity(" ".join(generations), " ".join(references))


@dataclass(frozen=True)
class References:
    """Texts about things that have an object under a relation.

    Attributes:
        passages: By relation ("" where the file names none) and object.
    """

    passages: Mapping[tuple[str, str], tuple[str, ...]]

    @classmethod
    def read(cls, path: Path) -> References:
        """The texts of a file, its layout told by the fields of its first record.

        Records are either ``{"relation"?, "target", "texts": […]}`` or, as in CounterFact's
        ``attribute_snippets.json``, ``{"relation_id", "target_id", "samples": [{"text", …}]}``,
        whose objects are Wikidata's identifiers.

        Raises:
            NotFoundError: E109.
            InvalidInputError: E130, no such text; E131, a field is wrong; E135, another layout.
        """
        records = read_records(path)
        found: dict[tuple[str, str], list[str]] = {}
        for record in records:
            if "samples" in record:
                key = record.filled("relation_id"), record.filled("target_id")
                texts = [sample.filled("text") for sample in record.inners("samples")]
            elif "texts" in record:
                relation = record.optional(record.filled, "relation") or ""
                key = relation, record.filled("target")
                texts = list(record.texts("texts"))
                record.end()
            else:
                raise record.fail(
                    record.where,
                    "is no record of reference texts",
                    code="E135",
                    expected="texts or samples",
                    found=", ".join(record.names()),
                )
            found.setdefault(key, []).extend(texts)
        return cls({key: tuple(texts) for key, texts in found.items()})

    def texts(self, relation: str | None, *targets: str) -> tuple[str, ...]:
        """The texts of an object under a relation.

        Args:
            relation: Its name; texts that name no relation serve all.
            targets: The object by all its names (label, identifier); the first one that is known.
        """
        for target in targets:
            for key in ((relation or "", target), ("", target)):
                if key in self.passages:
                    return self.passages[key]
        return ()

    @cached_property
    def weights(self) -> WordWeights:
        """Weights with each text as a document, for want of those of a larger corpus."""
        return WordWeights.of(text for texts in self.passages.values() for text in texts)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _wrong(path: Path, expected: str, found: object) -> InvalidInputError:
    return InvalidInputError(
        "E131", f"{path}: no word weights", expected=expected, found=found, file=str(path)
    )
