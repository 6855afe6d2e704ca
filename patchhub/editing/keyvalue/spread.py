"""Write many facts at once, spread over several layers.

What the members of MEMIT's family share: targets optimised on the model as it is, one per subject;
then, layer by layer, keys on the weights as far as they are written, the method's closed form, and
the write (on a copy). Each member brings only its `Formula`. Of an encoder-decoder the encoder is
written. That is our own proposal, with no source.

Source: Meng et al. 2023, arXiv:2210.07229, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from patchhub.editing.blocks import SPREAD, edit_layers
from patchhub.editing.editor import EditContext, Editor, method_record
from patchhub.editing.joint.form import Form
from patchhub.editing.joint.solver import Formula as JointFormula
from patchhub.editing.joint.solver import Metric
from patchhub.editing.keyvalue.factors import low_rank
from patchhub.editing.keyvalue.gather import Group, contexts_of, gather, of_group
from patchhub.editing.keyvalue.keys import averaged
from patchhub.editing.keyvalue.keyvalues import KeyValues
from patchhub.editing.keyvalue.layerwise import Share, Solution, Solve, evenly, write_layers
from patchhub.editing.settings import require
from patchhub.editing.statistics.moments import Moments
from patchhub.editing.targets import Target, TargetSettings, Wanted, find_targets, only
from patchhub.editing.wording.tokens import filler_id
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadSettings(TargetSettings):
    """Settings of an edit spread over layers; the defaults are those published for GPT-J.

    Attributes:
        layers: Blocks to write, ascending, of the stack that reads prompts; targets are set at the
            last. ``None`` takes the ones known for this model.
        contexts: Texts put in front of each prompt, besides none; the longest of those given.
    """

    layers: tuple[int, ...] | None = None
    contexts: int = 5
    steps: int = 25
    clamp: float = 0.75

    def __post_init__(self) -> None:
        TargetSettings.__post_init__(self)
        require(self.contexts >= 0, "contexts", "zero or more", self.contexts)
        if self.layers is not None:
            ascending = bool(self.layers) and sorted(set(self.layers)) == list(self.layers)
            require(ascending, "layers", "blocks in ascending order", self.layers)


S = TypeVar("S", bound=SpreadSettings)

Targets = Callable[
    [EditContext, Sequence[Wanted], "SpreadSettings"], list[Target | InvalidInputError]
]
"""Finds a target for each element, or says why there is none."""


def block_targets(
    context: EditContext, wanted: Sequence[Wanted], settings: SpreadSettings
) -> list[Target | InvalidInputError]:
    """Targets for what the last of the blocks puts out."""
    return find_targets(
        context.base.model,
        context.base.arch,
        wanted,
        settings,
        layer=(settings.layers or (0,))[-1],
        filler=filler_id(context.base.tokenizer),
        site="block",
        memory=context.memory,
        progress=partial(context.report, "targets"),
    )


@dataclass(frozen=True)
class Formula:
    """What a member of the family brings.

    Attributes:
        solve: Its closed form.
        ready: Computes what ``solve`` needs of a block's statistics, or says what is wrong with
            them: before hours are spent on targets.
        share: What each layer makes up for.
        site: Whose output in the last block targets are: ``block``, ``mlp`` or ``mlp_out``.
        targets: How they are found.
    """

    solve: Solve
    ready: Callable[[int], object]
    share: Share = evenly
    site: str = "block"
    targets: Targets = block_targets


def resolved(base: LoadedBase, settings: S, purpose: str = SPREAD) -> S:
    """``settings`` with the blocks filled in (E142 none are known, E144 there is no such)."""
    layers = settings.layers
    if layers is None:
        layers = edit_layers(base.model, base.arch, purpose)
    for layer in layers:
        base.arch.path("mlp_out", layer, base.model, base.arch.reading)
    return replace(settings, layers=layers)


def spread(
    editor: Editor,
    context: EditContext,
    requests: Sequence[EditRequest],
    settings: SpreadSettings,
    formula: Formula,
) -> Patch:
    """Write all requests at once.

    Args:
        editor: The method.
        context: What it was given.
        requests: Those on one subject share a target; those that cannot be edited are dropped.
        settings: Resolved.
        formula: The method's.

    Returns:
        A low-rank patch; its rank is the number of subjects.

    Raises:
        InvalidInputError: E140; E143, E148 or E150 if no request can be edited; E145, statistics
            are singular; E148, the update is not finite.
    """
    base, layers = context.base, settings.layers or ()
    for layer in layers:
        formula.ready(layer)
    groups, targets = found_targets(context, requests, settings, formula)
    solution = solved(context, groups, targets, settings, formula)
    sites, payload = low_rank(base, solution.factors)
    kept = sorted(number for group in groups for number in group.requests)
    owner = {number: i for i, group in enumerate(groups) for number in group.requests}
    memory = KeyValues(solution.keys, solution.residuals, tuple(owner[n] for n in kept))
    chosen = [requests[number] for number in kept]
    return Patch.build(
        Kind.LOW_RANK,
        payload,
        sites=sites,
        base=base.fingerprint.weights,
        method=method_record(editor, context, chosen, settings, layers=layers),
        requests=chosen,
        onto=context.onto,
        state=memory.to_state(),
    )


def found_targets(
    context: EditContext,
    requests: Sequence[EditRequest],
    settings: SpreadSettings,
    formula: Formula,
) -> tuple[list[Group], list[Target]]:
    """Targets on the model as it is, and what each is for; drops requests without one."""
    groups, failed = gather(context, requests, settings.contexts)
    results = formula.targets(context, [group.wanted for group in groups], settings)
    kept: list[tuple[Group, Target]] = []
    for group, result in zip(groups, results, strict=True):
        if isinstance(result, InvalidInputError):
            reason = of_group(result, [requests[number] for number in group.requests])
            failed += [(number, reason) for number in group.requests]
        else:
            kept.append((group, result))
    if not kept:
        raise min(failed, key=lambda pair: pair[0])[1]
    for number, error in sorted(failed, key=lambda pair: pair[0]):
        context.drop(requests[number], error)
    return [group for group, _ in kept], [target for _, target in kept]


def solved(
    context: EditContext,
    groups: Sequence[Group],
    targets: Sequence[Target],
    settings: SpreadSettings,
    formula: Formula,
) -> Solution:
    """The updates of all layers; errors as for `write_layers`."""
    return write_layers(
        context,
        [group.prompts for group in groups],
        torch.stack([target.delta for target in targets]),
        settings.layers or (),
        solve=formula.solve,
        share=formula.share,
        site=formula.site,
    )


def joint_form(
    context: EditContext, settings: SpreadSettings, formula: Formula, metric: Metric, ridge: float
) -> Form:
    """The method in the terms of a joint solve.

    Args:
        context: The base and its statistics.
        settings: Resolved.
        formula: The method's.
        metric: M of its update ``R (KᵀMK + ρI)⁻¹ KᵀM``.
        ridge: ρ.
    """

    def delta(wanted: Wanted) -> Tensor:
        return only(formula.targets(context, [wanted], settings)).delta

    return Form(
        formula=JointFormula(settings.layers or (), metric, ridge, formula.share),
        site=formula.site,
        mean=averaged,
        delta=delta,
        settings=settings,
        templates=contexts_of(context, settings.contexts),
    )


def moments_of(context: EditContext) -> Moments:
    """The statistics of the keys (E145 if there are none)."""
    if context.moments is None:
        raise InvalidInputError("E145", "there are no key statistics", hint="use prepare_context")
    return context.moments
