"""Write many facts at once, spread over several layers.

What the members of MEMIT's family share: targets optimised on the model as it is, one per subject;
then, layer by layer, keys on the weights as far as they are written, the method's closed form, and
the write (on a copy). Each member brings only its `Formula`.

Source: Meng et al. 2023, arXiv:2210.07229, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from patchhub.editing.editor import EditContext, Editor, method_record
from patchhub.editing.gather import Group, gather
from patchhub.editing.keys import KeyStream
from patchhub.editing.keyvalues import KeyValues
from patchhub.editing.moments import Moments
from patchhub.editing.settings import require
from patchhub.editing.targets import Target, TargetSettings, Wanted, find_targets
from patchhub.editing.tokens import filler_id
from patchhub.editing.trace import swapped
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import SPREAD, Architecture, edit_layers, module_of, site_for, weight_matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadSettings(TargetSettings):
    """Settings of an edit spread over layers; the defaults are those published for GPT-J.

    Attributes:
        layers: Blocks to write, ascending; targets are set at the last. ``None`` takes the ones
            known for this model.
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

Solve = Callable[[int, Tensor], Tensor]
"""(block, keys K ``(f, n)``) ↦ A ``(f, n)``, float64: the update for residuals R is ``R Aᵀ``."""


class Find(Protocol):
    """`find_targets` for one site."""

    def __call__(
        self,
        model: PreTrainedModel,
        arch: Architecture,
        wanted: Sequence[Wanted],
        settings: TargetSettings,
        *,
        layer: int,
        filler: int,
        memory: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Target | InvalidInputError]:
        """One result per element of ``wanted``."""
        ...


def evenly(left: int) -> float:
    """The share of MEMIT: what is missing, over the number of layers left."""
    return 1.0 / left


find_block_targets: Find = partial(find_targets, site="block")


@dataclass(frozen=True)
class Formula:
    """What a member of the family brings.

    Attributes:
        solve: Its closed form.
        share: Part of what is still missing that a layer makes up for, given how many layers are
            left, itself included.
        site: Whose output targets are set at: ``block`` or ``mlp``.
        find: How they are found.
    """

    solve: Solve
    share: Callable[[int], float] = evenly
    site: str = "block"
    find: Find = find_block_targets


@dataclass(frozen=True, eq=False)
class Solution:
    """Everything an edit computed, in float64 on the CPU.

    Attributes:
        factors: Block → A ``(f, n)`` and R ``(d, n)``; ΔW = R Aᵀ.
        keys: Block → ``(n, f)``, on the weights with all lower blocks written.
        residuals: δ per target, ``(n, d)``.
    """

    factors: dict[int, tuple[Tensor, Tensor]]
    keys: dict[int, Tensor]
    residuals: Tensor


def resolved(base: LoadedBase, settings: S, purpose: str = SPREAD) -> S:
    """``settings`` with the blocks filled in (E142 none are known, E144 there is no such)."""
    layers = settings.layers
    if layers is None:
        layers = edit_layers(base.model, base.arch, purpose)
    for layer in layers:
        base.arch.path("mlp_out", layer, base.model)
    return replace(settings, layers=layers)


