"""A language model that says what a test tells it to, one token at a time and with a cache."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tests.pico import POSITIONS, pico_tokenizer


class _History:
    def __init__(self, ids: Tensor) -> None:
        self.ids = ids


class ScriptedLM(nn.Module):
    """Continues each known prompt with its text, then ends; ends at once after anything else."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, script: Mapping[str, str]) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            is_encoder_decoder=False,
            max_position_embeddings=POSITIONS,
            model_type="scripted",
            vocab_size=len(tokenizer),
        )
        self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.end = int(tokenizer.eos_token_id)
        self.following: dict[tuple[int, ...], int] = {}
        for prompt, text in script.items():
            whole = (*tokenizer(prompt + text)["input_ids"], self.end)
            for i in range(len(tokenizer(prompt)["input_ids"]), len(whole)):
                self.following[whole[:i]] = whole[i]
        self.calls = 0
        self.asked = 0

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        past_key_values: _History | None = None,
        use_cache: bool = False,
    ) -> Any:
        self.calls += 1
        ids = input_ids
        if past_key_values is not None:
            ids = torch.cat([past_key_values.ids, input_ids], 1)
        else:
            self.asked += len(ids)
        logits = torch.zeros(*input_ids.shape, self.config.vocab_size)
        for row, (line, mask) in enumerate(zip(ids, attention_mask, strict=True)):
            seen = tuple(line[mask.bool()].tolist())
            for column in range(input_ids.shape[1]):
                behind = input_ids.shape[1] - 1 - column
                logits[row, column] = self.after(seen[: len(seen) - behind])
        return SimpleNamespace(logits=logits, past_key_values=_History(ids))

    def after(self, prefix: tuple[int, ...]) -> Tensor:
        """Logits (v,) behind the tokens read so far."""
        logits = torch.zeros(self.config.vocab_size)
        logits[self.following.get(prefix, self.end)] = 5.0
        return logits


def scripted(script: Mapping[str, str]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model and its tokenizer; ``script`` maps a prompt to what follows it."""
    tokenizer = pico_tokenizer()
    return cast(PreTrainedModel, ScriptedLM(tokenizer, script)), tokenizer


def asked(model: PreTrainedModel) -> int:
    """How many rows the scripted model was started on."""
    return cast(ScriptedLM, model).asked
