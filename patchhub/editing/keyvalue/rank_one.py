"""Insert facts into one down-projection, one rank-one update after another.

What the members of ROME's family share: rows in all contexts, the target value, the statistics, the
patch. Each member brings only its formula, an `Update`; what cannot be edited is left out.

Of an encoder-decoder the encoder is edited. That is our own proposal, with no source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from patchhub.editing.blocks import INSERT, edit_layer
from patchhub.editing.dropping import each_or_dropped
from patchhub.editing.editor import EditContext, Editor, method_record
from patchhub.editing.joint.form import Form, delta_by, inverse_moments
from patchhub.editing.joint.solver import Formula
from patchhub.editing.keyvalue.keyvalues import KeyValues
from patchhub.editing.keyvalue.solver import solve
from patchhub.editing.passes.encoder import decoder_start
from patchhub.editing.passes.trace import swapped
from patchhub.editing.targets import Target, TargetSettings, find_targets, only, wanted_for
from patchhub.editing.wording.templates import BARE
from patchhub.editing.wording.tokens import filler_id
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import module_of, site_for, weight_matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertSettings(TargetSettings):
    """Settings of a rank-one insertion.

    Attributes:
        layer: Block to edit, of the stack that reads prompts; ``None`` takes the one known for this
            model.
        covariance: Whether the direction is C⁻¹k (published) or k (what EasyEdit ships).
    """

    layer: int | None = None
    covariance: bool = True


S = TypeVar("S", bound=InsertSettings)

Whiten = Callable[[Tensor], Tensor]
"""k ↦ C⁻¹k, or the identity."""


class Factors(NamedTuple):
    """ΔW = left rightᵀ, in float64.

    Attributes:
        left: ``(d_out,)``.
        right: ``(d_in,)``.
        key: What ``right`` was made from, ``(d_in,)``.
    """

    left: Tensor
    right: Tensor
    key: Tensor


Update = Callable[[Target, Whiten], Factors]


def resolved(base: LoadedBase, settings: S) -> S:
    """``settings`` with the block filled in (E142 none is known, E144 there is no such)."""
    layer = settings.layer
    if layer is None:
        layer = edit_layer(base.model, base.arch, INSERT)
    base.arch.path("mlp_out", layer, base.model, base.arch.reading)
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
        A low-rank patch whose rank is the number of requests that could be edited; it remembers
        their keys and δ (`KeyValues`).

    Raises:
        InvalidInputError: E145, the statistics are unusable; E143, E148 or E150, no request can be
            edited (see `observe` and `factors`), and this is what is wrong with the first.
    """
    base = context.base
    settings = resolved(base, settings)
    layer = settings.layer or 0
    path = base.arch.path("mlp_out", layer, base.model, base.arch.reading)
    module = module_of(base.model, path)
    number = count()

    def insert(request: EditRequest) -> tuple[Factors, Tensor]:
        context.report("edit", next(number), len(requests))
        target = observe(context, request, settings)
        made = factors(context, request, settings, update, target)
        weight_matrix(module).add_(torch.outer(made.left, made.right).to(base.model.dtype))
        return made, target.delta

    with swapped(module, "weight", module.get_parameter("weight").detach().clone()):
        fit, done = each_or_dropped(context, requests, insert)
    context.report("edit", len(requests), len(requests))
    made, deltas = zip(*done, strict=True)
    lefts, rights, keys = (torch.stack(each) for each in zip(*made, strict=True))
    site = site_for(base.model, base.fingerprint, f"{path}.weight")
    roles = {"A": rights.float().cpu(), "B": lefts.T.float().cpu().contiguous()}
    layers = moment_layers(base, settings)
    return Patch.build(
        Kind.LOW_RANK,
        {site.tensor: roles},
        sites=[site],
        base=base.fingerprint.weights,
        method=method_record(editor, context, fit, settings, layers=layers),
        requests=fit,
        onto=context.onto,
        state=KeyValues({layer: keys}, torch.stack(deltas)).to_state(),
    )


def joint_form(context: EditContext, settings: InsertSettings, *, bare: bool = False) -> Form:
    """The insertion in the terms of a joint solve: every key led to its value exactly.

    Args:
        context: The base and its statistics.
        settings: Of the insertion.
        bare: Whether the key is the bare prompt's, and not the mean over contexts.
    """
    settings = resolved(context.base, settings)
    layer = settings.layer or 0
    moments = inverse_moments(context) if settings.covariance else _identity
    return Form(
        formula=Formula((layer,), moments, 0.0, lambda left: 1.0),
        site="mlp",
        mean=(lambda keys: keys[0]) if bare else (lambda keys: keys.mean(0)),
        delta=delta_by(context, settings, layer=layer, site="mlp"),
        settings=settings,
        templates=context.templates or BARE,
    )


def observe(context: EditContext, request: EditRequest, settings: InsertSettings) -> Target:
    """Target value, keys and values of one request in all contexts.

    Raises:
        InvalidInputError: E143, tokens do not line up; E148, diverged; E150, too long.
    """
    base, start = context.base, decoder_start(context.base.model)
    found = find_targets(
        base.model,
        base.arch,
        [wanted_for(base.tokenizer, context.templates or BARE, [request], start)],
        settings,
        layer=resolved(base, settings).layer or 0,
        filler=filler_id(base.tokenizer),
        memory=context.memory,
    )
    return only(found)


def factors(
    context: EditContext,
    request: EditRequest,
    settings: InsertSettings,
    update: Update,
    target: Target | None = None,
) -> Factors:
    """The update of one request, from its target, or from what `observe` finds.

    Raises:
        InvalidInputError: E145, statistics are singular; E148, the update is not finite.
    """
    target = target or observe(context, request, settings)
    made = update(target, _whiten(context, settings))
    if not bool(torch.isfinite(made.left).all() and torch.isfinite(made.right).all()):
        raise InvalidInputError(
            "E148",
            f"the update for {request.subject!r} is not finite",
            expected="a key that its own direction can tell from others",
            hint="another wording of the prompt, another block, or R-ROME",
        )
    return made


def _identity(layer: int, keys: Tensor) -> Tensor:
    return keys.double()


def _whiten(context: EditContext, settings: InsertSettings) -> Whiten:
    layer = resolved(context.base, settings).layer
    if not settings.covariance or layer is None or context.moments is None:
        return lambda key: key
    factor = context.moments.factor(layer)
    return lambda key: solve(factor, key.cpu()).to(key.device)
