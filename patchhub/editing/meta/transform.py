"""The network that turns a gradient's factors into an update's.

Source: Mitchell et al. 2022, arXiv:2110.11309, section 3.2, as in the released code. Projections of
one shape share a network; each has a scale s and a shift t of its own in every layer. With u and d
each centred and scaled by the mean and the deviation that training saw,

    z = [u ; d]     twice:  z ← z + max(0, s ∘ (A B z + b) + t)     [û ; d̂] = z

B is drawn from N(0, 1), A and b are 0, s is 1 and t is 0: at first z stays what it is. The clamp's
derivative at 0 is 1; with a plain ReLU's nothing would ever be learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from patchhub.editing.meta.slopes import Factors
from patchhub.loading import LoadedBase
from patchhub.sites import module_of, weight_matrix

if TYPE_CHECKING:
    from typing import Self

LAYERS = 2
WIDEST = 1920
"""The published rank, where the rows are not shorter."""
_EPS = 1e-7


class Statistics(nn.Module):
    """Mean and deviation of each coordinate of all rows seen, float64.

    Batches are merged exactly (Chan et al. 1979): how rows come in batches changes the last bits.
    """

    mean: Tensor
    spread: Tensor
    count: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("mean", "spread"):
            self.register_buffer(name, torch.zeros(width, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))

    @torch.no_grad()
    def see(self, rows: Tensor) -> None:
        """Count some rows ``(t, w)`` in."""
        if not len(rows):  # which have no mean
            return
        new, count = rows.double(), self.count + len(rows)
        step = new.mean(0) - self.mean
        within = (new - new.mean(0)).square().sum(0)
        self.spread += within + step.square() * self.count * len(rows) / count
        self.mean += step * len(rows) / count
        self.count.copy_(count)

    def normalised(self, rows: Tensor) -> Tensor:
        """Rows centred and scaled; the variance is unbiased."""
        deviation = (self.spread / (self.count - 1).clamp(min=1)).sqrt() + _EPS
        return (rows - self.mean.to(rows.dtype)) / deviation.to(rows.dtype)


class Layer(nn.Module):
    """One residual layer of width w and rank r, for several projections.

    Args:
        width: w.
        rank: r.
        sites: How many projections share it.
        generator: Of B.
    """

    def __init__(self, width: int, rank: int, sites: int, generator: torch.Generator) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.zeros(width, rank))
        self.down = nn.Parameter(torch.randn(rank, width, generator=generator))
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale = nn.Parameter(torch.ones(sites, width))
        self.shift = nn.Parameter(torch.zeros(sites, width))

    def forward(self, rows: Tensor, sites: Tensor) -> Tensor:
        """Rows ``(t, w)``, each of the projection with that number ``(t,)``."""
        inner = rows @ self.down.T @ self.up.T + self.bias
        scaled = self.scale[sites] * inner + self.shift[sites]
        return rows + torch.where(scaled >= 0, scaled, 0.0)


class Transform(nn.Module):
    """The network of one shape; arguments as for `Layer`, and d_in and d_out."""

    def __init__(
        self, d_in: int, d_out: int, rank: int | None, sites: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        width = d_in + d_out
        rank = min(rank or WIDEST, width)
        self.split = d_in
        self.seen = Statistics(width)
        self.layers = nn.ModuleList(Layer(width, rank, sites, generator) for _ in range(LAYERS))

    def forward(self, rows: Tensor, sites: Tensor) -> Tensor:
        """[û ; d̂] of rows [u ; d] ``(t, d_in + d_out)``."""
        found = self.seen.normalised(rows)
        for layer in self.layers:
            found = layer(found, sites)
        return found


class Transforms(nn.Module):
    """A network for each shape of projection, and a learned rate for each projection.

    Args:
        shapes: d_in and d_out of each projection.
        rank: Of the networks; None for the published one.
        rate: Of every projection, at first.
        descent: Whether updates go down the slope.
        generator: Of what is drawn.
    """

    @classmethod
    def over(
        cls,
        base: LoadedBase,
        paths: Sequence[str],
        rank: int | None,
        rate: float,
        descent: bool,
        generator: torch.Generator,
    ) -> Self:
        """Untrained networks for projections of a base, where it lies; see the class."""
        matrices = {path: weight_matrix(module_of(base.model, path)) for path in paths}
        shapes = {path: (one.shape[1], one.shape[0]) for path, one in matrices.items()}
        found = cls(shapes, rank, rate, descent, generator)
        for parameter in found.parameters():  # statistics stay float64
            parameter.data = parameter.data.to(base.model.dtype)
        return found.to(base.model.device)

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, int]],
        rank: int | None,
        rate: float,
        descent: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.sign = -1 if descent else 1
        self.members: dict[str, list[str]] = {}
        for path, (d_in, d_out) in shapes.items():
            self.members.setdefault(f"{d_in}x{d_out}", []).append(path)
        self.order = list(shapes)
        self.rates = nn.Parameter(torch.full((len(shapes),), rate))
        self.networks = nn.ModuleDict(
            {
                name: Transform(*shapes[paths[0]], rank, len(paths), generator)
                for name, paths in self.members.items()
            }
        )

    def groups(self, lr: float, rate_lr: float) -> list[dict[str, Any]]:
        """Networks and rates with their step sizes, as Adam takes them."""
        rest = [one for name, one in self.named_parameters() if name != "rates"]
        return [{"params": rest, "lr": lr}, {"params": [self.rates], "lr": rate_lr}]

    def network(self, name: str) -> Transform:
        """The network of one shape."""
        found = self.networks[name]
        if not isinstance(found, Transform):
            raise TypeError(type(found).__name__)
        return found

    def forward(self, found: Mapping[str, Factors], *, learn: bool = False) -> dict[str, Factors]:
        """Updates from gradients: sign · rate · Σ_t d̂_t û_tᵀ, the scalars in the slopes.

        Args:
            found: By path.
            learn: Whether the statistics count these gradients in, first.
        """
        made: dict[str, Factors] = {}
        for name, paths in self.members.items():
            network = self.network(name)
            masks = [found[path].used for path in paths]
            parts = [
                torch.cat([one.inputs[mask], one.slopes[mask]], 1)
                for one, mask in zip((found[path] for path in paths), masks, strict=True)
            ]
            rows, counts = torch.cat(parts), torch.tensor([len(part) for part in parts])
            if learn:
                network.seen.see(rows)
            sites = torch.arange(len(paths)).repeat_interleave(counts).to(rows.device)
            turned = network(rows, sites).split(counts.tolist())
            for path, mask, part in zip(paths, masks, turned, strict=True):
                rate = self.sign * self.rates[self.order.index(path)]
                made[path] = _spread(
                    part[:, : network.split], rate * part[:, network.split :], mask
                )
        return {path: made[path] for path in self.order}


def _spread(inputs: Tensor, slopes: Tensor, mask: Tensor) -> Factors:
    """Rows back at their positions, zeros at the others."""
    places = mask.nonzero(as_tuple=True)
    return Factors(*(
        one.new_zeros((*mask.shape, one.shape[1])).index_put(places, one)
        for one in (inputs, slopes)
    ))  # fmt: skip
