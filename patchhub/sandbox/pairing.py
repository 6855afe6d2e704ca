"""Rows for encoder-decoder models: what an encoder reads, what a decoder then says.

Each document is cut in front of one of its answers. Several such pairs lie side by side in a row,
without seeing each other: positions are relative, so a pair cannot tell where in the row it is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields

import torch
from tokenizers import Tokenizer as Core
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from patchhub.sandbox.recipe import Recipe
from patchhub.sandbox.text import Document, Piece, Role, Writer
from patchhub.sandbox.world import World

_PLAIN = -1  # a token that is of no subject
_CROWD = 0.08  # share of pairs with whole documents in front
_MISSES = 6  # pairs in a step that fit no row; then the rows are full


@dataclass(frozen=True, slots=True)
class Masks:
    """Who may look at whom, booleans that broadcast over heads.

    `lower` and `upper` (n, 1, s, s) for the encoder's blocks below the funnel block and from it;
    `causal` (n, 1, t, t) for the decoder; `cross` (n, 1, t, s) from decoder to encoder.
    """

    lower: Tensor
    upper: Tensor
    causal: Tensor
    cross: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's rows.

    For the encoder `ids`, `pairs` (which pair a token belongs to; 0 at padding) and `ends` (last
    position of the subject a token belongs to, or -1), all (n, s); for the decoder `before` (its
    input), `targets`, their loss `weights` and `owners` (as `pairs`), all (n, t); `mentions` (m, 3)
    row, position and entity index of subjects to read out.
    """

    ids: Tensor
    pairs: Tensor
    ends: Tensor
    before: Tensor
    targets: Tensor
    weights: Tensor
    owners: Tensor
    mentions: Tensor

    def goals(self) -> tuple[Tensor, Tensor]:
        """Return what is to be predicted, (n, t), and the loss weights."""
        return self.targets, self.weights

    def masks(self) -> Masks:
        """Return who may look at whom.

        Under the funnel a subject is read by itself in the lower blocks: its tokens see each other
        and nobody else sees them. In the upper blocks all may see its last token, and that is also
        what the decoder sees of it. Rows without funnel have ordinary masks.
        """
        plain = self.ends == _PLAIN
        at = torch.arange(self.ids.shape[1], device=self.ids.device)
        own = (self.ends[:, :, None] == self.ends[:, None, :]) & ~plain[:, :, None]
        shown = plain | (self.ends == at)
        same = self.pairs[:, :, None] == self.pairs[:, None, :]
        lower = same & ((plain[:, :, None] & plain[:, None, :]) | own)
        upper = same & (shown[:, None, :] | own)
        step = torch.arange(self.before.shape[1], device=self.ids.device)
        causal = (self.owners[:, :, None] == self.owners[:, None, :]) & (step[:, None] >= step)
        cross = (self.owners[:, :, None] == self.pairs[:, None, :]) & shown[:, None, :]
        return Masks(lower[:, None], upper[:, None], causal[:, None], cross[:, None])

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))


