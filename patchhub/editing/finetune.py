"""Train a few parameters on labels: the loss, with lower blocks computed once, and the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from patchhub.editing.resume import check_length, from_layer, recorded_below
from patchhub.editing.tokens import Row, filler_id, pad
from patchhub.editing.trace import picked_for
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.sites import module_of


class LabelLoss:
    """Mean over rows of the mean over a row's labels of −log p, in nats.

    Valid as long as nothing below block ``layer`` changes.

    Attributes:
        size: Number of rows.

    Raises:
        InvalidInputError: E150, a row is longer than the model's context.
    """

    def __init__(self, base: LoadedBase, rows: Sequence[Row], layer: int) -> None:
        check_length(base.model, rows)
        self.size = len(rows)
        self._base, self._layer = base, layer
        self._batch = pad(
            [row.ids for row in rows], filler=filler_id(base.tokenizer), device=base.model.device
        )
        triples = [
            (i, slot, label)
            for i, row in enumerate(rows)
            for slot, label in zip(row.slots, row.labels, strict=True)
        ]
        self._rows, self._slots, self._labels = torch.tensor(triples, device=base.model.device).T
        self._weights = torch.tensor(
            [1.0 / (len(rows) * len(row.slots)) for row in rows for _ in row.slots],
            dtype=base.model.dtype,
            device=base.model.device,
        )
        with torch.no_grad(), recorded_below(base.model, base.arch, layer) as self._below:
            self._logits()

    def __call__(self) -> Tensor:
        """The loss under the model's present weights, differentiable."""
        with (
            torch.enable_grad(),
            from_layer(self._base.model, self._base.arch, self._layer, self._below),
        ):
            log_p = self._logits().log_softmax(-1)
        return -(log_p.gather(1, self._labels[:, None])[:, 0] * self._weights).sum()

    def _logits(self) -> Tensor:
        model = self._base.model
        with picked_for(module_of(model, self._base.arch.head), self._rows, self._slots):
            output = model(input_ids=self._batch.ids, attention_mask=self._batch.mask)
        return output.logits[0]  # type: ignore[no-any-return]


def boxed_descent(
    weights: Sequence[nn.Parameter],
    losses: Sequence[LabelLoss],
    *,
    steps: int,
    lr: float,
    box: float | None,
    weight_decay: float,
    stop_loss: float,
    decoupled: bool = False,
    report: Callable[[str, int, int], None],
) -> list[Tensor]:
    """Adam over ``losses``, in place; after each step no weight is further than ``box`` from home.

    No step is taken on a loss below ``stop_loss``; the loop ends when their mean over rows is.

    Returns:
        The changes, float64.

    Raises:
        InvalidInputError: E148, a weight is no longer finite.
    """
    before = [weight.detach().clone() for weight in weights]
    total = sum(loss.size for loss in losses)
    optimizer = torch.optim.Adam(
        weights, lr=lr, weight_decay=weight_decay, decoupled_weight_decay=decoupled
    )
    for step in range(steps):
        report("edit", step, steps)
        mean = 0.0
        for loss in losses:
            current = loss()
            nats = float(current.detach())
            mean += nats * loss.size / total
            if nats >= stop_loss:
                optimizer.zero_grad()
                torch.autograd.backward([current], inputs=list(weights))
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
