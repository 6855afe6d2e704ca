"""Causal tracing: which states, put back to what they were, bring a lost answer back?

Source: Meng et al. 2022, arXiv:2202.05262, section 2.1. The subject's embeddings get noise, so that
the model loses the answer o. Then some states of that run are set to their values of the clean run.
The indirect effect of these states is what o's probability gains:

    IE = P*, clean states[o] − P*[o]

Here o is the whole answer, not only its first token, and the tokens of one kind (`places.Place`)
are put back together. MLPs and attentions are put back in a window of blocks, as in figure 1: what
one adds to the residual stream is small.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from statistics import fmean

import torch
from torch import Tensor

from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.locating.facts import Fact
from patchhub.locating.places import Place, places
from patchhub.locating.restoring import Run
from patchhub.scoring.batching import by_length, evaluating
from patchhub.scoring.intervals import bootstrap
from patchhub.sites import module_of

SAMPLES = 10
"""Draws of noise per prompt, as published."""
NOISE = 3.0
"""Standard deviation of the noise, in multiples of that of the subjects' embeddings."""
_WINDOW = 10 / 48
"""Blocks of a window: ten of GPT-2 XL's 48 were published."""


class Part(StrEnum):
    """What is put back."""

    BLOCK = "block"
    MLP = "mlp"
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class Effect:
    """Average indirect effect over facts, with its 95 % interval.

    Attributes:
        part: What was put back.
        block: In which block, or around which.
        place: At which tokens.
        mean: What the answer's probability gained.
        low: Lower bound.
        high: Upper bound.
        n: Number of facts that have such tokens.
    """

    part: Part
    block: int
    place: Place
    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Tracing:
    """What causal tracing found.

    Attributes:
        effects: One per part, block and place.
        clean: Mean probability of the answers.
        corrupted: The same with noise on the subjects.
        n: Number of facts.
        samples: Draws of noise per fact.
        noise: Standard deviation of the noise.
        window: Blocks of a window.
        blocks: Blocks of the stack that reads prompts.
    """

    effects: tuple[Effect, ...]
    clean: float
    corrupted: float
    n: int
    samples: int
    noise: float
    window: int
    blocks: int


def window_of(blocks: int) -> int:
    """Blocks of a window in a model of so many."""
    return max(1, int(blocks * _WINDOW))


def around(block: int, window: int, blocks: int) -> range:
    """Blocks of the window around a block, cut at both ends."""
    return range(max(0, block - window // 2), min(blocks, block - window // 2 + window))


def trace(
    base: LoadedBase,
    facts: Sequence[Fact],
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Tracing:
    """Measure the indirect effect of every part, block and kind of position.

    Args:
        base: The model, as it is to be edited.
        facts: What it knows.
        samples: Draws of noise per fact.
        seed: Of the noise.
        progress: Told passes done and in all.

    Raises:
        InvalidInputError: E142, the number of samples.
    """
    if samples < 1:
        raise InvalidInputError(
            "E142", "tracing needs noise", expected="1 draw or more", found=samples
        )
    blocks = base.arch.block_count(base.model, base.arch.reading)
    window = window_of(blocks)
    with evaluating(base.model):
        scale = NOISE * _spread(base, facts)
        noise = _draws(base, facts, samples, scale, seed)
        gains: dict[tuple[Part, int, Place], list[float]] = defaultdict(list)
        clean: list[float] = []
        corrupted: list[float] = []
        groups = list(_groups(facts, samples))
        for number, group in enumerate(groups):
            some = [facts[i] for i in group]
            run = Run(base, some, [noise[i] for i in group], (Part.MLP, Part.ATTENTION))
            clean += run.clean.tolist()
            corrupted += run.corrupted.mean(1).tolist()
            for step, (part, block) in enumerate(product(Part, range(blocks))):
                if progress is not None:
                    progress(number * len(Part) * blocks + step, len(groups) * len(Part) * blocks)
                chosen = [block] if part is Part.BLOCK else around(block, window, blocks)
                for place, values in _gained(run, some, part, chosen):
                    gains[part, block, place] += values
    effects = tuple(Effect(*key, *bootstrap(values), len(values)) for key, values in gains.items())
    return Tracing(
        effects, fmean(clean), fmean(corrupted), len(facts), samples, scale, window, blocks
    )


def _gained(
    run: Run, facts: Sequence[Fact], part: Part, blocks: Sequence[int]
) -> Iterator[tuple[Place, list[float]]]:
    """Per kind of position the effects on the facts that have such."""
    kinds = [places(len(fact.given), fact.subject) for fact in facts]
    for place in Place:
        tokens = [kind.get(place, ()) for kind in kinds]
        if any(tokens):
            gain = (run.restored(part, blocks, tokens) - run.corrupted).mean(1).tolist()
            yield place, [value for value, some in zip(gain, tokens, strict=True) if some]


def _spread(base: LoadedBase, facts: Sequence[Fact]) -> float:
    """Standard deviation of the numbers in the embeddings of all subjects' tokens."""
    ids = [fact.given[i] for fact in facts for i in fact.subject]
    embedding = module_of(base.model, base.arch.embedding)
    found = embedding(torch.tensor(ids, device=base.model.device))
    return float(found.double().std())


def _draws(
    base: LoadedBase, facts: Sequence[Fact], samples: int, scale: float, seed: int
) -> list[Tensor]:
    """Noise of each fact, the same however facts are grouped."""
    width = module_of(base.model, base.arch.embedding).get_parameter("weight").shape[1]
    generator = torch.Generator().manual_seed(seed)
    return [
        scale * torch.randn(samples, len(fact.subject), width, generator=generator).double()
        for fact in facts
    ]


def _groups(facts: Sequence[Fact], samples: int) -> Iterator[list[int]]:
    """Facts of like length, as many as fit into one batch with all draws of their noise."""
    lengths = [samples * (len(fact.given) + len(fact.wanted)) for fact in facts]
    return by_length(lengths, len(facts))
