"""What a joint solve takes of one target: keys and shares, all of them seen on the bare base.

Each is found as if it were the only edit. Its δ is found by the method; then the blocks are gone
through from below, each lower one adding its share at the target's own lookups:

    S_i = share(L − i) · (δ − (h_i − h_0)),   k_i = mean key in block i,

with h_i the output at the method's site when the blocks below i have added theirs. These are
MEMIT's residuals and keys (Meng et al. 2023, arXiv:2210.07229, algorithm 1) in the limit where a
solve gives each key exactly its residual. MEMIT itself reads them from the model that all edits
have changed so far, so that each depends on all; here each depends on its own requests only, and
stays as it is whatever comes or goes. What the solves do not give, `joint.solver` hands on.

One target is found at a time: in one batch with others its last bits would depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from patchhub.editing.editor import EditContext
from patchhub.editing.joint.form import Form
from patchhub.editing.joint.groups import Group, group_name
from patchhub.editing.passes.budget import Budget
from patchhub.editing.passes.encoder import decoder_start
from patchhub.editing.passes.trace import (
    by_row,
    changed_output,
    seen_inputs,
    seen_outputs,
    stopped_after,
    unwrap,
)
from patchhub.editing.targets import Wanted, wanted_for
from patchhub.editing.wording.tokens import filler_id, pad
from patchhub.sites import module_of


@dataclass(frozen=True, eq=False)
class Entry:
    """One target of a joint solve, in the precision in which it is stored (float32, CPU).

    Attributes:
        requests: What it stands for: all on one subject.
        residual: δ, ``(d,)``.
        keys: Block → ``(f,)``.
        shares: Block → ``(d,)``, what the block adds.
    """

    requests: Group
    residual: Tensor
    keys: Mapping[int, Tensor]
    shares: Mapping[int, Tensor]

    @cached_property
    def name(self) -> str:
        """Digest of its requests."""
        return group_name(self.requests)


def find_entry(
    context: EditContext, form: Form, group: Group, residual: Tensor | None = None
) -> Entry:
    """Find target, keys and shares of a group on the model as it is, which is the base's.

    Args:
        context: The base.
        form: The method.
        group: Requests on one subject.
        residual: δ, where it is known already.

    Raises:
        InvalidInputError: E132, E133, E143, E148, E150: the requests do not fit the model, or the
            target diverged.
    """
    base = context.base
    start = decoder_start(base.model)
    wanted = wanted_for(base.tokenizer, form.templates, group, start)
    delta = _stored(form.delta(wanted) if residual is None else residual)
    look = _Lookups(context, wanted, len(group), form)
    keys: dict[int, Tensor] = {}
    shares: dict[int, Tensor] = {}
    layers = form.formula.layers
    origin: Tensor | None = None
    for number, layer in enumerate(layers):
        key, value = look.read(layer, shares)
        origin = value if origin is None else origin
        missing = delta.double() - (value - origin).double().cpu()
        keys[layer] = _stored(key)
        shares[layer] = _stored(form.formula.share(len(layers) - number) * missing)
    return Entry(group, delta, keys, shares)


class _Lookups:
    """What the lookups of one target can see, read with additions in lower blocks."""

    def __init__(self, context: EditContext, wanted: Wanted, prompts: int, form: Form) -> None:
        self._base, self._prompts, self._form = context.base, prompts, form
        model, arch, self._top = self._base.model, self._base.arch, form.formula.layers[-1]
        rows = [row.seen for row in wanted.rows]
        batch = pad(rows, filler=filler_id(self._base.tokenizer), device=model.device)
        together = len(rows)
        if context.memory is not None:
            budget = Budget(model, arch, self._top, arch.reading)
            together = max(1, budget.tokens(context.memory) // batch.ids.shape[1])
        lookups = torch.tensor([row.lookup for row in wanted.rows], device=model.device)
        ids, mask, places = (torch.split(o, together) for o in (batch.ids, batch.mask, lookups))
        self._parts = list(zip(ids, mask, places, strict=True))

    def read(self, layer: int, shares: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        """The key in a block ``(f,)``, and the site's output ``(d,)``, means over the prompts.

        Args:
            layer: The block.
            shares: Blocks below, with what each adds.
        """
        parts = [self._pass(ids, mask, at, layer, shares) for ids, mask, at in self._parts]
        keys, values = (self._by_prompt(torch.cat(both)) for both in zip(*parts, strict=True))
        return torch.stack([self._form.mean(rows) for rows in keys]).mean(0), values[:, 0].mean(0)

    @torch.no_grad()
    def _pass(
        self, ids: Tensor, mask: Tensor, lookups: Tensor, layer: int, shares: Mapping[int, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Keys ``(n, f)`` and the site's outputs ``(n, d)`` at the lookups of some rows."""
        down = {n: self._module("mlp_out", n) for n in (*shares, layer)}
        places = (torch.arange(len(ids), device=ids.device), lookups)
        with ExitStack() as stack:
            for below, share in shares.items():
                stack.enter_context(changed_output(down[below], _adding(share, places)))
            into = stack.enter_context(seen_inputs({"down": down[layer]}))
            out = stack.enter_context(
                seen_outputs({"site": self._module(self._form.site, self._top)})
            )
            with stopped_after(self._module("block", self._top)):
                self._base.model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
        keys, values = into["down"], unwrap(out["site"])
        return by_row(keys, len(ids))[places], by_row(values, len(ids))[places]

    def _module(self, part: str, layer: int) -> nn.Module:
        model, arch = self._base.model, self._base.arch
        return module_of(model, arch.path(part, layer, model, arch.reading))

    def _by_prompt(self, found: Tensor) -> Tensor:
        """What stands at the lookups, ``(prompts, contexts, …)``."""
        return found.reshape(self._prompts, -1, found.shape[-1])


def _adding(share: Tensor, places: tuple[Tensor, Tensor]) -> Callable[[Tensor], Tensor]:
    """Add a block's share at a place of each row."""

    def change(output: Tensor) -> Tensor:
        hidden = by_row(output, len(places[0])).clone()
        hidden[places] += share.to(hidden)
        return hidden.reshape(output.shape)

    return change


def _stored(vector: Tensor) -> Tensor:
    return vector.detach().to("cpu", torch.float32)
