"""The verbs that only look as methods: one call each, of the command's name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from patchhub_registry.late import Late

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from patchhub.patch import Patch
    from patchhub_registry.operations.ask import ask as _ask
    from patchhub_registry.operations.find import Said
    from patchhub_registry.operations.forecast import forecast as _forecast
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.operations.plan import Plan
    from patchhub_registry.operations.show import Shown
    from patchhub_registry.operations.status import Status
    from patchhub_registry.operations.verify import Verified
    from patchhub_registry.patches import PatchSummary
    from patchhub_registry.registry import Registry


class Questions:
    """Mixed into `patchhub_registry.registry.Registry`: nothing here changes anything."""

    @property
    def _registry(self) -> Registry:
        return cast("Registry", self)

    def plan(
        self,
        refs: str | Sequence[str] = (),
        *,
        stack: str | None = None,
        model: str | Path | None = None,
        revert: bool = False,
        override: str | None = None,
        reason: str | None = None,
    ) -> Plan:
        """See `patchhub_registry.operations.plan.plan`."""
        from patchhub_registry.operations.plan import plan

        return plan(
            self._registry,
            refs,
            stack=stack,
            model=model,
            revert=revert,
            override=override,
            reason=reason,
        )

    def find(self, words: str | Sequence[str], *, field: str | None = None) -> Sequence[Said]:
        """See `patchhub_registry.operations.find.find`."""
        from patchhub_registry.operations.find import find

        return find(self._registry, words, field=field)

    if TYPE_CHECKING:
        ask = _ask
        forecast = _forecast
    else:
        ask = Late()
        forecast = Late()

    def load(
        self,
        stack: str,
        *,
        dtype: torch.dtype | None = None,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> PreTrainedModel:
        """See `patchhub_registry.operations.load.load`."""
        from patchhub_registry.operations.load import load

        return load(self._registry, stack, dtype=dtype, device=device, progress=progress)

    def read(self, ref: str) -> Patch:
        """A patch with its tensors; see `patchhub_registry.operations.models.read_patch`."""
        from patchhub_registry.operations.models import read_patch

        return read_patch(self._registry, ref)

    def status(self, *, model: str | Path | None = None) -> Status:
        """See `patchhub_registry.operations.status.status`."""
        from patchhub_registry.operations.status import status

        return status(self._registry, model=model)

    def verify(
        self,
        *,
        model: str | Path | None = None,
        objects: bool = True,
        history: bool = True,
        progress: Progress | None = None,
    ) -> Verified:
        """See `patchhub_registry.operations.verify.verify`."""
        from patchhub_registry.operations.verify import verify

        return verify(
            self._registry, model=model, objects=objects, history=history, progress=progress
        )

    def show(self, ref: str) -> Shown:
        """See `patchhub_registry.operations.show.show`."""
        from patchhub_registry.operations.show import show

        return show(self._registry, ref)

    def list(self) -> Sequence[PatchSummary]:
        """All patches, by name and version."""
        return self._registry.patches()
