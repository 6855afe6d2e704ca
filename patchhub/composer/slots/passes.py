"""What modules with slots know of the pass that is running: its rows, its prompts, its routes.

A route is decided once per sequence, when its prompt is read, and goes on with the sequence: it is
kept at the sequence's key-value cache, whoever copies or continues that. Rows of a batch that was
made larger for beams or for several answers have the routes of the row that they come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn
from transformers import Cache

from patchhub.errors import InvalidInputError

_ROUTES: Final = "patchhub_routes"
"""Name of the cache's attribute."""


Routes: TypeAlias = dict[str, tuple[Tensor, Tensor]]
"""What gates chose for each row, by their path: a key and a block, -1 for none."""


class Pass:
    """State that all modules with slots of one model share.

    Attributes:
        sets: Which of its sets of patches each request has, (requests,); the first without.
        prompts: Tokens of each row's prompt, (rows,), where a row goes on behind its prompt.
        by_row: Whether rows of a batch may differ in what acts on them.
        gates: Paths of the modules that decide routes, in the order in which they run.
        rows: Rows of the running pass.
        real: Which tokens of the pass are no padding, (rows, tokens); all without.
        last: Column of the prompt's last token, (rows,), while a prompt is read; else none.
        choices: What each gate chose for each row: its key and its block, both (rows,), -1 for
            none.
        encoded: What gates in an encoder chose for the rows that it read last; its decoder's rows
            begin with that.
    """

    def __init__(self) -> None:
        self.sets: Tensor | None = None
        self.prompts: Tensor | None = None
        self.by_row = False
        self.gates: list[str] = []
        self.rows = 1
        self.real: Tensor | None = None
        self.last: Tensor | None = None
        self.choices: Routes = {}
        self.encoded: Routes = {}

    def chosen(self, gate: str, rows: int) -> tuple[Tensor, Tensor] | None:
        """What a gate chose for each row that a module is given, if it chose."""
        found = self.choices.get(gate)
        if found is None:
            return None
        return spread(found[0], rows), spread(found[1], rows)

    def of_set(self, values: Tensor, rows: int) -> Tensor:
        """What the set of each row says, (rows, …), or (1, …) where all have the first."""
        if self.sets is None:
            return values[:1]
        return values[spread(self.sets.to(values.device), rows)]

    def open(self, shape: tuple[int, int], mask: object, cache: object, starts: bool) -> None:
        """Note what a pass is about to read.

        Args:
            shape: Rows and tokens.
            mask: The attention mask, in one of the forms that models take.
            cache: The key-value cache, if there is one.
            starts: Whether the prompt is the first token alone, as in the decoder of an
                encoder-decoder.
        """
        self.rows, tokens = shape
        kept = getattr(cache, _ROUTES, None)
        if kept is not None and _goes_on(cache, tokens):
            self.choices, self.real, self.last = kept, None, None
            return
        self.choices = dict(self.encoded) if starts else {}
        self.real = _real(mask, tokens)
        self.last = self._last(tokens, starts)

    def close(self, output: object, encoder: bool) -> None:
        """Keep the routes of a pass at the cache that it filled."""
        if encoder:
            self.encoded = self.choices
        elif self.last is not None:
            cache = _cache_of(output)
            if cache is not None:
                setattr(cache, _ROUTES, self.choices)

    def _last(self, tokens: int, starts: bool) -> Tensor:
        device = None if self.real is None else self.real.device
        if starts:
            return torch.zeros(self.rows, dtype=torch.long, device=device)
        if self.real is None:
            ends = torch.full((self.rows,), tokens, device=device)
            ends = ends if self.prompts is None else spread(self.prompts, self.rows)
            return (ends - 1).clamp(0, tokens - 1)
        seen = self.real.cumsum(1)
        ends = seen[:, -1] if self.prompts is None else spread(self.prompts, self.rows).to(device)
        return (seen < ends[:, None]).sum(1).clamp(max=tokens - 1)


