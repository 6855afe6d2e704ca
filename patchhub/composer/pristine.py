"""Where the base's own tensors come from, whatever the model carries by now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from patchhub.composer.exact_sum import check_base, largest_of
from patchhub.composer.mapped import MappedFile, stamp_of
from patchhub.errors import IntegrityError, NotFoundError
from patchhub.kinds.storage import digest_of
from patchhub.manifest import Site
from patchhub.sites import parameter_for
from patchhub.tensorfile import CheckpointFiles


@dataclass(frozen=True, slots=True)
class BaseTensor:
    """A tensor of the base, its bytes checked.

    Attributes:
        values: In stored dtype and layout, on the CPU; nobody writes to them.
        largest: Size of the largest element; not finite if one of them is not.
    """

    values: Tensor
    largest: float


class Pristine(Protocol):
    """Hands out tensors of the base."""

    def tensor(self, site: Site) -> BaseTensor:
        """The base's tensor at ``site``.

        Raises:
            NotFoundError: E144, the base has no such tensor.
            IntegrityError: E201, its bytes are not those the patches were made for.
            InvalidInputError: E112, it cannot be patched.
        """


class CheckpointPristine:
    """The base's files, mapped into memory: costs no memory of its own, the page cache has them.

    A tensor's bytes are hashed when it is first asked for, and again when device, inode, size or a
    time of its file have changed; between, the file is trusted. Nobody may write into the files
    of a base.
    """

    def __init__(self, files: CheckpointFiles) -> None:
        self._files = files
        self._open: dict[Path, tuple[MappedFile, dict[tuple[str, str], BaseTensor]]] = {}

    def tensor(self, site: Site) -> BaseTensor:
        """See `Pristine`.

        Raises:
            NotFoundError: E109, the file is gone.
            IntegrityError: E111, the file ends too early.
        """
        header = self._files.tensors.get(site.tensor)
        if header is None:
            raise NotFoundError("E144", f"the base has no tensor {site.tensor}")
        mapped, checked = self._mapped(header.file)
        key = site.tensor, site.pre
        if key not in checked:
            checked[key] = _checked(site, mapped.view(header))
        return checked[key]

    def _mapped(self, file: Path) -> tuple[MappedFile, dict[tuple[str, str], BaseTensor]]:
        if file not in self._open or self._open[file][0].stamp != stamp_of(file):
            self._open[file] = MappedFile.open(file), {}
        return self._open[file]


class MemoryPristine:
    """Copies a tensor out of the model when it is first asked for, and keeps the copy.

    For models whose checkpoint is gone. The model must be the bare base then, and only the composer
    may write to what it copied.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._kept: dict[str, BaseTensor] = {}

    def tensor(self, site: Site) -> BaseTensor:
        """See `Pristine`."""
        if site.tensor not in self._kept:
            parameter = parameter_for(self._model, site).detach()
            copy = parameter.to("cpu", copy=True, memory_format=torch.contiguous_format)
            self._kept[site.tensor] = _checked(site, copy)
        return self._kept[site.tensor]


def _checked(site: Site, values: Tensor) -> BaseTensor:
    found = digest_of(values)
    if found != site.pre:
        raise IntegrityError(
            "E201",
            f"the base's tensor {site.tensor} is not what the patches were made for",
            expected=f"sha256 {site.pre}",
            found=f"sha256 {found}",
            hint="were the base's files changed? fetch them again",
            tensor=site.tensor,
        )
    check_base(values, site)
    return BaseTensor(values, largest_of(values))
