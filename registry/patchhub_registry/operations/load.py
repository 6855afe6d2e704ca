"""A stack as a model in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchhub_registry.operations import localfiles, models

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry


def load(
    registry: Registry,
    stack: str,
    *,
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> PreTrainedModel:
    """A stack's base with its patches folded into the weights.

    Args:
        registry: Where the stack is.
        stack: Its name.
        dtype: Run-time dtype, float32 without; the composed bytes are rounded to the stored dtype
            first, then cast.
        device: Where the parameters lie.
        progress: Called with the phase, units done and units in all.

    Raises:
        NotFoundError: E106, E107, E109. IntegrityError: E201, E202, E204.
    """
    import patchhub

    state = registry.stack(stack)
    record = models.base_with(registry, state.base, f"stack {stack}")
    directory, _ = localfiles.base_directory(registry, record, progress=progress)
    patches = models.stack_patches(registry, state)
    return patchhub.load(directory, patches, dtype=dtype, device=device)
