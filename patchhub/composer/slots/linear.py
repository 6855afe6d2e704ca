"""A Linear or Conv1D with slots: low-rank updates, sparse updates and a codebook."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from patchhub.composer.slots.activations import activated
from patchhub.composer.slots.passes import rows_of
from patchhub.composer.slots.swap import Live
from patchhub.kinds.rows import POSITIONS

_LAST, _PROMPT, _ALL = (POSITIONS.index(word) for word in ("last", "prompt", "all"))
_NEAREST: Final = 16
"""Keys whose distance is measured exactly; which those are, a product of matrices tells."""


class LiveLinear(Live):
    """y = C(W x + b + Σ of chosen updates of x): as a Linear or Conv1D, with its slots.

    Empty slots change no bit, and so do the slots of others in the rows of one request. Buffers,
    where R, C, U and S are capacities and S counts sets of patches:

    - ``down`` (R, d_in), ``up`` (d_out, R), ``mask`` (S, R): which ranks a set has; ``owner`` (R,):
      the block whose choice a rank waits for, -1 for none.
    - ``keys`` (C, d_in), ``norms`` (C,) their squared norms, ``radius`` (S, C), negative for keys
      that a set lacks, ``block`` (C,), ``values`` (C, d_out), ``position`` (C,), -1 for no value.
    - ``deltas`` (U, d_out, d_in), ``threshold`` (S, U), infinite for those that a set lacks, and
      ``activation`` (U,).
    """

    live_down: Tensor
    live_up: Tensor
    live_mask: Tensor
    live_owner: Tensor
    live_keys: Tensor
    live_norms: Tensor
    live_radius: Tensor
    live_block: Tensor
    live_values: Tensor
    live_position: Tensor
    live_deltas: Tensor
    live_threshold: Tensor
    live_activation: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """The module's output, (…, d_out)."""
        own: Any = super()
        y: Tensor = own.forward(x)
        rows = rows_of(x, self.live_state)
        wide = x.reshape(rows, -1, x.shape[-1])
        out = y.reshape(rows, -1, y.shape[-1])
        if len(self.live_keys):
            self._route(wide)
        if len(self.live_down):
            out = self._low_rank(wide, out)
        if len(self.live_deltas):
            out = self._changed(wide, out)
        if len(self.live_keys):
            out = self._valued(out)
        return out.reshape(y.shape)

    def _low_rank(self, x: Tensor, y: Tensor) -> Tensor:
        """Y + B ((A x) ⊙ w), w being 1 for the ranks that a row has."""
        state = self.live_state
        weight = state.of_set(self.live_mask, len(x))
        if state.gates:
            on = self.live_owner < 0
            for gate in state.gates:
                chosen = state.chosen(gate, len(x))
                if chosen is not None:
                    on = on | (self.live_owner == chosen[1][:, None])
            weight = weight * on
        inner = (x.to(self.live_down.dtype) @ self.live_down.T) * weight[:, None]
        return _where(weight.ne(0).any(1), y, inner @ self.live_up.T)

    def _route(self, x: Tensor) -> None:
        """Choose the nearest key for each row whose prompt is read, if it lies in its radius."""
        state = self.live_state
        if state.last is None:
            return
        last = state.last.to(x.device)
        query = x[torch.arange(len(x), device=x.device), last].to(self.live_keys.dtype)
        radius = state.of_set(self.live_radius, len(x))
        rough = self.live_norms - 2 * query @ self.live_keys.T
        rough = rough.masked_fill(radius < 0, torch.inf)
        near = rough.topk(min(_NEAREST, len(self.live_keys)), dim=1, largest=False).indices
        exact = (self.live_keys[near] - query[:, None]).square().sum(2).sqrt()
        radius = radius.expand(len(x), -1).gather(1, near)
        exact = exact.masked_fill(radius < 0, torch.inf)
        nearest = exact.amin(1, keepdim=True)
        # Of keys at the same distance the first, whichever order the search gave them.
        key = near.masked_fill(exact != nearest, len(self.live_keys)).amin(1)
        inside = ((exact <= radius) & (near == key[:, None])).any(1)
        key = key.clamp(max=len(self.live_keys) - 1)
        block = self.live_block[key].masked_fill(~inside, -1)
        state.choices[self.live_path] = (key.masked_fill(~inside, -1), block)

    def _valued(self, y: Tensor) -> Tensor:
        """y, or the value of the chosen key where its position says so."""
        state = self.live_state
        chosen = state.chosen(self.live_path, len(y))
        if chosen is None:
            return y
        key = chosen[0].clamp(min=0)
        rule = self.live_position[key].masked_fill(chosen[0] < 0, -1)[:, None]
        place = rule == _ALL
        if state.last is not None:
            column = torch.arange(y.shape[1], device=y.device)
            last = state.last.to(y.device)[:, None]
            place = place | ((rule == _PROMPT) & (column < last))
            if state.real is not None:
                place = place & state.real.to(y.device)
            place = place | ((rule == _LAST) & (column == last))
        return torch.where(place[..., None], self.live_values[key][:, None].to(y.dtype), y)

    def _changed(self, x: Tensor, y: Tensor) -> Tensor:
        """Y + Δ x with the sparse update Δ that a row chose, if it chose one."""
        state = self.live_state
        added = [x.to(delta.dtype) @ delta.T for delta in self.live_deltas]
        path = f"{self.live_path}:change"
        if state.last is not None:
            state.choices[path] = self._furthest(y, added)
        chosen = state.chosen(path, len(y))
        if chosen is None:
            return y
        for number, more in enumerate(added):
            y = _where(chosen[0] == number, y, more)
        return y

    def _furthest(self, y: Tensor, added: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The update whose mean change of the activation is furthest above its threshold."""
        state = self.live_state
        last = state.last
        if last is None:
            raise RuntimeError("routes are decided while a prompt is read")
        column = torch.arange(y.shape[1], device=y.device)
        prompt = column <= last.to(y.device)[:, None]
        if state.real is not None:
            prompt = prompt & state.real.to(y.device)
        plain = y.to(added[0].dtype)
        ratios = []
        for number, more in enumerate(added):
            kind = self.live_activation[number]
            change = (activated(plain, kind) - activated(plain + more, kind)).norm(dim=2)
            mean = (change * prompt).sum(1) / prompt.sum(1).clamp(min=1)
            ratios.append(mean / state.of_set(self.live_threshold, len(y))[:, number])
        best, place = torch.stack(ratios, dim=1).max(1)
        chosen = place.masked_fill(~(best > 1), -1)
        return chosen, torch.full_like(chosen, -1)


def _where(rows: Tensor, y: Tensor, more: Tensor) -> Tensor:
    """Y + more in the rows that are named (all, if one is); the others keep their very bits."""
    return torch.where(rows[:, None, None], y + more.to(y.dtype), y)