def rows_of(x: Tensor, state: Pass) -> int:
    """Rows of a module's input; a family may flatten rows and tokens before its MLP."""
    return x.shape[0] if x.ndim > 2 else state.rows


def spread(values: Tensor, rows: int) -> Tensor:
    """Values of requests, one for each row; there are as many rows or a multiple.

    Raises:
        InvalidInputError: E162.
    """
    count = values.shape[0]
    if rows == count:
        return values
    if rows % count:
        raise InvalidInputError(
            "E162",
            "the requests do not fit the batch",
            expected=f"a multiple of {count} rows",
            found=f"{rows} rows",
            hint="name a set of patches for each row of the batch",
        )
    return values.repeat_interleave(rows // count, dim=0)


class Opening:
    """Before a stack of blocks runs: notes what it reads. Goes with copies of the model."""

    def __init__(self, state: Pass, *, starts: bool) -> None:
        self.state, self.starts = state, starts

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward pre-hook."""
        read = kwargs.get("input_ids", args[0] if args else None)
        if read is None:
            read = kwargs["inputs_embeds"]
        shape = (read.shape[0], read.shape[1])
        cache = kwargs.get("past_key_values")
        self.state.open(shape, kwargs.get("attention_mask"), cache, self.starts)


class Closing:
    """After a stack of blocks ran: keeps the routes. Goes with copies of the model."""

    def __init__(self, state: Pass, *, encoder: bool) -> None:
        self.state, self.encoder = state, encoder

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A forward hook."""
        self.state.close(output, self.encoder)


@contextmanager
def prompts(state: Pass | None, lengths: Sequence[int]) -> Iterator[None]:
    """While the body runs, rows are a prompt of so many tokens and what comes after it.

    Args:
        state: Of the model; nothing is done without.
        lengths: Tokens of each row's prompt, padding not counted.
    """
    if state is None:
        yield
        return
    before, state.prompts = state.prompts, torch.tensor(list(lengths))
    try:
        yield
    finally:
        state.prompts = before


def select(cache: Cache, rows: Tensor) -> None:
    """Keep the routes of some rows, as `Cache.batch_select_indices` keeps the rows themselves."""
    kept: Routes = getattr(cache, _ROUTES, None) or {}
    if kept:
        setattr(cache, _ROUTES, of_rows(kept, rows))


def of_rows(routes: Routes, rows: Tensor) -> Routes:
    """Routes of some rows, in their order."""
    return {gate: (key[rows], block[rows]) for gate, (key, block) in routes.items()}


def joined(parts: Sequence[Routes]) -> Routes:
    """Routes of the rows of several passes, one after the other."""
    return {
        gate: (torch.cat([p[gate][0] for p in parts]), torch.cat([p[gate][1] for p in parts]))
        for gate in parts[0]
    }


def _goes_on(cache: Any, tokens: int) -> bool:
    """Whether a cache that has routes holds a sequence; one that was reset has old ones."""
    if torch.compiler.is_compiling():
        return tokens == 1  # the length of a fixed-size cache is a number on the device
    return int(cache.get_seq_length()) > 0


def _real(mask: object, tokens: int) -> Tensor | None:
    """Which tokens of the pass are no padding, (rows, tokens); none if nothing is said."""
    if isinstance(mask, Mapping):  # one for each type of layer
        mask = next(iter(mask.values()), None)
    if not isinstance(mask, Tensor):
        return None
    if mask.ndim == 4:  # (rows, 1, queries, keys): what the last query sees
        row = mask[:, 0, -1]
        seen = row if row.dtype == torch.bool else row > torch.finfo(row.dtype).min / 2
        return seen[:, :tokens]
    return mask[:, -tokens:] > 0


def _cache_of(output: Any) -> object | None:
    found = getattr(output, "past_key_values", None)
    if found is None and isinstance(output, tuple):
        found = next((one for one in output if isinstance(one, Cache)), None)
    return found
