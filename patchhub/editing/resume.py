"""Run a model only where something can change: rows cut at a token, blocks cut at a layer.

Activations before the looked-up token never depend on what is changed there, so their keys and
values are computed once and cached; rows are aligned at that token, which every later pass sees as
position 0. Blocks below the changed layer are replayed from their recorded output. Results equal
full passes up to rounding (methods-level tests hold them against a plain reference in float64).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from patchhub.editing.tokens import Padded, Row, context_length, pad, positions
from patchhub.editing.trace import picked_for, replayed, seen_outputs
from patchhub.errors import InvalidInputError
from patchhub.sites import Architecture, module_of


class CutRows:
    """A batch of rows, each cut in front of its lookup token, which becomes position 0.

    Attributes:
        model: The model.
        arch: Where its parts lie.
        slots: Batch index and position (after the cut) of every label slot, row by row, ``(m, 2)``.
        labels: Their target ids ``(m,)``.

    Raises:
        InvalidInputError: E150, a row is longer than the model's context.
    """

    def __init__(
        self, model: PreTrainedModel, arch: Architecture, rows: Sequence[Row], filler: int
    ) -> None:
        check_length(model, rows)
        self.model, self.arch = model, arch
        device = model.device
        cuts = torch.tensor([row.lookup for row in rows])
        tails = pad([row.ids[row.lookup :] for row in rows], filler=filler, device=device)
        # Rows meet at the cut: prefixes are padded on the left, tails on the right.
        prefixes = [row.ids[: row.lookup] for row in rows]
        heads = pad(prefixes, filler=filler, device=device, left=True)
        self._ids, self._mask = tails.ids, torch.cat([heads.mask, tails.mask], dim=1)
        ends = torch.tensor([len(row.ids) - 1 for row in rows])
        steps = torch.arange(tails.ids.shape[1])
        self._positions = torch.minimum(cuts[:, None] + steps, ends[:, None]).to(device)
        self._past = self._prefill(heads)
        pairs = [(i, slot - row.lookup) for i, row in enumerate(rows) for slot in row.slots]
        self.slots = torch.tensor(pairs, dtype=torch.long, device=device).reshape(-1, 2)
        labels = [label for row in rows for label in row.labels]
        self.labels = torch.tensor(labels, dtype=torch.long, device=device)

    @torch.no_grad()
    def _prefill(self, heads: Padded) -> list[tuple[Tensor, Tensor]]:
        if heads.mask.shape[1] == 0:
            return []
        cache = DynamicCache()
        self.model.base_model(
            input_ids=heads.ids,
            attention_mask=heads.mask,
            position_ids=positions(heads.mask),
            past_key_values=cache,
            use_cache=True,
        )
        layers: list[Any] = list(cache.layers)
        return [(layer.keys, layer.values) for layer in layers]

    def run(self, rows: Tensor, positions: Tensor) -> Tensor:
        """One pass over what follows the cuts; logits ``(m, v)`` at the given places only."""
        extra: dict[str, Any] = {}
        if self._past:
            cache = DynamicCache()
            for layer, (keys, values) in enumerate(self._past):
                cache.update(keys, values, layer)
            extra = {"past_key_values": cache, "use_cache": True}
        head = module_of(self.model, self.arch.head)
        with picked_for(head, rows, positions):
            output = self.model(
                input_ids=self._ids,
                attention_mask=self._mask,
                position_ids=self._positions,
                **extra,
            )
        return output.logits[0]  # type: ignore[no-any-return]


def check_continues(model: PreTrainedModel) -> None:
    """Refuse models that do not continue their input (E140)."""
    if model.config.is_encoder_decoder:
        raise InvalidInputError(
            "E140",
            f"this method does not edit models of type {model.config.model_type!r}",
            expected="a decoder-only model",
            found="an encoder-decoder",
        )


def check_length(model: PreTrainedModel, rows: Sequence[Row]) -> None:
    """Refuse models that do not continue their input (E140), rows too long for the model (E150)."""
    check_continues(model)
    limit = context_length(model)
    longest = max(len(row.ids) for row in rows)
    if limit is not None and longest > limit:
        raise InvalidInputError(
            "E150",
            "prompt and target are longer than the model's context",
            expected=f"at most {limit} tokens, context templates included",
            found=longest,
            field="prompt",
        )


@contextmanager
def recorded_below(
    model: PreTrainedModel, arch: Architecture, layer: int
) -> Iterator[dict[str, Any]]:
    """Record what the blocks below ``layer`` hand up; give the result to `from_layer`."""
    below = {} if layer == 0 else {"output": module_of(model, arch.path("block", layer - 1, model))}
    with seen_outputs(below) as seen:
        yield seen


@contextmanager
def from_layer(
    model: PreTrainedModel, arch: Architecture, layer: int, seen: dict[str, Any]
) -> Iterator[None]:
    """Let passes begin at block ``layer`` with the recorded output of the blocks below."""
    blocks = [module_of(model, arch.path("block", i, model)) for i in range(layer)]
    with replayed(blocks, seen.get("output")):
        yield
