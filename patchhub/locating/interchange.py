"""Interchange test: where in the network does the answer to a question about a subject come from?

Two prompts with the same wording differ in the subject. The output of one block at some positions
of the first is replaced by that of the second; if the answer follows, what it needs was there
(interchange intervention, Geiger et al. 2021, arXiv:2106.02997; the causal tracing of Meng et al.
2022, arXiv:2202.05262, with a real other subject in place of noise).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from patchhub.editing.passes.trace import changed_output, seen_outputs, unwrap
from patchhub.editing.wording.tokens import Encoded, encode
from patchhub.occurrences import occurrences
from patchhub.scoring.answers import matches, stop
from patchhub.scoring.asking import asking
from patchhub.scoring.batching import TOKENS, evaluating
from patchhub.scoring.generate import decode, end_tokens
from patchhub.scoring.intervals import wilson
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

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share (Wilson)."""
        return wilson(self.share * self.n, self.n)


@dataclass(frozen=True, eq=False)
class _Group:
    pairs: list[Pair]
    kept: list[tuple[int, ...]]
    given: list[tuple[int, ...]]
    spans: list[tuple[int, ...]]


_Place = tuple[int, int, Where]
"""Block, pair of the group, positions: one row."""


def interchange(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    *,
    blocks: Sequence[int] | None = None,
    max_new_tokens: int = 12,
    progress: Callable[[int, int], None] | None = None,
) -> list[Moved]:
    """Exchange every block's output at every choice of positions and count whose answer comes.

    Args:
        model: A model of a known architecture.
        tokenizer: Its fast tokenizer.
        pairs: Prompts whose subjects cover the same token positions; others are left out.
        blocks: Blocks to test, of the stack that reads the prompt; all by default.
        max_new_tokens: Length of the greedy answers.
        progress: Told rows done and in all; a row is a pair, a block and positions.

    Returns:
        One figure per block and choice of positions, with the number of pairs it is from.
    """
    arch = architecture(model.config.model_type)
    stack = arch.reading
    numbers = list(range(arch.block_count(model, stack)) if blocks is None else blocks)
    modules = {n: module_of(model, arch.path("block", n, model, stack)) for n in numbers}
    groups = list(_grouped(tokenizer, pairs))
    count = sum(len(group.pairs) for group in groups)
    hits = dict.fromkeys(product(numbers, Where), 0)
    done = 0
    for group in groups:
        found = _answers(model, tokenizer, modules, group, max_new_tokens)
        for (block, pair, where), text in found:
            hits[block, where] += matches(text, (group.pairs[pair].given.answer,))
            done += 1
            if progress is not None:
                progress(done, count * len(hits))
    return [Moved(*key, n / max(1, count), count) for key, n in hits.items()]


def _grouped(tokenizer: PreTrainedTokenizerBase, pairs: Iterable[Pair]) -> Iterator[_Group]:
    """Batches of equal length, so that nothing needs padding."""
    rows: dict[int, list[tuple[Pair, Encoded, Encoded, tuple[int, ...]]]] = defaultdict(list)
    for pair in pairs:
        kept, given = (encode(tokenizer, side.prompt) for side in (pair.kept, pair.given))
        spans = [_span(text, side) for text, side in ((kept, pair.kept), (given, pair.given))]
        if len(kept.ids) == len(given.ids) and spans[0] == spans[1]:
            rows[len(kept.ids)].append((pair, kept, given, spans[0]))
    for length, members in rows.items():
        size = max(1, TOKENS // length)
        for i in range(0, len(members), size):
            some = members[i : i + size]
            yield _Group(
                [pair for pair, *_ in some],
                [kept.ids for _, kept, _, _ in some],
                [given.ids for _, _, given, _ in some],
                [span for *_, span in some],
            )


def _span(text: Encoded, side: Side) -> tuple[int, ...]:
    start = occurrences(side.subject, text.text)[-1]
    return text.covering(start, start + len(side.subject))


def _answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    modules: Mapping[int, nn.Module],
    group: _Group,
    limit: int,
) -> Iterator[tuple[_Place, str]]:
    """The answer in each place; rows of all blocks go through the model together."""
    with evaluating(model), seen_outputs({str(n): m for n, m in modules.items()}) as seen:
        asking(model).apart(group.given).logits()
    donors = {n: unwrap(seen[str(n)]) for n in modules}
    ends = end_tokens(model, tokenizer)

    def ended(tokens: Sequence[int]) -> bool:
        return stop(str(tokenizer.decode(list(tokens))), final=False) is not None

    places = list(product(modules, range(len(group.pairs)), Where))
    size = max(1, TOKENS // (len(group.kept[0]) + limit))
    for some in (places[i : i + size] for i in range(0, len(places), size)):
        with ExitStack() as hooks:
            for block, module in modules.items():
                mine = {row: place for row, place in enumerate(some) if place[0] == block}
                if mine:
                    hooks.enter_context(
                        changed_output(module, _Exchange(donors[block], group, mine))
                    )
            rows = [group.kept[pair] for _, pair, _ in some]
            new = decode(model, rows, max_new_tokens=limit, ends=ends, stop=ended, apart=True)
        yield from zip(some, (tokenizer.decode(_until(ends, row)) for row in new), strict=True)


class _Exchange:
    """Puts the donors' states into some rows of a block's output.

    Only the first time: what later steps read of the prompt is what its pass left in the cache.
    """

    def __init__(self, donor: Tensor, group: _Group, places: Mapping[int, _Place]) -> None:
        cells = [
            (row, position, pair)
            for row, (_, pair, where) in places.items()
            for position in _positions(where, group.spans[pair], donor.shape[1])
        ]
        self._rows, self._columns, pairs = torch.tensor(cells, device=donor.device).T
        self._states: Tensor | None = donor[pairs, self._columns]

    def __call__(self, states: Tensor) -> Tensor:
        if self._states is None:
            return states
        changed = states.clone()
        changed[self._rows, self._columns] = self._states
        self._states = None
        return changed


def _positions(where: Where, subject: tuple[int, ...], length: int) -> tuple[int, ...]:
    match where:
        case Where.SUBJECT:
            return subject
        case Where.SUBJECT_LAST:
            return subject[-1:]
        case Where.LAST:
            return (length - 1,)


def _until(ends: frozenset[int], tokens: list[int]) -> list[int]:
    """What was said before the end token."""
    return tokens[: next((i for i, token in enumerate(tokens) if token in ends), None)]
