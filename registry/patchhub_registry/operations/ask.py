"""Ask models the same questions: a base, a base with a stack on it, a directory on disk."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import ConflictError, InvalidInputError, NotFoundError
from patchhub_registry.operations import models

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry

BASE = "base"
"""As a column: the model with no patch on it."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Greedy answers side by side.

    Attributes:
        prompts: The questions.
        columns: Names of the models asked.
        answers: One row per prompt, one answer per column.
    """

    prompts: tuple[str, ...]
    columns: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]


def ask(
    registry: Registry | None,
    prompts: str | Sequence[str],
    *,
    stack: str | None = None,
    against: str | None = None,
    base: str | None = None,
    model: str | Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Answers:
    """Greedy answers of every model named, in the order against, base, stack, model.

    Args:
        registry: Where bases and stacks are looked up; not needed for a directory alone.
        prompts: Text before the answers.
        stack: A stack whose model answers.
        against: ``base`` or another stack, to be compared with.
        base: A base whose unpatched model answers.
        model: A model directory, read with `from_pretrained` as any program would.
        device: Where the models compute.
        progress: Called with the phase, units done, units in all.

    Raises:
        InvalidInputError: E131, no prompt or no model is named; E152, there is no such device.
        NotFoundError: E105 to E109. ConflictError: E302, the models stand on different bases.
    """
    wanted = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    if not wanted or not (stack or against or base or model):
        raise InvalidInputError(
            "E131",
            "say what to ask and whom",
            expected="at least one prompt, and a stack, a base or a model directory",
            hint="patchhub ask PROMPT --stack STACK --against base",
        )
    columns: dict[str, list[str]] = {}
    if registry is not None and (stack or against or base):
        columns |= _registered(registry, wanted, stack, against, base, device, progress)
    if model is not None:
        columns[_label(columns, str(model), "directory")] = _directory(Path(model), wanted, device)
    rows = tuple(tuple(answers[i] for answers in columns.values()) for i in range(len(wanted)))
    return Answers(wanted, tuple(columns), rows)


def _registered(
    registry: Registry,
    prompts: Sequence[str],
    stack: str | None,
    against: str | None,
    base: str | None,
    device: str,
    progress: Progress | None,
) -> dict[str, list[str]]:
    from patchhub.composer.composer import Composer

    states = {name: registry.stack(name) for name in (stack, against) if name not in (None, BASE)}
    weights = {state.base for state in states.values()}
    if base is not None:
        weights.add(registry.base(base).weights)
    if len(weights) > 1:
        named = ", ".join(name for name in (against, base, stack) if name is not None)
        raise ConflictError("E302", "these models stand on different bases", found=named)
    if weights:
        record = models.base_with(registry, weights.pop(), f"stack {stack or against}")
    else:
        record = models.only_base(registry, None)
    loaded = models.load(registry, record, device=device, progress=progress)
    composer = Composer.over(loaded)
    plain = None if base is None else _label(states, base, BASE)
    columns: dict[str, list[str]] = {}
    for name in dict.fromkeys(each for each in (against, plain, stack) if each is not None):
        composer.set_stack(models.stack_patches(registry, states.get(name)))
        columns[name] = _answers(loaded.model, loaded.tokenizer, prompts)
    return columns


def _label(taken: Container[str | None], name: str, what: str) -> str:
    """A column's name, told apart from another column's."""
    return f"{what} {name}" if name in taken else name


def _directory(directory: Path, prompts: Sequence[str], device: str) -> list[str]:
    from patchhub.loading import check_device, open_model

    check_device(device)
    if not (directory / "config.json").is_file():
        raise NotFoundError("E109", f"{directory} is not a model directory")
    # Resolved once: a switch of generations meanwhile cannot mix two of them.
    model, tokenizer = open_model(directory.resolve())
    model.to(device)  # type: ignore[arg-type]
    return _answers(model, tokenizer, prompts)


def _answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]
) -> list[str]:
    from patchhub.scoring.protocols import Protocol
    from patchhub.scoring.scorer import Question, Scorer

    questions = [Question(prompt) for prompt in prompts]
    return [answer.text for answer in Scorer(model, tokenizer).ask(questions, Protocol.GENERATION)]
