"""Finding target values: what a module should put out at the subject's last token.

Source: Meng et al. 2022, arXiv:2202.05262, eq. 4; loop, clamp and decay as in the released code.

    L(δ) = mean NLL of the target  +  β KL(P_δ ‖ P_0)  +  w ‖δ‖ / ‖v₀‖²

P is the next-token distribution at the subject's last token of an essence row ("<subject> is a").
Of an encoder-decoder δ is in the encoder, the target is what the decoder says, labels shifted, and
P is that of its first word behind the whole essence row; that is our own proposal, with no source.
Adam on δ, at most ``steps − 1`` updates; the stop test sees the loss before the step; the clamp
‖δ‖ ≤ c ‖v₀‖ is outside the gradient. Where we differ from the references: ids, not decoded
strings; the model's own head, and only where its logits are needed; many requests at once, each as
if it were alone; nothing is computed twice that δ does not reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from patchhub.editing.passes.activations import fused_gelu
from patchhub.editing.passes.attention import short_attention
from patchhub.editing.passes.budget import Budget
from patchhub.editing.passes.resume import check_length, recorded_below
from patchhub.editing.passes.trace import seen_inputs, seen_outputs, stopped_after, unwrap
from patchhub.editing.targets.batch import Batch, size_of
from patchhub.editing.targets.descent import Descent
from patchhub.editing.targets.problem import Target, TargetSettings, TwinSettings, Wanted
from patchhub.errors import InvalidInputError
from patchhub.sites import DECODER, Architecture, module_of

Progress = Callable[[int, int], None]
Found = list[Target | InvalidInputError]

_BLOCK = "block"
_EXACT = 1e-2
"""How closely a block must hand on a change of its MLP's output, relative to the change."""


def find_targets(
    model: PreTrainedModel,
    arch: Architecture,
    wanted: Sequence[Wanted],
    settings: TargetSettings,
    *,
    layer: int,
    filler: int,
    site: str = "mlp",
    memory: int | None = None,
    progress: Progress | None = None,
) -> Found:
    """Optimise one δ per element of ``wanted`` so that the labels of its rows become likely.

    Args:
        model: In evaluation mode, parameters without gradient, float32 or float64.
        arch: Where its parts lie.
        wanted: What to find; results do not depend on what else is asked for.
        settings: Of the loop.
        layer: Block whose output is changed.
        filler: Id to pad with.
        site: ``mlp`` (ROME) or ``block`` (MEMIT).
        memory: Bytes to use beside the model (see `Budget`); ``None`` for 1 GiB.
        progress: Told how many are found, and of how many.

    Returns:
        In the order of ``wanted`` a target, or why there is none: E143, no label depends on it, for
        ``layer`` is the last block; E148, its loss or δ became infinite or undefined; E150, it is
        longer than the model's context.
    """
    search = _Search(model, arch, settings, (site,), layer, filler)
    return search.all(wanted, memory, progress)


def find_twin_targets(
    model: PreTrainedModel,
    arch: Architecture,
    wanted: Sequence[Wanted],
    settings: TwinSettings,
    *,
    layer: int,
    filler: int,
    memory: int | None = None,
    progress: Progress | None = None,
) -> Found:
    """Optimise two δ jointly, of the attention's and the MLP's output; the MLP's are returned.

    As `find_targets`, but for: δ_a and δ_m have a clamp and a decay each, by the norms of what
    their own modules put out; the NLL's weight is ``nll_factor``, and a tenth of it in the step
    after one where all labels were the likeliest tokens; and a request is done, too, when they are
    and β KL ≤ 0.01.

    Source: Li et al. 2023, arXiv:2308.08742, eq. 10; factor and stop rule as in the released code.
    """
    parts = ("attention_out", "mlp_out")
    search = _Search(model, arch, settings, parts, layer, filler, settings.nll_factor)
    return search.all(wanted, memory, progress)


@dataclass(frozen=True, eq=False)
class _First:
    """What the first pass saw.

    Attributes:
        origin: The sites' outputs in each problem's first row, ``(b, k, d)``.
        keys: Of the down-projection, by row, ``(n, f)``.
        outputs: Of the down-projection, by row, ``(n, d)``.
        below: What the block below put out, as it did.
        block: What the changed block put out.
    """

    origin: Tensor
    keys: Tensor
    outputs: Tensor
    below: Any
    block: Any


