"""Where the base's own tensors come from, whatever the model carries by now."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from patchhub.errors import NotFoundError
from patchhub.kinds.storage import from_bytes
from patchhub.manifest import Site
from patchhub.sites import parameter_for
from patchhub.tensorfile import CheckpointFiles, read_bytes


class Pristine(Protocol):
    """Hands out tensors of the base in stored dtype and layout; callers do not write to them."""

    def tensor(self, site: Site) -> Tensor:
        """The base's tensor at ``site``.

        Raises:
            NotFoundError: E144, the base has no such tensor.
        """


class CheckpointPristine:
    """Reads the base's files again each time: costs no memory, and nobody may write to them."""

    def __init__(self, files: CheckpointFiles) -> None:
        self._files = files

    def tensor(self, site: Site) -> Tensor:
        """See `Pristine`.

        Raises:
            IntegrityError: E111, the file ends too early.
        """
        header = self._files.tensors.get(site.tensor)
        if header is None:
            raise NotFoundError("E144", f"the base has no tensor {site.tensor}")
        return from_bytes(header.dtype, header.shape, read_bytes(header))


class MemoryPristine:
    """Copies a tensor out of the model when it is first asked for, and keeps the copy.

    For models whose checkpoint is gone. The model must be the bare base then, and only the composer
    may write to what it copied.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._kept: dict[str, Tensor] = {}

    def tensor(self, site: Site) -> Tensor:
        """See `Pristine`.

        Raises:
            InvalidInputError: E112, the model's tensor has another shape.
        """
        if site.tensor not in self._kept:
            parameter = parameter_for(self._model, site).detach()
            self._kept[site.tensor] = parameter.to(
                "cpu", copy=True, memory_format=torch.contiguous_format
            )
        return self._kept[site.tensor]
