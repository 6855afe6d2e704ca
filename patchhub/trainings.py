"""The public call that trains an editor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from patchhub.editing.catalog import load_editor
from patchhub.editing.meta.train import train_editor
from patchhub.given import Base, Progress, Requests, base_of, requests_of

if TYPE_CHECKING:
    from patchhub.editing.meta.trained import Trained


def train(
    base: Base,
    method: str,
    requests: Requests,
    *,
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train the editor that a method edits with; `edit` finds it in the same ``cache``.

    What was interrupted goes on from its last checkpoint in ``cache``, to the same bits.

    Args:
        base: The base or its directory.
        method: Name of a method that needs training.
        requests: To learn from, with paraphrases and questions whose answers must stay.
        settings: Values that differ from the defaults of the method's training.
        seed: Of everything random.
        cache: Directory that keeps checkpoints and the trained editor.
        device: Where a base given by its directory is put; a GPU if there is one.
        progress: Called with the phase, steps done, steps in all.

    Raises:
        NotFoundError: E109, E141.
        InvalidInputError: E134, no request has a paraphrase; E142, a setting, or a method that is
            not trained; E148, it diverged; else what is wrong with a request.
    """
    return train_editor(
        base_of(base, device or usual_device()),
        load_editor(method),
        requests_of(requests),
        settings=settings,
        seed=seed,
        cache=None if cache is None else Path(cache),
        progress=progress,
    )


def usual_device() -> str:
    """A GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
