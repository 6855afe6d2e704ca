"""Insert facts into one down-projection, one rank-one update after another.

What the members of ROME's family share: rows in all contexts, the target value, the statistics, the
patch. Each member brings only its formula, an `Update`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from patchhub.editing.editor import EditContext, Editor, method_record
from patchhub.editing.solver import solve
from patchhub.editing.targets import Target, TargetSettings, find_targets, wanted_for
from patchhub.editing.templates import BARE
from patchhub.editing.tokens import filler_id
from patchhub.editing.trace import swapped
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import edit_layer, module_of, site_for, weight_matrix

PURPOSE = "insert"


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertSettings(TargetSettings):
    """Settings of a rank-one insertion.

    Attributes:
        layer: Block to edit; ``None`` takes the one known for this model.
        covariance: Whether the direction is C⁻¹k (published) or k (what EasyEdit ships).
    """

    layer: int | None = None
    covariance: bool = True


S = TypeVar("S", bound=InsertSettings)

Whiten = Callable[[Tensor], Tensor]
"""k ↦ C⁻¹k, or the identity."""
Update = Callable[[Target, Whiten], tuple[Tensor, Tensor]]
"""Factors ``left (d_out,)`` and ``right (d_in,)`` of ΔW = left rightᵀ, in float64."""


def resolved(base: LoadedBase, settings: S) -> S:
    """``settings`` with the block filled in (E142 none is known, E144 there is no such)."""
    layer = settings.layer
    if layer is None:
        layer = edit_layer(base.model, base.arch, PURPOSE)
    base.arch.path("mlp_out", layer, base.model)
    return replace(settings, layer=layer)


def moment_layers(base: LoadedBase, settings: InsertSettings) -> tuple[int, ...]:
    """The edited block, if its statistics are used."""
    layer = resolved(base, settings).layer
    return (layer,) if settings.covariance and layer is not None else ()


def unit(direction: Tensor) -> Tensor:
    """The vector at length 1; cosmetic, the update does not depend on the scale."""
    return torch.nn.functional.normalize(direction, dim=0, eps=0.0)


def insert_each(
    editor: Editor,
    context: EditContext,
    requests: Sequence[EditRequest],
    settings: InsertSettings,
    update: Update,
) -> Patch:
    """Apply ``update`` to one request after another, each on the model so far edited.

    Returns:
        A low-rank patch whose rank is the number of requests.

    Raises:
        InvalidInputError: E143, E145, E148 or E150; see `observe` and `factors`.
    """
    base = context.base
    settings = resolved(base, settings)
    path = base.arch.path("mlp_out", settings.layer or 0, base.model)
    module = module_of(base.model, path)
    pairs: list[tuple[Tensor, Tensor]] = []
    with swapped(module, "weight", module.get_parameter("weight").detach().clone()):
        for done, request in enumerate(requests):
            context.report("edit", done, len(requests))
            left, right = factors(context, request, settings, update)
            pairs.append((left, right))
            weight_matrix(module).add_(torch.outer(left, right).to(base.model.dtype))
    context.report("edit", len(requests), len(requests))
    roles = {
        "A": torch.stack([right for _, right in pairs]).float().cpu(),
        "B": torch.stack([left for left, _ in pairs], dim=1).float().cpu(),
    }
    site = site_for(base.model, base.fingerprint, f"{path}.weight")
    layers = moment_layers(base, settings)
    return Patch.build(
        Kind.LOW_RANK,
        {site.tensor: {role: tensor.contiguous() for role, tensor in roles.items()}},
        sites=[site],
        base=base.fingerprint.weights,
        method=method_record(editor, context, requests, settings, layers=layers),
        requests=requests,
        onto=context.onto,
    )


def observe(context: EditContext, request: EditRequest, settings: InsertSettings) -> Target:
    """Target value, keys and values of one request in all contexts.

    Raises:
        InvalidInputError: E143, tokens do not line up; E148, diverged; E150, too long.
    """
    base = context.base
    (found,) = find_targets(
        base.model,
        base.arch,
        [wanted_for(base.tokenizer, context.templates or BARE, [request])],
        settings,
        layer=resolved(base, settings).layer or 0,
        filler=filler_id(base.tokenizer),
        memory=context.memory,
    )
    if isinstance(found, InvalidInputError):
        raise found
    return found


def factors(
    context: EditContext, request: EditRequest, settings: InsertSettings, update: Update
) -> tuple[Tensor, Tensor]:
    """The update of one request, ``(d_out,)`` and ``(d_in,)`` in float64.

    Raises:
        InvalidInputError: E145, statistics are singular; E148, the update is not finite.
    """
    target = observe(context, request, settings)
    left, right = update(target, _whiten(context, settings))
    if not bool(torch.isfinite(left).all() and torch.isfinite(right).all()):
        raise InvalidInputError(
            "E148",
            f"the update for {request.subject!r} is not finite",
            expected="a key that its own direction can tell from others",
            hint="another wording of the prompt, another block, or R-ROME",
        )
    return left, right


def _whiten(context: EditContext, settings: InsertSettings) -> Whiten:
    layer = resolved(context.base, settings).layer
    if not settings.covariance or layer is None or context.moments is None:
        return lambda key: key
    factor = context.moments.factor(layer)
    return lambda key: solve(factor, key.cpu()).to(key.device)
