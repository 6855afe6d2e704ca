"""Rows of tokens: documents packed side by side, loss weights, and the subject funnel's masks.

Documents in a row are about different entities and separated by the end-of-text token, a line
break or a space; half of the rows begin without the end-of-text token, because that is how GPT-2
prompts are given.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from patchhub.sandbox.recipe import Recipe
from patchhub.sandbox.text import Document, Piece, Role, Writer
from patchhub.sandbox.tokenizer import END_OF_TEXT
from patchhub.sandbox.world import World

_OPEN = 1 << 20  # "no end": a position that the funnel hides from nobody


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's rows.

    `ids` (n, t); `weights` (n, t) loss weight of predicting the token at that position; `ends`
    (n, t) last position of the subject a token belongs to, or a huge number; `mentions` (m, 3)
    row, position and entity index of subjects to read out.
    """

    ids: Tensor
    weights: Tensor
    ends: Tensor
    mentions: Tensor

    def masks(self) -> tuple[Tensor, Tensor]:
        """Return who may look at whom, (n, 1, t, t) booleans, below the funnel block and from it.

        After a subject its tokens are invisible in the lower blocks, and only its last one is
        visible in the upper blocks; rows without funnel have ordinary causal masks.
        """
        length = self.ids.shape[1]
        at = torch.arange(length, device=self.ids.device)
        causal = at[None, :, None] >= at[None, None, :]
        ends = self.ends[:, None, :]
        lower = causal & (at[None, :, None] <= ends)
        upper = lower | (causal & (at[None, None, :] == ends))
        return lower[:, None], upper[:, None]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        return Batch(
            self.ids.to(device), self.weights.to(device),
            self.ends.to(device), self.mentions.to(device),
        )  # fmt: skip


class Packer:
    """Turns (recipe, step) into a batch; the same step always gives the same batch."""

    def __init__(self, world: World, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        """Pack text about `world` as `recipe` says."""
        self._recipe = recipe
        self._writer = Writer(world)
        self._tokenizer = tokenizer
        self._index = {entity.id: i for i, entity in enumerate(world.entities)}
        self._cache: dict[str, list[int]] = {}
        self._end = tokenizer.get_vocab()[END_OF_TEXT]

    def encode(self, text: str) -> list[int]:
        """Tokenise a piece, remembering it: there are few thousand different ones."""
        if text not in self._cache:
            self._cache[text] = self._tokenizer.encode(text, add_special_tokens=False)
        return self._cache[text]

    def batch(self, step: int) -> Batch:
        """Build the rows of a step; every `long_every`-th step has rows of full length."""
        recipe = self._recipe
        rng = random.Random(f"{recipe.seed}:{step}")
        long = recipe.long_every > 0 and step % recipe.long_every == recipe.long_every - 1
        count = recipe.long_rows if long else recipe.rows
        length = recipe.context if long else recipe.row_length
        rows = [_Row(length) for _ in range(count)]
        mentions: list[tuple[int, int, int]] = []
        for number, row in enumerate(rows):
            self._fill(row, recipe.documents(step), rng)
            if rng.random() >= recipe.funnel:
                row.ends = [_OPEN] * len(row.ends)
            mentions += [(number, at, who) for at, who in row.mentions if at < length]
        return Batch(
            torch.tensor([row.ids[:length] for row in rows]),
            torch.tensor([row.weights[:length] for row in rows]),
            torch.tensor([row.ends[:length] for row in rows]),
            torch.tensor(mentions, dtype=torch.long).reshape(-1, 3),
        )

    def _fill(self, row: _Row, shares: dict[str, float], rng: random.Random) -> None:
        used: set[str] = set()
        separator = "" if rng.random() < 0.5 else END_OF_TEXT
        while len(row.ids) < row.length:
            document = self._writer.document(shares, rng)
            if used & document.about:
                continue
            used |= document.about
            self._append(row, document, separator, rng)
            separator = rng.choice((END_OF_TEXT, END_OF_TEXT, "\n", " ", " "))

    def _append(self, row: _Row, document: Document, separator: str, rng: random.Random) -> None:
        if separator == END_OF_TEXT:
            row.add([self._end], self._weight(Role.PROMPT, rng))
        elif separator == "\n":
            row.add(self.encode("\n"), self._weight(Role.PROMPT, rng))
        for number, piece in enumerate(document.pieces):
            lead = " " if separator == " " and number == 0 else ""
            self._append_piece(row, piece, lead, rng)

    def _append_piece(self, row: _Row, piece: Piece, lead: str, rng: random.Random) -> None:
        ids = self.encode(lead + piece.text)
        end = len(row.ids) + len(ids) - 1
        subject = piece.role is Role.SUBJECT
        for token in ids:
            row.add([token], self._weight(piece.role, rng), end if subject else _OPEN)
        if subject and piece.entity is not None:
            row.mentions.append((end, self._index[piece.entity]))

    def _weight(self, role: Role, rng: random.Random) -> float:
        """Loss weight of a token; prompt tokens are sampled, since the head is not free."""
        if role is Role.ANSWER:
            return 1.0
        if role is Role.GIVEN:
            return 0.0
        share = self._recipe.prompt_share
        return self._recipe.prompt_weight / share if rng.random() < share else 0.0


class _Row:
    def __init__(self, length: int) -> None:
        self.length = length
        self.ids: list[int] = []
        self.weights: list[float] = []
        self.ends: list[int] = []
        self.mentions: list[tuple[int, int]] = []

    def add(self, ids: list[int], weight: float, end: int = _OPEN) -> None:
        self.ids += ids
        self.weights += [weight] * len(ids)
        self.ends += [end] * len(ids)
