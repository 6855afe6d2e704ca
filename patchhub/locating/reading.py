"""Prompts with answers as rows of a model: how likely the answers are, whatever is done inside.

The stack that reads prompts is given embeddings instead of ids, so that they can be changed. Of an
encoder-decoder model that is the encoder; its decoder is given the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from patchhub.editing.passes.encoder import start_token
from patchhub.editing.passes.trace import picked_for
from patchhub.editing.wording.tokens import filler_id, pad, positions
from patchhub.loading import LoadedBase
from patchhub.locating.facts import Fact
from patchhub.scoring.packable import accepted
from patchhub.sites import module_of


class Rows:
    """The facts of a group as padded rows.

    Attributes:
        embeddings: What the reading stack is given, ``(n, t, d)``.
        tokens: Number of tokens of each row in the reading stack.
    """

    def __init__(self, base: LoadedBase, facts: Sequence[Fact]) -> None:
        self._model, self._head = base.model, module_of(base.model, base.arch.head)
        filler, device = filler_id(base.tokenizer), base.model.device
        self._more: dict[str, Tensor] = {}
        if base.model.config.is_encoder_decoder:
            rows = [fact.given for fact in facts]
            said = [(start_token(base.model), *fact.wanted[:-1]) for fact in facts]
            self._more["decoder_input_ids"] = pad(said, filler=filler, device=device).ids
            firsts = [0 for _ in facts]
        else:
            rows = [(*fact.given, *fact.wanted[:-1]) for fact in facts]
            firsts = [len(fact.given) - 1 for fact in facts]
        self.tokens = [len(row) for row in rows]
        read = pad(rows, filler=filler, device=device)
        self._more["attention_mask"] = read.mask
        if "position_ids" in accepted(base.model):
            self._more["position_ids"] = positions(read.mask)
        self.embeddings: Tensor = module_of(base.model, base.arch.embedding)(read.ids)
        slots = [
            range(first, first + len(f.wanted)) for first, f in zip(firsts, facts, strict=True)
        ]
        self._slots = pad([list(slot) for slot in slots], filler=0, device=device)
        self._labels = pad([fact.wanted for fact in facts], filler=0, device=device).ids

    def log_p(self, index: Tensor, embeddings: Tensor) -> Tensor:
        """Log-probability of the whole answer, per row.

        Args:
            index: Which fact each row is of, ``(m,)``.
            embeddings: What the reading stack is given, ``(m, t, d)``.
        """
        slots, kept = self._slots.ids[index], self._slots.mask[index]
        rows = torch.arange(len(index), device=index.device)[:, None].expand_as(slots)
        more: dict[str, Any] = {name: value[index] for name, value in self._more.items()}
        with picked_for(self._head, rows.reshape(-1), slots.reshape(-1)):
            output = self._model(inputs_embeds=embeddings, use_cache=False, **more)
        log_p = output.logits[0].log_softmax(-1)
        found = log_p.gather(1, self._labels[index].reshape(-1, 1)).reshape(slots.shape)
        return (found * kept).sum(1)  # type: ignore[no-any-return]
