"""Long continuations of a text, drawn as ROME draws them to measure fluency.

Texts of 100 tokens in all, sampled from the five most likely tokens, not ended by an end token
(Meng et al. 2022, arXiv:2202.05262).

Every row draws from numbers of its own, made from the opening, its place and the seed. So neither
batch size nor neighbours change a text, and a model without and with an edit is drawn alike: what
differs is the edit's doing, not chance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from patchhub import canonical
from patchhub.editing.wording.tokens import context_length
from patchhub.scoring.asking import asking
from patchhub.scoring.batching import Row
from patchhub.scoring.generate import decode

TOKENS = 100
"""Length of a text, opening included."""
TOP = 5
SAMPLES = 4
"""Texts per opening: one, as in the paper, would say little of a single edit."""

_LEAST = 32  # new tokens behind an opening that fills a text alone


def continue_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    openings: Sequence[str],
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[str, ...]]:
    """Texts that begin with each opening.

    Args:
        model: A language model.
        tokenizer: Its fast tokenizer.
        openings: How the texts begin.
        samples: Texts per opening.
        seed: Of all draws.
        batch_size: Texts per batch.
        progress: Told openings done and in all.

    Raises:
        InvalidInputError: E150, an opening leaves no room in the model's context.
    """
    asked = asking(model)
    rows = asked.prompts(tokenizer, openings)
    asked.check_room(rows, openings, 1)
    limit = context_length(model)
    texts: dict[int, tuple[str, ...]] = {}
    for batch in _batches(rows, max(1, batch_size // samples), limit):
        wanted = [_room(rows[i], limit) for i in batch for _ in range(samples)]
        seeds = [_number(openings[i], k, seed) for i in batch for k in range(samples)]
        new = decode(
            model,
            [rows[i].ids for i in batch for _ in range(samples)],
            max_new_tokens=max(wanted),
            choose=_Drawn(seeds, max(wanted), model.device),
        )
        for place, i in enumerate(batch):
            mine = slice(place * samples, (place + 1) * samples)
            texts[i] = tuple(
                _plain(tokenizer, (*rows[i].ids, *ids[:n]))
                for ids, n in zip(new[mine], wanted[mine], strict=True)
            )
        if progress is not None:
            progress(len(texts), len(openings))
    return [texts[i] for i in range(len(openings))]


def _batches(rows: Sequence[Row], size: int, limit: int | None) -> Iterator[list[int]]:
    """Batches in which even the longest row can take as many tokens as the shortest wants."""
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].ids), i))
    batch: list[int] = []
    for i in order:
        longest = len(rows[batch[0]].ids) if batch else 0
        tight = limit is not None and batch and longest + _room(rows[i], limit) > limit
        if tight or len(batch) == size:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _room(row: Row, limit: int | None) -> int:
    wanted = max(_LEAST, TOKENS - len(row.ids))
    return wanted if limit is None else min(wanted, limit - len(row.ids))


def _number(opening: str, place: int, seed: int) -> int:
    digest = hashlib.sha256(f"{seed}:{place}:{opening}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _plain(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return canonical.made_portable(str(tokenizer.decode(list(ids), skip_special_tokens=True)))


class _Drawn:
    """Draws the next token of every row, in the rows' order, by the row's own numbers."""

    def __init__(self, seeds: Sequence[int], steps: int, device: torch.device) -> None:
        drawn = [
            torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            for seed in seeds
        ]
        self._numbers = torch.stack(drawn).to(device)
        self._step = 0

    def __call__(self, logits: Tensor) -> Tensor:
        best = logits.double().topk(min(TOP, logits.shape[-1]), dim=-1)
        below = best.values.softmax(-1).cumsum(-1)[:, :-1]
        places = (below <= self._numbers[:, self._step, None]).sum(-1, keepdim=True)
        self._step += 1
        return best.indices.gather(-1, places)[:, 0]
