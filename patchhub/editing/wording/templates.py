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

import torch
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from patchhub import canonical
from patchhub.editing.wording.sampling import sample_texts
from patchhub.errors import InvalidInputError

SLOT = "{}"


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


def _clean(text: str) -> str:
    """One line without braces, control characters and the remains of a cut character."""
    plain = unicodedata.normalize("NFKD", text)
    kept = (c if c.isprintable() and c not in "{}\ufffd" else " " for c in plain)
    return " ".join("".join(kept).split())
