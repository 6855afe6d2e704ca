"""Probes for a base about which nothing is known: what the model itself says.

A text is drawn from the model; the first words of its greedy continuation of a part of that text
are the answer that must stay. So every question is known before by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from patchhub import canonical
from patchhub.editing.wording.tokens import context_length
from patchhub.errors import InvalidInputError
from patchhub.guard.probes import BaseProbes
from patchhub.loading import LoadedBase
from patchhub.scoring import answers
from patchhub.scoring.batching import tokenise
from patchhub.scoring.generate import decode, end_tokens, sampler
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.scorer import Question, Scorer

ANSWER_WORDS = 2
"""More of a free continuation turns on near ties that say nothing about damage."""

_LENGTH = 48  # tokens of a sampled text
_NEW_TOKENS = 12
_ANSWER_TOKENS = 8
_ROWS = 64
_ROUNDS = 40
_MIN_WORDS = 3

Progress = Callable[[str, int, int], None]


def sample_probes(
    base: LoadedBase,
    *,
    questions: int,
    texts: int,
    seed: int,
    progress: Progress | None = None,
) -> BaseProbes:
    """Sample until there are enough different questions and texts.

    Args:
        base: The base, without patches.
        questions: How many questions.
        texts: How many texts.
        seed: Of the draws.
        progress: Told phase, questions found and wanted.

    Raises:
        InvalidInputError: E145, the samples hold too few different questions.
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Question] = {}
    kept: list[str] = []
    for _ in range(_ROUNDS):
        drawn = _draw(base, generator)
        kept += [text for text in drawn if text not in kept][: texts - len(kept)]
        found.update((question.prompt, question) for question in _ask(base, drawn, generator))
        if progress is not None:
            progress("sample probes", min(len(found), questions), questions)
        if len(found) >= questions and len(kept) >= texts:
            return BaseProbes(tuple(found.values())[:questions], tuple(kept))
    raise InvalidInputError(
        "E145",
        "the model's own samples are too few",
        expected=f"{questions} different questions and {texts} texts",
        found=f"{len(found)} and {len(kept)} after {_ROUNDS * _ROWS} samples",
        hint="give the base probes of its own",
    )


def _draw(base: LoadedBase, generator: torch.Generator) -> list[str]:
    """Different texts of enough words, drawn at temperature 1 from the start of text."""
    start = tokenise(base.tokenizer, [""])[0].ids
    rows = decode(
        base.model,
        [start] * _ROWS,
        max_new_tokens=_LENGTH,
        ends=end_tokens(base.model, base.tokenizer),
        choose=sampler(generator),
    )
    texts = (str(base.tokenizer.decode(row, skip_special_tokens=True)).strip() for row in rows)
    good = (t for t in texts if len(t.split()) > _MIN_WORDS and canonical.portable(t))
    return list(dict.fromkeys(good))


def _ask(base: LoadedBase, texts: list[str], generator: torch.Generator) -> Iterator[Question]:
    """Questions cut from texts at a random word, with what the model goes on to say."""
    cuts = []
    for text in texts:
        # White space of the text itself is kept, so the prompt is a true prefix.
        ends = [i for i in range(1, len(text)) if text[i].isspace() and not text[i - 1].isspace()]
        ends = ends[_MIN_WORDS - 1 :]
        if ends:
            cut = ends[int(torch.randint(len(ends), (1,), generator=generator))]
            cuts.append(Question(text[:cut]))
    rows = tokenise(base.tokenizer, [cut.prompt for cut in cuts])
    room = (context_length(base.model) or 2 * _LENGTH) - _NEW_TOKENS
    # Broken characters become more tokens when they are read again.
    cuts = [cut for cut, row in zip(cuts, rows, strict=True) if len(row.ids) <= room]
    scorer = Scorer(base.model, base.tokenizer, max_new_tokens=_NEW_TOKENS)
    said = scorer.ask(cuts, Protocol.GENERATION)
    for question, answer in zip(cuts, said, strict=True):
        first = " ".join(answer.text.split()[:ANSWER_WORDS])
        if answers.words(first):
            # What cannot be said in a few tokens is compared as a whole, as far as it goes.
            short = len(tokenise(base.tokenizer, [first])[0].ids) <= _ANSWER_TOKENS
            yield Question(question.prompt, (first,) if short else ())
