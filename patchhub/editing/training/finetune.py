"""Train a few parameters on labels: the loss, with what is below computed once, and the loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from patchhub.editing.passes.budget import Budget
from patchhub.editing.training.fixed import PARTS, Fixed
from patchhub.editing.training.labels import Labelled, LabelledBatch, longest
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase

Batches = Callable[[], Sequence[Tensor]]
"""Numbers of the rows of each step of the next pass."""


class LabelLoss:
    """Mean over rows of the mean over a row's labels of −log p, in nats.

    Valid as long as nothing changes below block ``layer`` of the decoder, and in it only ``parts``.

    Args:
        base: The model.
        rows: What it is to say.
        layer: Lowest block in which something is trained.
        parts: What may change in that block.
        memory: Bytes to use beside the model (see `Budget`): at most half of them for what is
            computed once, the others for a pass with its gradient. ``None`` for no limit.

    Attributes:
        size: Number of rows.
    """

    def __init__(
        self,
        base: LoadedBase,
        rows: Sequence[Labelled],
        layer: int,
        *,
        parts: Collection[str] = PARTS,
        memory: int | None = None,
    ) -> None:
        self._batch = LabelledBatch(base, rows)
        self.size = self._batch.size
        self._fixed, self._together = Fixed(base, layer, parts), self.size
        budget, width = Budget(base.model, base.arch, layer), self._batch.width
        keep = read = None
        if memory is not None:
            keep, read = memory // 2, max(1, budget.tokens(memory) // width)
        self._fixed.record(self._batch.run, self._batch.every, width, memory=keep, size=read)
        if memory is not None:
            self._together = budget.rows(longest(rows), memory - self._fixed.bytes)

    def __call__(self, chosen: Tensor | None = None) -> Tensor:
        """The loss of the rows with these numbers, or of all, under the model's present weights."""
        if chosen is None:
            chosen = self._batch.every
        with torch.enable_grad(), self._fixed.replayed(chosen):
            said = self._batch.run(chosen)
            log_p = said.logits.log_softmax(-1).gather(1, said.labels[:, None])[:, 0]
        counts = said.rows.bincount(minlength=len(chosen))
        return -(log_p / (counts[said.rows] * len(chosen))).sum()

    def portions(self, chosen: Tensor) -> tuple[Tensor, ...]:
        """The rows with these numbers, as many together as fit into one pass with its gradient."""
        return torch.split(chosen, self._together)

    def in_turn(self, size: int) -> Batches:
        """The rows in their order, ``size`` per step."""
        batches = torch.split(self._batch.every, size)
        return lambda: batches

    def at_random(self, size: int, generator: torch.Generator) -> Batches:
        """The rows in a new random order in each pass, ``size`` per step."""

        def deal() -> Sequence[Tensor]:
            order = torch.randperm(self.size, generator=generator)
            return torch.split(order.to(self._batch.every.device), size)

        return deal


def boxed_descent(
    weights: Sequence[nn.Parameter],
    loss: LabelLoss,
    batches: Batches,
    *,
    steps: int,
    lr: float,
    box: float | None,
    weight_decay: float,
    stop_loss: float,
    decoupled: bool = False,
    report: Callable[[str, int, int], None],
) -> list[Tensor]:
    """Adam over the batches, in place; after each step no weight is further than ``box`` from home.

    No step is taken on a batch whose loss is below ``stop_loss``; the loop ends when the mean over
    all rows is.

    Args:
        weights: What is trained.
        loss: Of the rows.
        batches: Rows of each step of a pass.
        steps: Passes, at most.
        lr: Adam's step size.
        box: Half the width of the box; ``None`` for none.
        weight_decay: As Adam has it (L2), or ``decoupled``.
        stop_loss: In nats.
        decoupled: Whether the decay is decoupled from the gradient.
        report: Told how far the loop is.

    Returns:
        The changes, float64.

    Raises:
        InvalidInputError: E148, a weight is no longer finite.
    """
    before = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.Adam(
        weights, lr=lr, weight_decay=weight_decay, decoupled_weight_decay=decoupled
    )
    for step in range(steps):
        report("edit", step, steps)
        mean = 0.0
        for chosen in batches():
            optimizer.zero_grad()
            nats = _descend(weights, loss, chosen, stop_loss)
            mean += nats * len(chosen) / loss.size
            if nats >= stop_loss:
                optimizer.step()
            if box is not None:
                for weight, old in zip(weights, before, strict=True):
                    weight.data.clamp_(old - box, old + box)
        if mean < stop_loss:
            break
    report("edit", steps, steps)
    changes = [w.detach().double() - old.double() for w, old in zip(weights, before, strict=True)]
    if not all(bool(torch.isfinite(change).all()) for change in changes):
        raise InvalidInputError("E148", "fine-tuning diverged", hint="take a smaller lr")
    return changes if box is None else [change.clamp(-box, box) for change in changes]


def _descend(
    weights: Sequence[nn.Parameter], loss: LabelLoss, chosen: Tensor, enough: float
) -> float:
    """The loss of some rows, in nats; its gradient is added to the weights' unless it is enough.

    Where the rows take several passes, each gives its gradient before the next begins: what it held
    for that is gone then. Only afterwards is it known whether the whole was enough.
    """
    nats, portions = 0.0, loss.portions(chosen)
    for some in portions:
        share = loss(some) * (len(some) / len(chosen))
        nats += float(share.detach())
        if len(portions) > 1 or nats >= enough:
            torch.autograd.backward([share], inputs=list(weights))
    return nats