def spread(
    editor: Editor,
    context: EditContext,
    requests: Sequence[EditRequest],
    settings: SpreadSettings,
    formula: Formula,
    *,
    state: Callable[[Solution], dict[str, Tensor]] = lambda solution: {},
) -> Patch:
    """Write all requests at once.

    Args:
        editor: The method.
        context: What it was given.
        requests: Those on one subject share a target; those that cannot be edited are dropped.
        settings: Resolved.
        formula: The method's.
        state: What the method remembers besides keys and residuals.

    Returns:
        A low-rank patch; its rank is the number of subjects.

    Raises:
        InvalidInputError: E140; E143, E148 or E150 if no request can be edited; E145, statistics
            are singular; E148, the update is not finite.
    """
    base, layers = context.base, settings.layers or ()
    groups, targets = found_targets(context, requests, settings, formula)
    solution = solved(context, groups, targets, settings, formula)
    sites, payload = [], {}
    for layer, (rows, residuals) in solution.factors.items():
        path = base.arch.path("mlp_out", layer, base.model)
        sites.append(site_for(base.model, base.fingerprint, f"{path}.weight"))
        payload[sites[-1].tensor] = {"A": rows.T.float(), "B": residuals.float()}
    kept = sorted(number for group in groups for number in group.requests)
    owner = {number: i for i, group in enumerate(groups) for number in group.requests}
    memory = KeyValues(solution.keys, solution.residuals, tuple(owner[n] for n in kept))
    chosen = [requests[number] for number in kept]
    return Patch.build(
        Kind.LOW_RANK,
        {
            tensor: {r: f.contiguous() for r, f in roles.items()}
            for tensor, roles in payload.items()
        },
        sites=sites,
        base=base.fingerprint.weights,
        method=method_record(editor, context, chosen, settings, layers=layers),
        requests=chosen,
        onto=context.onto,
        state={**memory.to_state(), **state(solution)},
    )


def found_targets(
    context: EditContext,
    requests: Sequence[EditRequest],
    settings: SpreadSettings,
    formula: Formula,
) -> tuple[list[Group], list[Target]]:
    """Targets on the model as it is, and what each is for; drops requests without one."""
    base = context.base
    groups, failed = gather(context, requests, settings.contexts)
    results = formula.find(
        base.model,
        base.arch,
        [group.wanted for group in groups],
        settings,
        layer=(settings.layers or (0,))[-1],
        filler=filler_id(base.tokenizer),
        memory=context.memory,
        progress=partial(context.report, "targets"),
    )
    kept: list[tuple[Group, Target]] = []
    for group, result in zip(groups, results, strict=True):
        if isinstance(result, InvalidInputError):
            failed += [(number, result) for number in group.requests]
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
    """Layer by layer: keys, residuals, update, write; the model's own tensors are not written to.

    Raises:
        InvalidInputError: E145, a system is singular; E148, an update is not finite.
    """
    base, layers = context.base, settings.layers or ()
    model = base.model
    stream = KeyStream(
        model,
        base.arch,
        [group.prompts for group in groups],
        top=layers[-1],
        site=formula.site,
        filler=filler_id(base.tokenizer),
        memory=context.memory,
    )
    wanted = torch.stack([target.delta for target in targets]).cpu().double()
    solution, first = Solution({}, {}, wanted), torch.zeros(())
    with ExitStack() as stack:
        for done, layer in enumerate(layers):
            context.report("layers", done, len(layers))
            keys, values = stream.read([layer])
            first = first if done else values
            share = formula.share(len(layers) - done)
            residuals = share * (wanted - (values - first)).T
            rows = formula.solve(layer, keys[layer].T)
            _check_finite(layer, rows, residuals)
            module = module_of(model, base.arch.path("mlp_out", layer, model))
            own = module.get_parameter("weight").detach()
            stack.enter_context(swapped(module, "weight", own.clone()))
            weight_matrix(module).add_((residuals @ rows.T).to(own.device, own.dtype))
            solution.factors[layer] = rows, residuals
            solution.keys[layer] = keys[layer]
    context.report("layers", len(layers), len(layers))
    return solution


def _check_finite(layer: int, *factors: Tensor) -> None:
    if not all(bool(torch.isfinite(factor).all()) for factor in factors):
        raise InvalidInputError(
            "E148",
            f"the update of block {layer} is not finite",
            expected="numbers",
            hint="a larger weight of the covariance, or fewer requests that look alike",
        )


def moments_of(context: EditContext) -> Moments:
    """The statistics of the keys (E145 if there are none)."""
    if context.moments is None:
        raise InvalidInputError("E145", "there are no key statistics", hint="use prepare_context")
    return context.moments
