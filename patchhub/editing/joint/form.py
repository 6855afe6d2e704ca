"""What a key-value method says about itself, so that its edits can be solved together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from patchhub.editing.editor import EditContext, Editor
from patchhub.editing.joint.solver import Formula, Metric
from patchhub.editing.keyvalue.solver import solve
from patchhub.editing.targets import TargetSettings, Wanted, find_targets, only
from patchhub.editing.wording.templates import ContextTemplates
from patchhub.editing.wording.tokens import filler_id
from patchhub.errors import InvalidInputError

Mean: TypeAlias = Callable[[Tensor], Tensor]
"""Keys of one prompt in all contexts ``(j, f)``, the bare one first, to its key ``(f,)``."""


@dataclass(frozen=True, eq=False)
class Form:
    """A method in the terms of a joint solve.

    Attributes:
        formula: Its update.
        site: What its targets are outputs of, in the last of its blocks: ``block``, ``mlp`` or
            ``mlp_out``.
        mean: How keys in several contexts make one.
        delta: δ for one target, ``(d,)``, on the model as it is; raises what stands against it.
        settings: In effect, blocks filled in; for the record.
        templates: The contexts it reads prompts in.
    """

    formula: Formula
    site: str
    mean: Mean
    delta: Callable[[Wanted], Tensor]
    settings: Any
    templates: ContextTemplates


@runtime_checkable
class KeyValueEditor(Editor, Protocol):
    """An editor whose edits can be solved together."""

    def joint(self, context: EditContext, hparams: Any) -> Form:
        """The method on this base, with these settings."""
        ...


def delta_by(
    context: EditContext, settings: TargetSettings, *, layer: int, site: str
) -> Callable[[Wanted], Tensor]:
    """`Form.delta` of methods with one target at one module.

    Args:
        context: The base.
        settings: Of the optimiser.
        layer: Block of the target.
        site: As for `find_targets`.
    """
    base = context.base

    def delta(wanted: Wanted) -> Tensor:
        filler = filler_id(base.tokenizer)
        found = find_targets(
            base.model, base.arch, [wanted], settings, layer=layer, filler=filler, site=site
        )
        return only(found).delta

    return delta


def inverse_moments(context: EditContext) -> Metric:
    """M = C⁻¹, by the cached Cholesky factor of each block's C; M = I without statistics."""
    moments = context.moments
    if moments is None:
        return lambda layer, keys: keys.double()
    return lambda layer, keys: solve(moments.factor(layer), keys)


def key_value_editor(editor: Editor) -> KeyValueEditor:
    """The editor, if its edits can be solved together.

    Raises:
        InvalidInputError: E142, they cannot.
    """
    if not isinstance(editor, KeyValueEditor):
        raise InvalidInputError(
            "E142",
            f"edits by {editor.name} cannot be solved together",
            expected="a method that writes values at keys, such as memit or rome",
            found=editor.name,
        )
    return editor
