"""Text for key statistics: whose it is, and how much of it is read."""

from __future__ import annotations

import base64
import json
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from patchhub import canonical
from patchhub.durable import swap_in
from patchhub.editing.wording.sampling import sample_texts
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.provenance import CorpusRecord
from patchhub.sites import module_of, weight_matrix

if TYPE_CHECKING:
    from typing import Self

DOCUMENTS = 100_000
"""Texts that the references take of a corpus, drawn as they do: by ``random.Random(1)``."""
SAMPLE_TOKENS = 128
SAMPLE_BATCH = 64
"""Texts the model writes at once."""
OWN, GIVEN = "samples", "texts"
"""Sources: the model's own samples; text that the user gave."""
_EVERY = 30.0
"""Seconds after which texts written so far are kept."""

Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Amount:
    """How much text statistics are taken from.

    ``full`` is what the references take: 100,000 texts, or all there are; of the model's own
    samples, which have no end, 16 tokens per dimension of a key. ``fast`` is 10 tokens per
    dimension (Gupta et al., ACL 2025, arXiv:2506.04226: more changes edits little). A number is
    that many tokens per dimension.

    Attributes:
        word: As the user said it.
        tokens: Of given text, tokens per dimension of a key; None for no limit.
        own: Of own samples.
    """

    word: str
    tokens: int | None
    own: int

    @classmethod
    def of(cls, word: str) -> Self:
        """The amount that a word means.

        Raises:
            InvalidInputError: E142, it means none.
        """
        if word == "full":
            return cls(word, None, 16)
        if word == "fast":
            return cls(word, 10, 10)
        if word.isascii() and word.isdecimal() and 0 < int(word) < 10**6:
            return cls(str(int(word)), int(word), int(word))
        raise InvalidInputError(
            "E142",
            "no such amount of text for statistics",
            expected="full | fast | tokens per dimension of a key, such as 40",
            found=word,
        )


FULL = Amount.of("full")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Text for key statistics, not yet there if the model itself is to write it.

    Attributes:
        record: What a manifest says of it; with the base it determines the texts.
        texts: The texts, in the order in which they are read. The model's own are sampled on each
            call, or taken from a file that an earlier, interrupted call left.
        limit: Tokens after which nothing more is read; None to read all.
        samples: How many texts the model writes; 0 where they are given.
        length: Tokens of each of those.
    """

    record: CorpusRecord
    texts: Callable[[Path | None, Told | None], Sequence[str]]
    limit: int | None = None
    samples: int = 0
    length: int = 0


def corpus_for(
    base: LoadedBase, seed: int, texts: Iterable[str] | None, amount: Amount = FULL
) -> Corpus:
    """The given texts, or the model's own samples, drawn by a generator of their own.

    Args:
        base: The base.
        seed: Of the samples.
        texts: Given ones; None for samples.
        amount: How much is wanted.
    """
    path = base.arch.path("mlp_out", 0, base.model, base.arch.reading)
    width = weight_matrix(module_of(base.model, path)).shape[1]
    if texts is not None:
        given = tuple(texts)
        record = CorpusRecord(GIVEN, corpus_digest(given), amount.word)
        chosen = _drawn(given, limited=amount.tokens is not None)
        limit = None if amount.tokens is None else amount.tokens * width
        return Corpus(record, lambda file, told: chosen, limit)
    count = math.ceil(amount.own * width / SAMPLE_TOKENS)
    digest = canonical.digest({"samples": count, "tokens": SAMPLE_TOKENS, "seed": seed})
    context = getattr(base.model.config, "max_position_embeddings", SAMPLE_TOKENS)
    length = min(SAMPLE_TOKENS, int(context))
    write = partial(_own_texts, base, count, length, seed)
    return Corpus(CorpusRecord(OWN, digest, amount.word), write, None, count, length)


def corpus_digest(texts: Sequence[str]) -> str:
    """SHA-256 over texts in their order."""
    return canonical.digest(list(texts))


def _drawn(texts: tuple[str, ...], *, limited: bool) -> tuple[str, ...]:
    """A part of a corpus must be spread over all of it; the whole is read as it stands."""
    if not limited and len(texts) <= DOCUMENTS:
        return texts
    places = list(range(len(texts)))
    random.Random(1).shuffle(places)
    return tuple(texts[i] for i in places[:DOCUMENTS])


def _own_texts(
    base: LoadedBase, count: int, length: int, seed: int, file: Path | None, told: Told | None
) -> list[str]:
    """A cache hit changes nothing: the generator serves nothing else."""
    generator = torch.Generator().manual_seed(seed)
    texts = [] if file is None else _taken_up(file, generator)
    kept = time.monotonic()
    while len(texts) < count:
        texts += sample_texts(
            base.model,
            base.tokenizer,
            generator,
            count=min(SAMPLE_BATCH, count - len(texts)),
            length=length,
        )
        if told is not None:
            told(len(texts), count)
        if file is not None and time.monotonic() - kept >= _EVERY:
            _put_down(file, texts, generator)
            kept = time.monotonic()
    return texts


def _put_down(file: Path, texts: Sequence[str], generator: torch.Generator) -> None:
    state = base64.b64encode(generator.get_state().numpy().tobytes()).decode()
    swap_in(file, json.dumps({"texts": list(texts), "state": state}).encode())


def _taken_up(file: Path, generator: torch.Generator) -> list[str]:
    """The texts that are there already, the generator set to where it was after them."""
    try:
        found = json.loads(file.read_bytes())
        texts, state = list(map(str, found["texts"])), base64.b64decode(found["state"])
        generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return []
    return texts
