"""An edit that is asked for, whatever the method: its base, stack and policy, and what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.canonical import decimal
from patchhub.errors import ConflictError
from patchhub_registry.operations import editors, guarding, localfiles, models, naming
from patchhub_registry.operations import statistics as moments
from patchhub_registry.operations.add import now

if TYPE_CHECKING:
    from patchhub.canonical import Json
    from patchhub.editing.editor import Dropped
    from patchhub.editing.maker import Maker
    from patchhub.editing.modes import Mode
    from patchhub.guard.policy import Policy
    from patchhub.guard.verdict import Verdict
    from patchhub.loading import LoadedBase
    from patchhub.patch import Patch
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry
    from patchhub_registry.schema import BaseRecord
    from patchhub_registry.stack import StackState

    Requests = str | Path | Sequence[EditRequest]


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit that was made.

    Attributes:
        patch: The patch.
        verdict: What the guard measured, and its word.
        base: Name of the base.
        name: Name the patch has, or would have.
        ref: ``name@n`` in the registry; None when it was not committed.
        directory: Where the patch was written, if it was asked for.
        dropped: Requests that could not be edited while those of the patch could.
    """

    patch: Patch
    verdict: Verdict
    base: str
    name: str
    ref: str | None
    directory: Path | None
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True, slots=True)
class Edits:
    """Edits of one call, a patch for each request.

    Attributes:
        made: In the order of the requests; those the guard refused have no ``ref``.
        dropped: Requests of which no patch could be made.
    """

    made: tuple[Edit, ...]
    dropped: tuple[Dropped, ...] = ()

    @property
    def refused(self) -> tuple[Edit, ...]:
        """Those that the guard said no to."""
        return tuple(one for one in self.made if not one.verdict.passed)


@dataclass(frozen=True, slots=True)
class Made:
    """A patch that was computed and judged, and is not kept yet.

    Attributes:
        patch: The patch.
        judged: What the guard says.
        name: Name it would get.
        below: The patches it was computed and judged on.
        dropped: Requests that were left out of it.
    """

    patch: Patch
    judged: guarding.Judged
    name: str
    below: tuple[Patch, ...]
    dropped: tuple[Dropped, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the guard said yes."""
        return self.judged.verdict.passed


@dataclass(frozen=True, eq=False)
class Task:
    """Requests on a base with a stack, under a policy; nothing of it is written yet.

    Attributes:
        registry: Where all of it is looked up.
        requests: What shall be true.
        label: Name the patch would get.
        policy: Rules of the guard.
        record: The base, as the registry knows it.
        below: Patches the model carries, bottom first.
        device: Where the model computes.
        progress: Called with the phase, units done, units in all.
    """

    registry: Registry
    requests: tuple[EditRequest, ...]
    label: str
    policy: Policy
    record: BaseRecord
    below: tuple[Patch, ...]
    device: str
    progress: Progress | None

    def load(self) -> LoadedBase:
        """The base in memory, its bytes checked; that they were is remembered."""
        record, device = self.record, self.device
        return models.load(self.registry, record, device=device, progress=self.progress)

    def load_unseen(self) -> LoadedBase:
        """The base with its headers checked; hashing it would be remembered, and so written."""
        from patchhub.fingerprint import check_headers
        from patchhub.loading import load_base
        from patchhub.tensorfile import open_checkpoint

        directory = self.registry.base_path(self.record.name)
        check_headers(open_checkpoint(directory), self.record.fingerprint)
        return load_base(directory, device=self.device, fingerprint=self.record.fingerprint)

    def maker(
        self,
        base: LoadedBase,
        method: str,
        settings: Mapping[str, object] | None,
        seed: int,
        *,
        mode: Mode,
        statistics: str,
        memory: int | None,
    ) -> Maker:
        """A method, prepared for the requests."""
        from patchhub.editing.catalog import load_editor
        from patchhub.editing.maker import Maker

        weights, editor = self.record.weights, load_editor(method)
        editors.bring(self.registry, weights, editor, editors.named(settings))
        return Maker.begin(
            base,
            editor,
            self.requests,
            mode=mode,
            settings=settings,
            seed=seed,
            texts=localfiles.texts(self.registry, weights),
            statistics=statistics,
            cache=moments.brought(self.registry, weights),
            memory=memory,
            progress=self.progress,
        )

    def judge(
        self,
        base: LoadedBase,
        patch: Patch,
        requests: Sequence[EditRequest],
        waive: Mapping[str, str] | None,
        *,
        stack: Sequence[Patch] | None = None,
        known: Mapping[str, Sequence[EditRequest]] | None = None,
    ) -> guarding.Judged:
        """Ask the guard about a patch, on the patches below or on another stack."""
        return guarding.judge(
            self.registry,
            base,
            patch,
            requests,
            stack=self.below if stack is None else stack,
            policy=self.policy,
            waive=waive,
            known=known,
            progress=self.progress,
        )


def begin(
    registry: Registry,
    method: str,
    requests: Requests,
    *,
    base: str | None,
    stack: str | None,
    name: str | None,
    policy: str | Path | None,
    out: str | Path | None,
    device: str,
    progress: Progress | None,
) -> Task:
    """Look up everything that can be refused before a model is loaded; arguments as for `edit`."""
    from patchhub import patchdir
    from patchhub.request import load_requests

    wanted = load_requests(Path(requests)) if isinstance(requests, str | Path) else tuple(requests)
    label = naming.patch_name(name, method, wanted)
    if out is not None:
        patchdir.check_target(Path(out))
    rules = guarding.policy_of(registry, policy)
    state = models.stack_state(registry, stack)
    record = base_for(registry, base, state)
    below = models.stack_patches(registry, state)
    return Task(registry, wanted, label, rules, record, below, device, progress)


def observations(base: LoadedBase, patch: Patch, below: Sequence[Patch]) -> dict[str, Json]:
    """What was seen while the patch was made, for record.json: no part of what the patch is."""
    from patchhub.composer.composer import Composer

    composer = Composer.over(base)
    with composer.applied(*below):
        measured = composer.realised(patch)
    realised = {
        site: {name: decimal(value) for name, value in asdict(one).items()}
        for site, one in measured.items()
    }
    return {
        "created": now(),
        "libraries": _libraries(patch.manifest.method.name),
        "realised": realised,
    }


def _libraries(method: str) -> dict[str, str]:
    """Versions of what computed the edit, of the plugin that brought the method among them."""
    from importlib.metadata import version

    from patchhub.editing.catalog import METHODS

    found = {name: version(name) for name in ("patchhub", "torch", "transformers")}
    plugin = METHODS.plugin(method)
    return found if plugin is None else {**found, plugin.distribution: plugin.version}


def base_for(registry: Registry, base: str | None, state: StackState | None) -> BaseRecord:
    """The base of a stack, or the one named, or the only one there is.

    Raises:
        NotFoundError: E106. IntegrityError: E201. ConflictError: E302, they are different ones.
    """
    if state is None:
        return models.only_base(registry, base)
    record = models.base_with(registry, state.base, f"stack {state.name!r}")
    if base is not None and registry.base(base).weights != record.weights:
        raise ConflictError(
            "E302",
            f"stack {state.name!r} stands on another base",
            expected=record.name,
            found=base,
        )
    return record
