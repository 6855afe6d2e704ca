"""Context templates: texts put in front of a prompt, so that a key does not depend on one wording.

Templates are an explicit input of an edit and named by digest in its manifest. They are sampled
from the model being edited by our own loop: the references' loops draw from global state, keep
templates of another model in a module-global cache, and under current transformers attend to
position 0 only.

Source: Meng et al. 2022, arXiv:2202.05262, appendix E.5 (20 texts of length 5 and 10, and the bare
    prompt).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from patchhub import canonical
from patchhub.editing.wording.tokens import encode
from patchhub.errors import InvalidInputError

SLOT = "{}"
SEED_WORDS = ("The", "Therefore", "Because", "I", "You")
"""What texts begin with where the tokenizer has no start token (EasyEdit's choice)."""


@dataclass(frozen=True, slots=True)
class ContextTemplates:
    """Texts with one ``{}`` each, where the prompt goes; the first is ``{}`` alone.

    Raises:
        InvalidInputError: E142, a text has no or several slots, or the first is not bare.
    """

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.texts or self.texts[0] != SLOT:
            raise InvalidInputError(
                "E142", "the first context template is the bare prompt", expected=SLOT
            )
        for text in self.texts:
            if text.count(SLOT) != 1:
                raise InvalidInputError("E142", "a context template has exactly one {}", found=text)

    @property
    def digest(self) -> str:
        """SHA-256 over the texts in their order."""
        return canonical.digest(list(self.texts))


BARE = ContextTemplates((SLOT,))


def sample_templates(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    generator: torch.Generator,
    *,
    count: int = 10,
    lengths: Sequence[int] = (5, 10),
) -> ContextTemplates:
    """Sample ``count`` texts per length (in tokens, start included) from the model, top-5.

    Args:
        model: The model that will be edited, in its current state.
        tokenizer: Its tokenizer.
        generator: The only source of randomness; a CPU generator.
        count: Texts per length.
        lengths: Total lengths in tokens.
    """
    texts = [SLOT]
    for length in lengths:
        for text in sample_texts(model, tokenizer, generator, count=count, length=length, top_k=5):
            clean = _clean(text)
            if clean:
                texts.append(f"{clean}. {SLOT}")
    return ContextTemplates(tuple(texts))


@torch.no_grad()
def sample_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    generator: torch.Generator,
    *,
    count: int,
    length: int,
    top_k: int | None = None,
) -> list[str]:
    """Draw ``count`` texts of ``length`` tokens from the model, start token included.

    Args:
        model: Any decoder.
        tokenizer: Its tokenizer.
        generator: A CPU generator.
        count: Number of texts; one batch.
        length: Total length in tokens.
        top_k: Keep only the most probable tokens before drawing; ``None`` keeps all.
    """
    ids = _starts(tokenizer, count)
    cache: Any = DynamicCache()
    step = ids
    while ids.shape[1] < length:
        output = model(
            input_ids=step.to(model.device),
            attention_mask=torch.ones_like(ids).to(model.device),
            past_key_values=cache,
            use_cache=True,
        )
        step = _draw(output.logits[:, -1], generator, top_k)
        ids = torch.cat([ids, step], dim=1)
    return [str(tokenizer.decode(row, skip_special_tokens=True)) for row in ids.tolist()]


def _draw(logits: Tensor, generator: torch.Generator, top_k: int | None) -> Tensor:
    """One token per row, ``(b, 1)``."""
    probabilities = logits.float().softmax(-1).cpu()
    if top_k is None:
        return torch.multinomial(probabilities, 1, generator=generator)
    best, ids = probabilities.topk(min(top_k, probabilities.shape[-1]), dim=-1)
    return ids.gather(1, torch.multinomial(best, 1, generator=generator))


def _starts(tokenizer: PreTrainedTokenizerBase, count: int) -> Tensor:
    for name in ("bos_token_id", "eos_token_id"):
        value = getattr(tokenizer, name, None)
        if isinstance(value, int):
            return torch.full((count, 1), value, dtype=torch.long)
    first = [encode(tokenizer, word).ids[0] for word in SEED_WORDS]
    return torch.tensor([[first[i % len(first)]] for i in range(count)], dtype=torch.long)


def _clean(text: str) -> str:
    """One line without braces, control characters and the remains of a cut character."""
    plain = unicodedata.normalize("NFKD", text)
    kept = (c if c.isprintable() and c not in "{}\ufffd" else " " for c in plain)
    return " ".join("".join(kept).split())