@dataclass(frozen=True, eq=False)
class _Search:
    """One way of asking; the changed modules are ``parts``, the last one's δ is what is wanted."""

    model: PreTrainedModel
    arch: Architecture
    settings: TargetSettings
    parts: tuple[str, ...]
    layer: int
    filler: int
    nll_factor: float | None = None

    def all(self, wanted: Sequence[Wanted], memory: int | None, progress: Progress | None) -> Found:
        """One result each, in order."""
        found: dict[int, Target | InvalidInputError] = {}
        for i, one in enumerate(wanted):
            try:
                check_length(self.model, (*one.rows, one.essence))
                self._check_reach(one)
            except InvalidInputError as error:
                found[i] = error
        fit = [i for i in range(len(wanted)) if i not in found]
        budget = Budget(self.model, self.arch, self.layer, self.arch.reading)
        for group in budget.groups([size_of(wanted[i]) for i in fit], memory):
            if progress is not None:
                progress(len(found), len(wanted))
            chosen = [fit[i] for i in group]
            found.update(zip(chosen, self._group([wanted[i] for i in chosen]), strict=True))
        if progress is not None:
            progress(len(wanted), len(wanted))
        return [found[i] for i in range(len(wanted))]

    def _check_reach(self, wanted: Wanted) -> None:
        """Refuse a target that no label depends on: Adam would make steps of rounding errors.

        Behind the last block nothing is handed from one token to another, but to a decoder.
        """
        count = self.arch.block_count(self.model, self.arch.reading)
        read = any(row.said or row.lookup in row.slots for row in wanted.rows)
        if read or self.layer < count - 1:
            return
        raise InvalidInputError(
            "E143",
            "the answer does not depend on what the last block puts out at the subject",
            expected="a subject that ends the prompt, or a block that others follow",
            found=f"block {self.layer} of {count}, and words between subject and answer",
            hint="edit a lower block: --set layer=… or layers=…",
        )

    def _group(self, wanted: Sequence[Wanted]) -> Found:
        with fused_gelu(self.model):
            batch = Batch(self.model, self.arch, wanted, self.filler)
            first = self._first_pass(batch)
            sites = self._sites(batch, first)
            batch.last = self._last()
            descent = Descent(batch, sites, first.origin, self.settings, self.nll_factor)
            with short_attention(self.model):
                results = descent.run()
        found: Found = []
        for i, (delta, losses) in enumerate(zip(*results, strict=True)):
            # The last update is followed by no loss that would tell.
            if not (math.isfinite(losses[-1]) and bool(delta.isfinite().all())):
                found.append(_diverged(losses[-1]))
                continue
            rows = slice(int(batch.first[i]), int(batch.first[i]) + len(wanted[i].rows))
            origin = first.origin[i, -1]
            keys, outputs = first.keys[rows], first.outputs[rows]
            found.append(Target(delta[-1], origin, keys, outputs, losses))
        return found

    def _first_pass(self, batch: Batch) -> _First:
        """What blocks up to the changed one say without δ: values, keys, and where to go on."""
        down = self._module("mlp_out")
        watched = {**{part: self._module(part) for part in self.parts}, "down": down}
        watched[_BLOCK] = self._module(_BLOCK)
        with (
            torch.no_grad(),
            recorded_below(self.model, self.arch, self.layer) as below,
            seen_outputs(watched) as out,
            seen_inputs({"down": down}) as into,
            stopped_after(watched[_BLOCK]),
        ):
            batch.log_p()
        values = [batch.at_lookups(out[part])[batch.first] for part in self.parts]
        return _First(
            origin=torch.stack(values, dim=1),
            keys=batch.at_lookups(into["down"]).clone(),
            outputs=batch.at_lookups(out["down"]).clone(),
            below=below.get("output"),
            block=out[_BLOCK],
        )

    def _sites(self, batch: Batch, first: _First) -> list[nn.Module]:
        """The modules to change, with the batch set to begin as high as is right for them."""
        batch.cut.start_at(self.layer, first.below)
        enters = self.parts == (_BLOCK,) or (
            self.parts == ("mlp",) and self._enters_the_stream(batch, first)
        )
        if enters:
            batch.cut.start_at(self.layer + 1, first.block)
            return [self._module(_BLOCK)]
        return [self._module(part) for part in self.parts]

    @torch.no_grad()
    def _enters_the_stream(self, batch: Batch, first: _First) -> bool:
        """Whether the block's output moves as its MLP's does: tried, not known by a model's name.

        Blocks that norm what their MLP puts out do not.
        """
        origin = first.origin
        wave = torch.arange(origin.shape[-1], device=origin.device).cos().to(origin.dtype)
        probe = wave * torch.linalg.vector_norm(origin, dim=-1, keepdim=True) / len(wave) ** 0.5
        block = self._module(_BLOCK)
        with (
            batch.shifted([self._module("mlp")], probe),
            seen_outputs({_BLOCK: block}) as changed,
            stopped_after(block),
        ):
            batch.log_p()
        expected = batch.added(unwrap(first.block), probe[:, 0])
        error = (unwrap(changed[_BLOCK]) - expected).abs().max()
        return bool(error <= _EXACT * probe.abs().max())

    def _last(self) -> tuple[nn.Module, ...]:
        """The parts of the last block behind its attention, unless it is the one that changes.

        Behind an encoder there are none: a decoder reads it everywhere, and is given few tokens.
        """
        last = self.arch.block_count(self.model) - 1
        if last == self.layer or self.arch.reading != DECODER:
            return ()
        paths = [self.arch.path(part, last, self.model) for part in ("attention_out", "mlp")]
        return tuple(module_of(self.model, path) for path in paths)

    def _module(self, part: str) -> nn.Module:
        path = self.arch.path(part, self.layer, self.model, self.arch.reading)
        return module_of(self.model, path)


def _diverged(loss: float) -> InvalidInputError:
    return InvalidInputError(
        "E148",
        "the target vector or its loss is not a number",
        expected="finite numbers",
        found=f"a last loss of {loss:.4g}",
        hint="take a smaller lr, or check that the base answers sensibly",
    )
