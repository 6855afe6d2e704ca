"""What a target value is asked of, how it is looked for, and what is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from patchhub.editing.settings import require
from patchhub.editing.wording.prompts import prompt_of
from patchhub.editing.wording.templates import ContextTemplates
from patchhub.editing.wording.tokens import Row, answered_row, subject_row, target_row
from patchhub.errors import InvalidInputError
from patchhub.request import EditRequest

ESSENCE = " is a"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One target to be found.

    Attributes:
        rows: Labelled rows: one prompt in all contexts, or several prompts on one subject. The
            first is a bare prompt; each counts the same.
        essence: A row without labels that ends at the subject's last token or, where an encoder
            reads it, with "is a".
    """

    rows: tuple[Row, ...]
    essence: Row


def wanted_for(
    tokenizer: PreTrainedTokenizerBase,
    templates: ContextTemplates,
    requests: Sequence[EditRequest],
    start: int | None = None,
) -> Wanted:
    """What must come true of one subject: every request in every context.

    Args:
        tokenizer: A fast tokenizer.
        templates: The contexts.
        requests: At least one; the essence is of the first one's subject.
        start: The token that a decoder behind an encoder begins with; ``None`` where there is none.

    Raises:
        InvalidInputError: E132, E133, a subject; E137, a chat; E143, tokens do not line up.
    """
    rows = []
    for request in requests:
        for one in (prompt_of(tokenizer, request, text) for text in templates.texts):
            asked = one.text, request.target, one.subject(request)
            rows.append(
                target_row(tokenizer, *asked)
                if start is None
                else answered_row(tokenizer, *asked, start)
            )
    first, last = requests[0].subject_span()
    subject = requests[0].prompt[first:last]
    essence, span = subject + ESSENCE, (0, len(subject))
    if start is None:
        return Wanted(tuple(rows), subject_row(tokenizer, essence, span))
    return Wanted(tuple(rows), answered_row(tokenizer, essence, None, span, start))


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """Settings of the optimiser; the defaults are those published for GPT-2 XL and GPT-J.

    Attributes:
        steps: One more than the most updates, and than evaluations of the loss, one before each:
            the published code evaluates it once more, to no effect.
        lr: Adam's step size.
        weight_decay: w.
        clamp: c; the radius of δ in multiples of ‖v₀‖.
        kl: β.
        stop_loss: The loop ends when the loss is below.
    """

    steps: int = 20
    lr: float = 0.5
    weight_decay: float = 0.5
    clamp: float = 4.0
    kl: float = 0.0625
    stop_loss: float = 0.05

    def __post_init__(self) -> None:
        require(self.steps >= 2, "steps", "at least 2: one update", self.steps)
        require(self.lr > 0, "lr", "a positive number", self.lr)
        require(self.clamp > 0, "clamp", "a positive number", self.clamp)
        for name in ("weight_decay", "kl", "stop_loss"):
            require(getattr(self, name) >= 0, name, "zero or more", getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinSettings(TargetSettings):
    """Settings of the optimiser of two δ.

    Attributes:
        nll_factor: Weight of the NLL, as long as not all labels are the likeliest tokens.
    """

    nll_factor: float = 1.0

    def __post_init__(self) -> None:
        TargetSettings.__post_init__(self)
        require(self.nll_factor > 0, "nll_factor", "a positive number", self.nll_factor)


@dataclass(frozen=True, eq=False)
class Target:
    """Result of the optimiser and what its first pass saw at the lookup tokens.

    Attributes:
        delta: δ, ``(d,)``.
        origin: v₀, the site's unchanged output in the first row, ``(d,)``.
        keys: Input of the down-projection per row (without the essence row), ``(j, f)``.
        outputs: Output of the down-projection per row, ``(j, d)``.
        losses: Loss at each evaluation, in nats.
    """

    delta: Tensor
    origin: Tensor
    keys: Tensor
    outputs: Tensor
    losses: tuple[float, ...]

    @property
    def value(self) -> Tensor:
        """The wanted output, v₀ + δ, ``(d,)``."""
        return self.origin + self.delta


def only(found: Sequence[Target | InvalidInputError]) -> Target:
    """The target, where one was looked for; raises why there is none."""
    (one,) = found
    if isinstance(one, InvalidInputError):
        raise one
    return one
