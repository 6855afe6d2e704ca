"""All key-value edits of a model as one ridge problem per block, which edits may join and leave.

With the keys K (f, n) of n targets, a metric M, a ridge ρ and shares S (d, n) that a block is to
add,

    ΔW = R Aᵀ,   A = M K D⁻¹,   D = Kᵀ M K + ρ I

which is MEMIT's update for M = C⁻¹ (Meng et al. 2023, arXiv:2210.07229, eq. 14, by Woodbury's
identity), AlphaEdit's for M = P with no past keys: all keys are in this one solve (Fang et al.
2024, arXiv:2410.02355), and ROME's constraint W' k = z for ρ = 0.

What a block really adds at its own keys is R AᵀK = R (I − ρ D⁻¹). MEMIT measures what is missing
after each block and hands it to the blocks above; here it is known in closed form and handed on:

    R_i = S_i + share(L − i) E_i,    E_{i+1} = E_i + S_i − R_i (I − ρ D_i⁻¹),    E_0 = 0

so that nothing but the solves couples one target to another, and the result is a function of the
set of targets: neither order nor history count. An edit that joins costs one whitened key per block
and one row of the Cholesky factor of D; one that leaves, the part of the factor below its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from patchhub.editing.keyvalue.solver import factorise
from patchhub.errors import InvalidInputError

Metric: TypeAlias = Callable[[int, Tensor], Tensor]
"""(block, K (f, m)) ↦ M K in float64; M is symmetric and positive semi-definite."""
Factors: TypeAlias = tuple[Tensor, Tensor]
"""A (f, n) and R (d, n), float64: ΔW = R Aᵀ."""


class KeyValue(Protocol):
    """One target as the solver sees it."""

    @property
    def name(self) -> str:
        """What it is called; targets are put in the order of their names."""
        ...

    @property
    def keys(self) -> Mapping[int, Tensor]:
        """Block → ``(f,)``."""
        ...

    @property
    def shares(self) -> Mapping[int, Tensor]:
        """Block → ``(d,)``: what it is to add."""
        ...


@dataclass(frozen=True, eq=False)
class Formula:
    """What a method's update is, given its keys.

    Attributes:
        layers: Blocks to write, ascending.
        metric: M of each.
        ridge: ρ.
        share: Of what is missing, the part that a block adds of which ``left`` are left, itself
            included; 1 for the last.
    """

    layers: tuple[int, ...]
    metric: Metric
    ridge: float
    share: Callable[[int], float]


class JointSolver:
    """The ridge problems of all blocks, kept solved while targets come and go.

    Args:
        formula: The method's update.
        targets: Those of the beginning, factorised at once. Given a set of targets, the numbers do
            not depend on the order in which they are listed; after `add` and `remove` they are the
            same up to rounding.

    Raises:
        InvalidInputError: E145, the keys are dependent and there is no ridge; E142, two targets
            have one name.
    """

    def __init__(self, formula: Formula, targets: Iterable[KeyValue] = ()) -> None:
        self.formula = formula
        self._targets = sorted(targets, key=lambda one: one.name)
        for one, other in zip(self._targets, self._targets[1:], strict=False):
            if one.name == other.name:
                raise _twice(one.name)
        self._blocks = {
            layer: _Block.of(formula, layer, [one.keys[layer] for one in self._targets])
            for layer in formula.layers
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The targets in the solve, in their order there."""
        return tuple(sorted(one.name for one in self._targets))

    def add(self, target: KeyValue) -> None:
        """One target more: a row more for each block's factor.

        Raises:
            InvalidInputError: E142, it is there; E145, its key depends on those there.
        """
        if target.name in self.names:
            raise _twice(target.name)
        grown = {n: block.with_key(target.keys[n]) for n, block in self._blocks.items()}
        self._blocks = grown
        self._targets.append(target)

    def remove(self, name: str) -> None:
        """One target less.

        Raises:
            KeyError: It is not there.
        """
        place = next((i for i, one in enumerate(self._targets) if one.name == name), None)
        if place is None:
            raise KeyError(name)
        self._blocks = {n: block.without(place) for n, block in self._blocks.items()}
        del self._targets[place]

    def solve(self) -> dict[int, Factors]:
        """The update of each block, its columns in the order of `names`."""
        if not self._targets:
            return {}
        order = sorted(range(len(self._targets)), key=lambda i: self._targets[i].name)
        columns = torch.tensor(order, dtype=torch.long)
        found: dict[int, Factors] = {}
        missing: Tensor | float = 0.0
        for number, (layer, block) in enumerate(self._blocks.items()):
            shares = torch.stack([one.shares[layer].double().cpu() for one in self._targets], dim=1)
            residual = shares + self.formula.share(len(self._blocks) - number) * missing
            rows = block.inverse(block.whitened.T).T
            missing = missing + shares - residual + self.formula.ridge * block.inverse(residual.T).T
            found[layer] = (rows[:, columns], residual[:, columns])
        return found


