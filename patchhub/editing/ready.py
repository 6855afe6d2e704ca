"""Whether what an edit is given fits its model: precision, statistics, a trained editor."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from patchhub.editing.meta.finding import missing
from patchhub.editing.meta.trained import Trained
from patchhub.editing.statistics.moments import Moments
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase


def check_precision(base: LoadedBase) -> None:
    """Refuse a model in half precision (E142)."""
    dtype = base.model.dtype
    if dtype not in (torch.float32, torch.float64):
        raise InvalidInputError(
            "E142",
            "edits are not computed in half precision",
            expected="a model loaded as float32 or float64",
            found=dtype,
            hint="load_base(..., dtype=torch.float32); the checkpoint may be stored in any dtype",
        )


def check_moments(
    base: LoadedBase, method: str, wanted: Sequence[int], moments: Moments | None
) -> None:
    """Refuse statistics that lack a wanted block, or are of another base (E145)."""
    if wanted and moments is not None and moments.base != base.fingerprint.weights:
        raise InvalidInputError(
            "E145",
            "these key statistics are of another base",
            expected=f"weights {base.fingerprint.weights}",
            found=f"weights {moments.base}",
            hint="use prepare_context on this base",
        )
    have = () if moments is None else moments.layers
    if lacking := sorted(set(wanted) - set(have)):
        raise InvalidInputError(
            "E145",
            f"{method} needs key statistics",
            expected=f"second moments of block {', '.join(map(str, lacking))}",
            found=f"of blocks {', '.join(map(str, have))}" if have else "none",
            hint="use prepare_context",
        )


def check_trained(base: LoadedBase, method: str, trained: Trained | None) -> None:
    """Refuse no trained editor, and one of another method or base (E161)."""
    if trained is None:
        raise missing(method)
    weights = base.fingerprint.weights
    if (trained.method, trained.base) != (method, weights):
        raise InvalidInputError(
            "E161",
            "this editor was trained for another method or base",
            expected=f"{method}, weights {weights}",
            found=f"{trained.method}, weights {trained.base}",
            hint=f"patchhub train {method} on this base",
        )
