"""What an update is judged by: the new answer in other words, and everything else as it was.

Source: Mitchell et al. 2022, arXiv:2110.11309, eq. 3:   L = c_e L_e + L_loc,

    L_e   = −log p(y | paraphrase of x)  under W + ΔW, mean over the labels
    L_loc = KL( p_W(· | z) ‖ p_{W+ΔW}(· | z) )  for other text z, mean over its positions
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from patchhub.editing.meta.material import Drawn
from patchhub.editing.meta.slopes import Factors, updated
from patchhub.editing.training.labels import LabelledBatch
from patchhub.loading import LoadedBase


def outer_losses(
    base: LoadedBase, drawn: Drawn, updates: Mapping[str, Factors], n_edits: int = 1
) -> tuple[Tensor, Tensor]:
    """Both losses in nats, means over rows of each row's mean; differentiable by the updates.

    Args:
        base: The model, unedited.
        drawn: Rows of e examples.
        updates: By path; of e edits, or fewer if ``n_edits`` lie on the model together.
        n_edits: Examples of one update.
    """
    count, kept = len(drawn.again), len(drawn.kept)
    owner = torch.arange(count, device=base.model.device)
    owners = torch.cat([owner, owner.repeat_interleave(kept // count)]) // n_edits
    batch = LabelledBatch(base, [*drawn.again, *drawn.kept])
    every = batch.every
    with torch.no_grad():
        plain = batch.run(every[count:])
        before = plain.logits.log_softmax(-1)
    with torch.enable_grad(), updated(base, updates, owners):
        said = batch.run(every)
        after = said.logits.log_softmax(-1)
    new = said.rows < count
    nll = -after[new].gather(1, said.labels[new, None])[:, 0]
    diverged = (before.exp() * (before - after[~new])).sum(-1)
    return _by_row(nll, said.rows[new]), _by_row(diverged, said.rows[~new] - count)


def _by_row(losses: Tensor, rows: Tensor) -> Tensor:
    """The mean over rows of each row's mean."""
    counts = rows.bincount()
    return (losses / counts[rows]).sum() / len(counts)
