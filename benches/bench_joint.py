"""One more edit in a joint solve, beside solving all of them anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import process_time

import pytest
import torch
from torch import Tensor

from patchhub.editing.joint import Formula, JointSolver
from patchhub.editing.keyvalue.solver import solve

EDITS = 200
WIDTHS = {"llama-5M": (3, 704, 256), "gpt2-xl": (5, 6400, 1600)}
"""Blocks, width of a key, width of a value."""


@dataclass(frozen=True, eq=False)
class Made:
    name: str
    keys: Mapping[int, Tensor]
    shares: Mapping[int, Tensor]


@pytest.mark.parametrize("name", WIDTHS)
def bench_the_two_hundredth_edit(name: str, figure: Callable[[str], None]) -> None:
    """One key whitened and one row of the factor per block, against all of them."""
    blocks, width, out = WIDTHS[name]
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    factor = torch.tril(numbers(width, width)) / width + torch.eye(width, dtype=torch.float64)
    formula = Formula(tuple(range(blocks)), lambda n, k: solve(factor, k), 20.0, lambda n: 1 / n)
    targets = [
        Made(
            f"{i:04}",
            {n: numbers(width) for n in range(blocks)},
            {n: numbers(out) for n in range(blocks)},
        )
        for i in range(EDITS)
    ]
    solver = JointSolver(formula, targets[:-1])
    start = process_time()
    solver.add(targets[-1])
    added = process_time()
    grown = solver.solve()
    solved = process_time()
    anew = JointSolver(formula, targets)
    built = process_time()
    whole = anew.solve()
    end = process_time()
    solver.remove(targets[7].name)
    removed = process_time() - end
    for layer, (rows, residual) in whole.items():
        wanted, found = residual @ rows.T, grown[layer][1] @ grown[layer][0].T
        assert float((found - wanted).norm()) < 1e-9 * float(wanted.norm())
    figure(
        f"add {1e3 * (added - start):.0f} ms, remove {1e3 * removed:.0f} ms, all {EDITS} anew "
        f"{1e3 * (built - solved):.0f} ms: {(built - solved) / (added - start):.0f} ×; "
        f"the factors of the patch {1e3 * (solved - added):.0f} ms either way "
        f"({1e3 * (end - built):.0f} ms)"
    )