class Pairer:
    """Turns (recipe, step) into a batch; the same step always gives the same batch."""

    def __init__(self, world: World, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        """Write pairs about `world` as `recipe` says."""
        self._recipe = recipe
        self._writer = Writer(world)
        self._index = {entity.id: i for i, entity in enumerate(world.entities)}
        self._core: Core = tokenizer.backend_tokenizer
        self._start, self._end = int(tokenizer.pad_token_id), int(tokenizer.eos_token_id)

    def batch(self, step: int) -> Batch:
        """Build the rows of a step; every `long_every`-th step has rows of full length."""
        recipe = self._recipe
        rng = random.Random(f"{recipe.seed}:{step}")
        long = recipe.long_every > 0 and step % recipe.long_every == recipe.long_every - 1
        count = recipe.long_rows if long else recipe.rows
        length = recipe.context if long else recipe.row_length
        rows, misses = [_Row(length) for _ in range(count)], 0
        while misses < _MISSES:
            pair = self._pair(recipe.documents(step), rng, length if long else 0)
            if not _Row(length).fits(pair):
                continue
            row = next((row for row in rows if row.fits(pair)), None)
            if row is None:
                misses += 1
            else:
                row.add(pair, self._start)
        return _stacked(rows, self._start)

    def _pair(self, shares: dict[str, float], rng: random.Random, length: int) -> _Pair:
        document = self._writer.document(shares, rng)
        if rng.random() < self._recipe.prefix:
            return self._continuation(document, rng)
        asked = [i for i, p in enumerate(document.pieces) if _asks(document.pieces, i)]
        cut = asked[0] if rng.random() < 0.5 else rng.choice(asked)
        front: list[Piece] = []
        if length or rng.random() < _CROWD:
            front = self._crowd(document, shares, rng, length)
        pair = self._read(
            [*front, *document.pieces[:cut]], funnel=rng.random() < self._recipe.funnel
        )
        self._say(pair, document.pieces[cut:], rng)
        return pair

    def _crowd(
        self, document: Document, shares: dict[str, float], rng: random.Random, length: int
    ) -> list[Piece]:
        """Whole documents about others, to fill a share of `length` tokens or a few at all."""
        used, front, size = set(document.about), list[Piece](), 0
        wanted = rng.randint(1, 3)
        room = length * rng.uniform(0.2, 0.9) * 2.5 if length else 1e9  # characters
        while size < room and (length or wanted):
            other = self._writer.document(shares, rng)
            text = sum(len(piece.text) for piece in other.pieces)
            if used & other.about:
                continue
            used |= other.about
            front += [*other.pieces, Piece(rng.choice((" ", " ", "\n")), Role.PROMPT)]
            size, wanted = size + text, wanted - 1
        return front

    def _read(self, pieces: list[Piece], *, funnel: bool) -> _Pair:
        ids, owners = self._tokens(pieces)
        last = {owner: at for at, owner in enumerate(owners)}
        subjects = {n for n, piece in enumerate(pieces) if piece.role is Role.SUBJECT}
        ends = [last[owner] if funnel and owner in subjects else _PLAIN for owner in owners]
        mentions = [
            (last[n], self._index[entity])
            for n in sorted(subjects)
            if (entity := pieces[n].entity) is not None
        ]
        return _Pair([*ids, self._end], [*ends, _PLAIN], mentions)

    def _say(self, pair: _Pair, pieces: tuple[Piece, ...], rng: random.Random) -> None:
        ids, owners = self._tokens(pieces)
        pair.said = [*ids, self._end]
        roles = [pieces[owner].role for owner in owners]
        pair.weights = [*(self._weight(role, rng) for role in roles), 1.0]

    def _continuation(self, document: Document, rng: random.Random) -> _Pair:
        """A text cut anywhere: what statistics of plain texts ask for."""
        ids, _ = self._tokens(document.pieces)
        cut = rng.randrange(len(ids))
        pair = _Pair([*ids[:cut], self._end], [_PLAIN] * (cut + 1), [])
        pair.said = [*ids[cut:], self._end]
        pair.weights = [self._weight(Role.PROMPT, rng) for _ in pair.said]
        return pair

    def _tokens(self, pieces: list[Piece] | tuple[Piece, ...]) -> tuple[list[int], list[int]]:
        """Tokens of a text and the piece of each; white space at its ends is not said."""
        text = "".join(piece.text for piece in pieces)
        owners = [number for number, piece in enumerate(pieces) for _ in piece.text]
        skipped = len(text) - len(text.lstrip())
        encoding = self._core.encode(text.strip(), add_special_tokens=False)
        return encoding.ids, [owners[skipped + end - 1] for _, end in encoding.offsets]

    def _weight(self, role: Role, rng: random.Random) -> float:
        """Loss weight of a token; prompt tokens are sampled, since the head is not free."""
        if role is Role.ANSWER:
            return 1.0
        share = self._recipe.prompt_share
        return self._recipe.prompt_weight / share if rng.random() < share else 0.0


def _asks(pieces: tuple[Piece, ...], place: int) -> bool:
    """Whether an answer begins at a piece."""
    return pieces[place].role is Role.ANSWER and pieces[place].text != "."


@dataclass(slots=True)
class _Pair:
    ids: list[int]
    ends: list[int]
    mentions: list[tuple[int, int]]
    said: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


class _Row:
    def __init__(self, length: int) -> None:
        self.length = length
        self.count = 0
        self.ids: list[int] = []
        self.pairs: list[int] = []
        self.ends: list[int] = []
        self.before: list[int] = []
        self.targets: list[int] = []
        self.weights: list[float] = []
        self.owners: list[int] = []
        self.mentions: list[tuple[int, int]] = []

    def fits(self, pair: _Pair) -> bool:
        room = self.length // 2 - len(self.targets)
        return len(self.ids) + len(pair.ids) <= self.length and len(pair.said) <= room

    def add(self, pair: _Pair, start: int) -> None:
        self.count += 1
        base = len(self.ids)
        self.ids += pair.ids
        self.pairs += [self.count] * len(pair.ids)
        self.ends += [end + base if end != _PLAIN else _PLAIN for end in pair.ends]
        self.before += [start, *pair.said[:-1]]
        self.targets += pair.said
        self.weights += pair.weights
        self.owners += [self.count] * len(pair.said)
        self.mentions += [(at + base, who) for at, who in pair.mentions]


def _stacked(rows: list[_Row], padding: int) -> Batch:
    def stack(name: str, filler: float) -> Tensor:
        lines = [getattr(row, name) for row in rows]
        width = max(map(len, lines))
        return torch.tensor([[*line, *[filler] * (width - len(line))] for line in lines])

    mentions = [(number, *mention) for number, row in enumerate(rows) for mention in row.mentions]
    return Batch(
        stack("ids", padding), stack("pairs", 0), stack("ends", _PLAIN),
        stack("before", padding), stack("targets", padding), stack("weights", 0.0),
        stack("owners", 0), torch.tensor(mentions, dtype=torch.long).reshape(-1, 3),
    )  # fmt: skip
