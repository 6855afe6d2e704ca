"""The verbs that only look as methods: one call each, of the command's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from patchhub_registry.late import Late

if TYPE_CHECKING:
    from patchhub.patch import Patch
    from patchhub_registry.operations.ask import ask as _ask
    from patchhub_registry.operations.candidates import candidates as _candidates
    from patchhub_registry.operations.diff import diff as _diff
    from patchhub_registry.operations.doctor import doctor as _doctor
    from patchhub_registry.operations.find import find as _find
    from patchhub_registry.operations.forecast import forecast as _forecast
    from patchhub_registry.operations.identify import identify as _identify
    from patchhub_registry.operations.load import load as _load
    from patchhub_registry.operations.locate import locate as _locate
    from patchhub_registry.operations.plan import plan as _plan
    from patchhub_registry.operations.show import show as _show
    from patchhub_registry.operations.status import status as _status
    from patchhub_registry.operations.verify import verify as _verify
    from patchhub_registry.patches import PatchSummary
    from patchhub_registry.registry import Registry


class Questions:
    """Mixed into `patchhub_registry.registry.Registry`: nothing here changes anything."""

    @property
    def _registry(self) -> Registry:
        return cast("Registry", self)

    if TYPE_CHECKING:
        ask = _ask
        candidates = _candidates
        diff = _diff
        doctor = _doctor
        find = _find
        forecast = _forecast
        identify = _identify
        load = _load
        locate = _locate
        plan = _plan
        show = _show
        status = _status
        verify = _verify
    else:
        ask = Late()
        candidates = Late()
        diff = Late()
        doctor = Late()
        find = Late()
        forecast = Late()
        identify = Late()
        load = Late()
        locate = Late()
        plan = Late()
        show = Late()
        status = Late()
        verify = Late()

    def read(self, ref: str) -> Patch:
        """A patch with its tensors; see `patchhub_registry.operations.models.read_patch`."""
        from patchhub_registry.operations.models import read_patch

        return read_patch(self._registry, ref)

    def list(self) -> Sequence[PatchSummary]:
        """All patches, by name and version."""
        return self._registry.patches()
