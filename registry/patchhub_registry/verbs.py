"""The verbs that change something as methods: one call each, of the command's name.

The work is done in `patchhub_registry.operations`, which is imported when a verb is first used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub_registry.late import Late
from patchhub_registry.questions import Questions

if TYPE_CHECKING:
    from patchhub.request import EditRequest
    from patchhub_registry.operations.auto import auto as _auto
    from patchhub_registry.operations.base import BaseSummary
    from patchhub_registry.operations.changing import Changed
    from patchhub_registry.operations.check import Checked
    from patchhub_registry.operations.edit import edit as _edit
    from patchhub_registry.operations.gc import Collected
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.operations.recovery import Recovered
    from patchhub_registry.operations.revert import revert as _revert
    from patchhub_registry.operations.stack_resolve import stack_resolve as _stack_resolve
    from patchhub_registry.operations.train import train as _train
    from patchhub_registry.patches import PatchRecord

    Requests = str | Path | Sequence[EditRequest]


class Verbs(Questions):
    """Mixed into `patchhub_registry.registry.Registry`: what changes something."""

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

    def base_link(
        self,
        name: str,
        directory: str | Path,
        *,
        full: bool = False,
        progress: Progress | None = None,
    ) -> BaseSummary:
        """See `patchhub_registry.operations.base.link_base`."""
        from patchhub_registry.operations.base import link_base

        return link_base(self._registry, name, directory, full=full, progress=progress)

    if TYPE_CHECKING:
        auto = _auto
        edit = _edit
        stack_resolve = _stack_resolve
        train = _train
    else:
        auto = Late()
        edit = Late()
        stack_resolve = Late()
        train = Late()

    def add(
        self,
        directory: str | Path,
        *,
        name: str | None = None,
        sensitivity: str = "internal",
        review_after: str | date | None = None,
        message: str = "",
    ) -> PatchRecord:
        """See `patchhub_registry.operations.add.add`."""
        from patchhub_registry.operations.add import add

        return add(
            self._registry,
            directory,
            name=name,
            sensitivity=sensitivity,
            review_after=review_after,
            message=message,
        )

    def check(
        self,
        ref: str,
        *,
        stack: str | None = None,
        requests: Requests | None = None,
        policy: str | Path | None = None,
        waive: Mapping[str, str] | None = None,
        texts: str | Path | None = None,
        report: str | Path | None = None,
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
            texts=texts,
            report=report,
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

    def apply_plan(
        self,
        file: str | Path,
        *,
        check: bool = True,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> Changed:
        """See `patchhub_registry.operations.planned.apply_plan`."""
        from patchhub_registry.operations.planned import apply_plan

        return apply_plan(self._registry, file, check=check, device=device, progress=progress)

    def gc(
        self,
        *,
        models: Sequence[str | Path] = (),
        keep: int = 2,
        now: bool = False,
        dry_run: bool = False,
    ) -> Collected:
        """See `patchhub_registry.operations.gc.gc`."""
        from patchhub_registry.operations.gc import gc

        return gc(self._registry, models=models, keep=keep, now=now, dry_run=dry_run)

    def recover(
        self, model: str | Path | None = None, *, wait: float = 0.0
    ) -> tuple[Recovered, ...]:
        """See `patchhub_registry.operations.recovery.recover`."""
        from patchhub_registry.operations.recovery import recover

        return recover(self._registry, model, wait=wait)

    if TYPE_CHECKING:
        revert = _revert
    else:
        revert = Late()
