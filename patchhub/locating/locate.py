"""Where a model keeps its answers to requests, and which blocks an edit should take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from patchhub.editing.prepare import check_numbers
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.locating.facts import LeftOut, facts_of
from patchhub.locating.interchange import Moved, interchange
from patchhub.locating.pairing import pairs_of
from patchhub.locating.proposal import Proposal, propose
from patchhub.locating.tracing import Tracing, trace
from patchhub.request import EditRequest

LIMIT, PAIRS, SAMPLES = 20, 40, 5
"""Facts traced, pairs exchanged, draws of noise per fact: seconds on a small model."""
_ASKED = 10
"""Requests asked for every fact traced: pairs that ask the same are rare."""

Progress = Callable[[str, int, int], None]
"""Called with a phase, units done and units in all."""


@dataclass(frozen=True, slots=True)
class Located:
    """What was found.

    Attributes:
        model_type: Family of the model.
        blocks: Number of blocks of the stack that reads prompts.
        known: Number of requests whose answers the model knows.
        left_out: The others, each with the reason.
        tracing: Causal tracing.
        moved: Interchange; empty where no two requests ask the same of two subjects.
        proposal: Blocks to edit, and why.
    """

    model_type: str
    blocks: int
    known: int
    left_out: tuple[LeftOut, ...]
    tracing: Tracing
    moved: tuple[Moved, ...]
    proposal: Proposal

    @property
    def pairs(self) -> int:
        """Pairs of the interchange test."""
        return self.moved[0].n if self.moved else 0


def locate(
    base: LoadedBase,
    requests: Sequence[EditRequest],
    *,
    limit: int = LIMIT,
    pairs: int = PAIRS,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Located:
    """Trace the answers to requests through a model and propose the blocks to edit.

    Args:
        base: The model, as it is to be edited; afterwards as it was.
        requests: With subjects. Their old answers must be the model's; where a request says none,
            whatever the model answers is followed.
        limit: Most facts traced; of the requests the first ten times as many are asked.
        pairs: Most pairs exchanged, of all that is known; 0 for no interchange test.
        samples: Draws of noise per fact.
        seed: Of the noise and of the choice of pairs.
        progress: Called with the phase, units done, units in all.

    Raises:
        InvalidInputError: E134 no request has a subject, E132, E133, E143, E150, E158: see
            `facts_of`; E142, a number is out of range.
    """
    for name, value, least in (("limit", limit, 1), ("pairs", pairs, 0), ("samples", samples, 1)):
        if value < least:
            raise InvalidInputError(
                "E142", f"{name} is out of range", expected=f"{least} or more", found=value
            )
    check_numbers(seed)
    told = partial(partial, progress) if progress is not None else lambda phase: None
    asked = requests[: _ASKED * limit]
    facts, left_out = facts_of(base, asked, progress=told("ask"))
    tracing = trace(base, facts[:limit], samples=samples, seed=seed, progress=told("trace"))
    exchanged = interchange(
        base.model, base.tokenizer, pairs_of(facts, pairs, seed), progress=told("exchange")
    )
    moved = tuple(one for one in exchanged if one.n)
    stack = base.arch.reading
    return Located(
        model_type=base.arch.model_type,
        blocks=base.arch.block_count(base.model, stack),
        known=len(facts),
        left_out=left_out,
        tracing=tracing,
        moved=moved,
        proposal=propose(stack, tracing, moved),
    )
