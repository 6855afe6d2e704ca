"""Rows of tokens: documents packed side by side, loss weights, and the subject funnel's masks.

Documents in a row are about different entities and separated by the tokens that end and begin a
text, a line break or a space.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer as Core
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from patchhub.sandbox.recipe import Recipe
from patchhub.sandbox.text import Document, Role, Writer
from patchhub.sandbox.world import World

_OPEN = 1 << 20  # "no end": a position that the funnel hides from nobody
_NEW_TEXT = "\0"  # between documents: the tokens that end a text and begin one
_BARE = ""  # before a row's first document only: nothing at all


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

    def goals(self) -> tuple[Tensor, Tensor]:
        """Return what is to be predicted, (n, t - 1), and the loss weights."""
        return self.ids[:, 1:], self.weights[:, 1:]

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
        self._index = {entity.id: i for i, entity in enumerate(world.entities)}
        self._core: Core = tokenizer.backend_tokenizer
        ends, begins = tokenizer.eos_token_id, tokenizer.bos_token_id
        self._between = [ends] if ends == begins else [ends, begins]

    def tokens(self, document: Document, separator: str) -> tuple[list[int], list[int]]:
        """Tokenise a document; also return each token's piece.

        Args:
            document: What to tokenise.
            separator: What stands before it; without one it opens a text.
        """
        # After a separator a document does not open a text, which some tokenizers write otherwise;
        # all documents end with a full stop, so one stands for the text before.
        before = f".{separator}" if separator else ""
        text = before + "".join(piece.text for piece in document.pieces)
        encoding = self._core.encode(text, add_special_tokens=False)
        owners = [-1] * bool(before) + [0] * len(separator)
        for number, piece in enumerate(document.pieces):
            owners += [number] * len(piece.text)
        pairs = [
            (token, owners[end - 1])
            for token, (_, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if owners[end - 1] >= 0
        ]
        return [token for token, _ in pairs], [owner for _, owner in pairs]

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
        separator = _BARE if rng.random() < self._recipe.bare else _NEW_TEXT
        while len(row.ids) < row.length:
            document = self._writer.document(shares, rng)
            if used & document.about:
                continue
            used |= document.about
            self._append(row, document, separator, rng)
            separator = rng.choice((_NEW_TEXT, _NEW_TEXT, "\n", " ", " "))

    def _append(self, row: _Row, document: Document, separator: str, rng: random.Random) -> None:
        if separator == _NEW_TEXT:
            for token in self._between if row.ids else self._between[-1:]:
                row.add(token, self._weight(Role.PROMPT, rng))
        start = len(row.ids)
        tokens, owners = self.tokens(document, separator.strip(_NEW_TEXT))
        if separator == "\n":
            # The break belongs to no subject, even where the document begins with one.
            row.add(tokens[0], self._weight(Role.PROMPT, rng))
            tokens, owners, start = tokens[1:], owners[1:], start + 1
        last = {owner: start + at for at, owner in enumerate(owners)}
        for token, owner in zip(tokens, owners, strict=True):
            role = document.pieces[owner].role
            end = last[owner] if role is Role.SUBJECT else _OPEN
            row.add(token, self._weight(role, rng), end)
        row.mentions += [
            (last[number], self._index[piece.entity])
            for number, piece in enumerate(document.pieces)
            if piece.role is Role.SUBJECT and piece.entity is not None
        ]

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

    def add(self, token: int, weight: float, end: int = _OPEN) -> None:
        self.ids.append(token)
        self.weights.append(weight)
        self.ends.append(end)
