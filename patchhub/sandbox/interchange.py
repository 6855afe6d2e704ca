"""Interchange test: where in the network does the answer to a question about a subject come from?

Two prompts with the same wording differ in the subject. The output of one block at some positions
of the first is replaced by that of the second; if the answer follows, what it needs was there
(interchange intervention, Geiger et al. 2021, arXiv:2106.02997; the causal tracing of Meng et al.
2022, arXiv:2202.05262, with a real other subject in place of noise).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from patchhub.editing.tokens import Encoded, encode
from patchhub.editing.trace import changed_output, seen_outputs, unwrap
from patchhub.scoring.answers import matches
from patchhub.scoring.asking import asking
from patchhub.scoring.generate import end_tokens
from patchhub.sites import architecture, module_of


class Where(StrEnum):
    """The positions exchanged."""

    SUBJECT = "all subject tokens"
    SUBJECT_LAST = "last subject token"
    LAST = "last position"


@dataclass(frozen=True, slots=True)
class Side:
    """A prompt, the subject in it and the answer that is right for it."""

    prompt: str
    subject: str
    answer: str


@dataclass(frozen=True, slots=True)
class Pair:
    """The same question about two subjects; `kept` is the prompt run, `given` the donor."""

    kept: Side
    given: Side


@dataclass(frozen=True, slots=True)
class Moved:
    """Share of pairs whose answer became the donor's, for one block and choice of positions."""

    block: int
    where: Where
    share: float
    n: int


@dataclass(frozen=True, eq=False)
class _Group:
    pairs: list[Pair]
    kept: Tensor
    given: Tensor
    spans: list[tuple[int, ...]]


@torch.no_grad()
def interchange(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    *,
    blocks: Sequence[int] | None = None,
    max_new_tokens: int = 12,
) -> list[Moved]:
    """Exchange every block's output at every choice of positions and count whose answer comes.

    Args:
        model: A model of a known architecture.
        tokenizer: Its fast tokenizer.
        pairs: Prompts whose subjects cover the same token positions; others are left out.
        blocks: Blocks to test, of the stack that reads the prompt; all by default.
        max_new_tokens: Length of the greedy answers.

    Returns:
        One figure per block and choice of positions, with the number of pairs it is from.
    """
    arch = architecture(model.config.model_type)
    # Prompts are read by the encoder, where there is one.
    stack = "encoder" if "encoder" in arch.stacks else "decoder"
    ends = end_tokens(model, tokenizer)
    groups = list(_grouped(tokenizer, pairs))
    count = sum(len(group.pairs) for group in groups)
    result = []
    for number in blocks if blocks is not None else range(arch.block_count(model, stack)):
        block = module_of(model, arch.path("block", number, model, stack))
        for where in Where:
            hits = 0
            for group in groups:
                tokens = _answers(model, block, group, where, max_new_tokens)
                texts = tokenizer.batch_decode([_until(ends, row) for row in tokens.tolist()])
                hits += sum(
                    matches(text, (pair.given.answer,))
                    for text, pair in zip(texts, group.pairs, strict=True)
                )
            result.append(Moved(number, where, hits / max(1, count), count))
    return result


def _until(ends: frozenset[int], tokens: list[int]) -> list[int]:
    """What was said before the end token; a model goes on behind it with anything."""
    return tokens[: next((i for i, token in enumerate(tokens) if token in ends), None)]


def _grouped(tokenizer: PreTrainedTokenizerBase, pairs: Iterable[Pair]) -> Iterable[_Group]:
    """Batches of equal length, so that nothing needs padding."""
    rows: dict[int, list[tuple[Pair, Encoded, Encoded, tuple[int, ...]]]] = defaultdict(list)
    for pair in pairs:
        kept, given = (encode(tokenizer, side.prompt) for side in (pair.kept, pair.given))
        spans = [_span(text, side) for text, side in ((kept, pair.kept), (given, pair.given))]
        if len(kept.ids) == len(given.ids) and spans[0] == spans[1]:
            rows[len(kept.ids)].append((pair, kept, given, spans[0]))
    for members in rows.values():
        yield _Group(
            [pair for pair, *_ in members],
            torch.tensor([kept.ids for _, kept, _, _ in members]),
            torch.tensor([given.ids for _, _, given, _ in members]),
            [span for *_, span in members],
        )


def _span(text: Encoded, side: Side) -> tuple[int, ...]:
    start = text.text.rindex(side.subject)
    return text.covering(start, start + len(side.subject))


def _answers(
    model: PreTrainedModel, block: nn.Module, group: _Group, where: Where, max_new_tokens: int
) -> Tensor:
    device = model.device
    length = group.kept.shape[1]
    exchanged = torch.zeros(group.kept.shape, dtype=torch.bool)
    for row, span in enumerate(group.spans):
        chosen = {Where.SUBJECT: span, Where.SUBJECT_LAST: span[-1:], Where.LAST: (length - 1,)}
        exchanged[row, list(chosen[where])] = True
    exchanged = exchanged.to(device)[..., None]
    asked = asking(model)
    with seen_outputs({"donor": block}) as seen:
        asked.apart(group.given.tolist()).logits()
    donor = unwrap(seen["donor"])

    def change(states: Tensor) -> Tensor:
        # What later steps read of the prompt is what its only pass left in the cache.
        return torch.where(exchanged, donor, states) if states.shape == donor.shape else states

    tokens: list[Tensor] = []
    with changed_output(block, change):
        answers = asked.apart(group.kept.tolist())
        for _ in range(max_new_tokens):
            tokens.append(answers.logits().argmax(-1))
            answers.push(tokens[-1].tolist())
    return torch.stack(tokens, dim=1)
