"""One gradient step of the last block's down-projection, as long as it has to be.

The gradient of a linear layer is a sum of one outer product per token that the loss looks at
(Mitchell et al. 2022, arXiv:2110.11309, section 3.2), so a single step of fine-tuning is a low-rank
patch and needs no statistics and no subject:

    ΔW = − η Σᵢ gᵢ kᵢᵀ     gᵢ = ∂L/∂(output at token i),  kᵢ = input at token i

Only η has to be found: it is doubled while the loss falls and is above the goal. In the last block
only the tokens that predict the target have a gradient, so the rank is the number of target tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from patchhub.editing.editor import Cost, EditContext, method_record
from patchhub.editing.passes.trace import seen_inputs, seen_outputs, swapped, unwrap
from patchhub.editing.settings import require
from patchhub.editing.training.finetune import LabelLoss
from patchhub.editing.training.labels import labelled
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import module_of, site_for, weight_matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class OneStepSettings:
    """Settings of the search for the length of the step.

    Attributes:
        start: ‖ΔW‖ of the first try, in multiples of ‖W‖.
        tries: How often it may be doubled.
        goal: Mean −log p of a target token, in nats, at which the search ends.
    """

    start: float = 0.001
    tries: int = 12
    goal: float = 0.1

    def __post_init__(self) -> None:
        for name in ("start", "tries", "goal"):
            require(getattr(self, name) > 0, name, "a positive number", getattr(self, name))


class OneStep:
    """One gradient step."""

    name = "one_step"
    version = 1
    summary = "one gradient step of the last down-projection, its length found by doubling"
    reference = "after Mitchell et al. 2022, arXiv:2110.11309"
    kind = Kind.LOW_RANK
    needs: frozenset[str] = frozenset()
    hparams = OneStepSettings
    cost = Cost(steps="tries")

    def moment_layers(self, base: LoadedBase, hparams: OneStepSettings) -> tuple[int, ...]:
        """None: no statistics are used."""
        return ()

    def edit(
        self, context: EditContext, requests: Sequence[EditRequest], hparams: OneStepSettings
    ) -> Patch:
        """All requests together."""
        base = context.base
        layer = base.arch.block_count(base.model) - 1
        path = base.arch.path("mlp_out", layer, base.model)
        rows = [labelled(base, r) for r in requests]
        module = module_of(base.model, path)
        own = module.get_parameter("weight")
        with swapped(module, "weight", own.detach().clone()) as weight:
            loss = LabelLoss(base, rows, layer)
            weight.requires_grad_(True)
            keys, gradients = _factors(loss, module)
            weight.requires_grad_(False)
            length = _length(context, loss, weight_matrix(module), gradients.T @ keys, hparams)
        site = site_for(base.model, base.fingerprint, f"{path}.weight")
        factors = {"A": keys, "B": -length * gradients.T}
        return Patch.build(
            self.kind,
            {site.tensor: {role: f.float().cpu().contiguous() for role, f in factors.items()}},
            sites=[site],
            base=base.fingerprint.weights,
            method=method_record(self, context, requests, hparams),
            requests=requests,
            onto=context.onto,
        )


def _factors(loss: LabelLoss, module: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """Inputs ``(n, d_in)`` and output gradients ``(n, d_out)`` of the tokens that have one."""
    with seen_inputs({"": module}) as into, seen_outputs({"": module}) as out:
        nats = loss()
    (gradients,) = torch.autograd.grad(nats, [unwrap(out[""])])
    some = gradients.abs().amax(-1) > 0
    return into[""].detach()[some], gradients[some]


def _length(
    context: EditContext, loss: LabelLoss, weight: Tensor, slope: Tensor, settings: OneStepSettings
) -> float:
    """η; ``weight`` is used to try lengths and may end up at any of them."""
    home = weight.detach().clone()
    step = settings.start * float(home.norm()) / max(float(slope.norm()), 1e-30)
    best, lowest = 0.0, float(loss().detach())
    for done in range(settings.tries):
        context.report("edit", done, settings.tries)
        weight.copy_(home - step * slope)
        nats = float(loss().detach())
        if not nats < lowest:
            break
        best, lowest = step, nats
        if nats <= settings.goal:
            break
        step *= 2
    context.report("edit", settings.tries, settings.tries)
    if best == 0.0:
        raise InvalidInputError(
            "E148", "the first step makes the target less likely", hint="take a smaller start"
        )
    return best


EDITOR = OneStep()
