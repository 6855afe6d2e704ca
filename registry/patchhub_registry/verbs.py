"""The verbs of the command line as methods: one call each, of the same name.

The work is done in `patchhub_registry.operations`, which is imported when a verb is first used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from patchhub.request import EditRequest
    from patchhub_registry.operations.ask import Answers
    from patchhub_registry.operations.base import BaseSummary
    from patchhub_registry.operations.changing import Changed
    from patchhub_registry.operations.check import Checked
    from patchhub_registry.operations.edit import Edit
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.operations.show import Shown
    from patchhub_registry.operations.status import Status
    from patchhub_registry.operations.verify import Verified
    from patchhub_registry.patches import PatchRecord, PatchSummary
    from patchhub_registry.registry import Registry

    Requests = str | Path | Sequence[EditRequest]


class Verbs:
    """Mixed into `patchhub_registry.registry.Registry`."""

    @property
    def _registry(self) -> Registry:
        return cast("Registry", self)

    def base_add(
        self,
        name: str,
        directory: str | Path,
        *,
        texts: str | Path | None = None,
        probes: str | Path | None = None,
        progress: Progress | None = None,
    ) -> BaseSummary:
        """See `patchhub_registry.operations.base.add_base`."""
        from patchhub_registry.operations.base import add_base

        return add_base(
            self._registry, name, directory, texts=texts, probes=probes, progress=progress
        )

    def edit(
        self,
        method: str,
        requests: Requests,
        *,
        base: str | None = None,
        stack: str | None = None,
        settings: Mapping[str, object] | None = None,
        seed: int = 0,
        name: str | None = None,
        policy: str | Path | None = None,
        waive: Mapping[str, str] | None = None,
        sensitivity: str = "internal",
        message: str = "",
        commit: bool = True,
        out: str | Path | None = None,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> Edit:
        """See `patchhub_registry.operations.edit.edit`."""
        from patchhub_registry.operations.edit import edit

        return edit(
            self._registry,
            method,
            requests,
            base=base,
            stack=stack,
            settings=settings,
            seed=seed,
            name=name,
            policy=policy,
            waive=waive,
            sensitivity=sensitivity,
            message=message,
            commit=commit,
            out=out,
            device=device,
            progress=progress,
        )

    def add(
        self,
        directory: str | Path,
        *,
        name: str | None = None,
        sensitivity: str = "internal",
        message: str = "",
    ) -> PatchRecord:
        """See `patchhub_registry.operations.add.add`."""
        from patchhub_registry.operations.add import add

        return add(self._registry, directory, name=name, sensitivity=sensitivity, message=message)

    def check(
        self,
        ref: str,
        *,
        stack: str | None = None,
        requests: Requests | None = None,
        policy: str | Path | None = None,
        waive: Mapping[str, str] | None = None,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> Checked:
        """See `patchhub_registry.operations.check.check`."""
        from patchhub_registry.operations.check import check

        return check(
            self._registry,
            ref,
            stack=stack,
            requests=requests,
            policy=policy,
            waive=waive,
            device=device,
            progress=progress,
        )

    def apply(
        self,
        refs: str | Sequence[str] = (),
        *,
        stack: str,
        model: str | Path | None = None,
        override: str | None = None,
        reason: str = "fact-update",
        progress: Progress | None = None,
    ) -> Changed:
        """See `patchhub_registry.operations.apply.apply`."""
        from patchhub_registry.operations.apply import apply

        return apply(
            self._registry,
            refs,
            stack=stack,
            model=model,
            override=override,
            reason=reason,
            progress=progress,
        )

    def revert(
        self,
        refs: str | Sequence[str],
        *,
        stack: str,
        model: str | Path | None = None,
        reason: str = "rollback",
        progress: Progress | None = None,
    ) -> Changed:
        """See `patchhub_registry.operations.revert.revert`."""
        from patchhub_registry.operations.revert import revert

        return revert(
            self._registry, refs, stack=stack, model=model, reason=reason, progress=progress
        )

    def ask(
        self,
        prompts: str | Sequence[str],
        *,
        stack: str | None = None,
        against: str | None = None,
        base: str | None = None,
        model: str | Path | None = None,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> Answers:
        """See `patchhub_registry.operations.ask.ask`."""
        from patchhub_registry.operations.ask import ask

        return ask(
            self._registry,
            prompts,
            stack=stack,
            against=against,
            base=base,
            model=model,
            device=device,
            progress=progress,
        )

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