@dataclass(frozen=True, eq=False)
class _Block:
    """One block's keys K (f, n), M K (f, n), and the lower Cholesky factor of D (n, n)."""

    formula: Formula
    layer: int
    keys: Tensor
    whitened: Tensor
    factor: Tensor

    @classmethod
    def of(cls, formula: Formula, layer: int, keys: list[Tensor]) -> _Block:
        if not keys:
            return cls(formula, layer, *(torch.empty(0, 0, dtype=torch.float64),) * 3)
        columns = torch.stack(keys, dim=1).double().cpu()
        whitened = formula.metric(layer, columns)
        gram = columns.T @ whitened
        gram.diagonal().add_(formula.ridge)
        try:
            return cls(formula, layer, columns, whitened, factorise(gram))
        except InvalidInputError as error:
            raise _dependent(layer) from error

    def inverse(self, right: Tensor) -> Tensor:
        """D⁻¹ of the columns of ``right``."""
        solution: Tensor = torch.cholesky_solve(right, self.factor)
        return solution

    def with_key(self, key: Tensor) -> _Block:
        column = key.double().cpu()[:, None]
        if not len(self.factor):
            return _Block.of(self.formula, self.layer, [key])
        whitened = self.formula.metric(self.layer, column)
        row = torch.linalg.solve_triangular(self.factor, self.whitened.T @ column, upper=False)
        own = float(column.T @ whitened) + self.formula.ridge
        pivot = own - float(row.square().sum())
        if not pivot > own * _SMALLEST:
            raise _dependent(self.layer)
        count = len(self.factor)
        factor = torch.zeros(count + 1, count + 1, dtype=torch.float64)
        factor[:count, :count], factor[count, :count] = self.factor, row[:, 0]
        factor[count, count] = pivot**0.5
        keys, white = torch.cat([self.keys, column], 1), torch.cat([self.whitened, whitened], 1)
        return _Block(self.formula, self.layer, keys, white, factor)

    def without(self, place: int) -> _Block:
        """Rows above keep their factor; those below take back what the leaving row explained."""
        kept = [i for i in range(len(self.factor)) if i != place]
        factor = self.factor[kept][:, kept]
        column, below = self.factor[place + 1 :, place, None], self.factor[place + 1 :, place + 1 :]
        if len(below):
            factor[place:, place:] = factorise(below @ below.T + column @ column.T)
        return _Block(self.formula, self.layer, self.keys[:, kept], self.whitened[:, kept], factor)


_SMALLEST = 1e-14
"""Of its own size, what must be left of a key when the others have explained what they can."""


def _twice(name: str) -> InvalidInputError:
    return InvalidInputError("E142", "a target is there already", found=name)


def _dependent(layer: int) -> InvalidInputError:
    return InvalidInputError(
        "E145",
        f"the keys of these edits depend on each other in block {layer}",
        expected="no subject under two names, and fewer subjects than a key has dimensions",
        hint="take a method with a ridge, such as memit, or leave some edits out",
    )
