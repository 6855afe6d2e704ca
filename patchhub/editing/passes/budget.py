"""How many rows of a pass fit into a number of bytes, and which problems go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from patchhub.editing.wording.tokens import text_config
from patchhub.sites import DECODER, Architecture, module_of, weight_matrix

USUAL = 2**30
"""Bytes for the work beside the model where nobody says."""
_HIDDEN, _INNER, _SCORES, _LOGITS = 12, 6, 4, 4
"""Tensors that a block keeps for its gradient: of the stream's width, of the MLP's inner width, of
attention scores per head; and copies of logits at each slot."""
_STREAMS, _HELD = 8, 4
"""What a block holds of a token for a moment, in widths of the stream and of the MLP."""
_JOINED = 3
"""Copies of keys and values while shared beginnings and what follows them are put together."""
_PADDING = 1.15
"""Rows of a batch may be longer than they are by this factor on average."""
_FEW = 128
"""Rows that go together whatever their lengths: too few to keep a processor busy."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of one problem.

    Attributes:
        rows: Rows; the longest counts for all.
        before: Tokens before the lookup, which are read once; 0 where there is no lookup.
        tail: Tokens from it on.
        slots: Places at which logits are wanted.
        given: Tokens that an encoder has read.
    """

    rows: int
    before: int
    tail: int
    slots: int
    given: int = 0


class Budget:
    """Bytes that a batch of problems takes beside the model.

    Counted are, for every row, the keys and values of all blocks before the lookup; in the blocks
    from ``layer`` on what autograd keeps of each token (hidden states, the MLP's inner
    activations, keys, values and attention scores, those of cross-attention, too); and the logits
    at the slots. What a pass without gradient holds for a moment is less than that. An upper bound
    of the usual size, not a promise to the byte: allocators and libraries round up.
    """

    def __init__(
        self, model: PreTrainedModel, arch: Architecture, layer: int, stack: str = DECODER
    ) -> None:
        config = text_config(model)
        down = weight_matrix(module_of(model, arch.path("mlp_out", layer, model, stack)))
        self._width, self._inner = down.shape
        self._vocabulary = weight_matrix(module_of(model, arch.head)).shape[0]
        self._heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or self._width // self._heads
        self._entry = 2 * (getattr(config, "num_key_value_heads", None) or self._heads) * size
        self._blocks = arch.block_count(model)
        behind = 0 if stack == DECODER else self._blocks
        self._upper = arch.block_count(model, stack) - layer + behind
        self._bytes = int(model.dtype.itemsize)

    def bytes(self, sizes: Sequence[Size]) -> int:
        """Of problems in one batch."""
        before, tail = max(s.before for s in sizes), max(s.tail for s in sizes)
        given = max(s.given for s in sizes)
        rows, slots = sum(s.rows for s in sizes), sum(s.slots for s in sizes)
        token = _HIDDEN * self._width + _INNER * self._inner
        scores = _SCORES * self._heads * (before + tail + given)
        upper = tail * (token + scores) + (before + tail + given) * self._entry
        row = self._upper * upper + _JOINED * self._blocks * before * self._entry
        return int(self._bytes * (rows * row + slots * _LOGITS * self._vocabulary))

    def rows(self, size: Size, memory: int) -> int:
        """How many rows of that size go into one pass; one goes in any case."""
        return max(1, memory // self.bytes([size]))

    def tokens(self, memory: int) -> int:
        """How many tokens, padding included, a pass without gradient holds in a block at once."""
        return memory // (self._bytes * (_STREAMS * self._width + _HELD * self._inner))

    def groups(self, sizes: Sequence[Size], memory: int | None) -> list[list[int]]:
        """Problems of like length together, as many as fit; one that does not fit goes alone."""
        limit = USUAL if memory is None else memory
        groups: list[list[int]] = []
        for i in sorted(range(len(sizes)), key=lambda i: (sizes[i].tail, sizes[i].before)):
            if groups:
                together = [sizes[j] for j in (*groups[-1], i)]
                if self.bytes(together) <= limit and not _wasteful(together):
                    groups[-1].append(i)
                    continue
            groups.append([i])
        return groups


def _wasteful(sizes: Sequence[Size]) -> bool:
    rows = sum(s.rows for s in sizes)
    padded, real = rows * max(s.tail for s in sizes), sum(s.rows * s.tail for s in sizes)
    return rows > _FEW and padded > _PADDING * real
