"""A stack of patches on a model in memory: folded into its weights, or live in its slots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from patchhub.composer.carried import carried_by, mark
from patchhub.composer.exact_sum import compose, compose_into, require_subnormals
from patchhub.composer.identity import composed_identity
from patchhub.composer.parameters import parameters_at
from patchhub.composer.pristine import BaseTensor, CheckpointPristine, Pristine
from patchhub.composer.realised import Realised, realised_delta
from patchhub.composer.slots.plane import Plan, Plane
from patchhub.composer.slots.room import Room
from patchhub.composer.stack import (
    check_stack,
    ids_at,
    live_patches,
    sites_of,
    terms_at,
    weight_patches,
)
from patchhub.errors import ConflictError
from patchhub.fingerprint import Fingerprint, check_headers
from patchhub.identityfile import require_bare
from patchhub.kinds import weight_kind
from patchhub.kinds.storage import digest_of
from patchhub.loading import LoadedBase
from patchhub.manifest import Site
from patchhub.patch import Patch
from patchhub.sites import site_for
from patchhub.tensorfile import open_checkpoint
from patchhub.tensornames import loaded_names


@dataclass(frozen=True, slots=True)
class _Change:
    """A parameter to write: a function of base and stack, so what was there can be had again."""

    parameter: Tensor
    site: Site
    own: BaseTensor

    def fold(self, stack: Sequence[Patch]) -> None:
        terms = terms_at(self.site.tensor, stack)
        compose_into(self.parameter, self.own.values, self.site, terms, self.own.largest)


class Composer:
    """Applies, reverts and reorders patches on a loaded model.

    The weights are at all times a function of (base, stack): every touched tensor is rebuilt from
    the base's own bytes, never by taking something away. Parameters are written in place, block by
    block as they are computed; what can be refused is refused before the first of them is written,
    and if writing itself fails, what was there is rebuilt. Patches that act while the model runs
    lie in slots of its modules; without such patches it has none, unless they were reserved.

    Args:
        model: The base, loaded and not yet changed. Its runtime dtype may differ from the stored
            one: composed tensors are rounded to the stored dtype first and cast then.
        fingerprint: Of the base.
        pristine: Hands out the base's own tensors.

    Raises:
        ConflictError: E309, the model, or the one it is a copy of, carries patches already.
    """

    def __init__(
        self, model: PreTrainedModel, fingerprint: Fingerprint, pristine: Pristine
    ) -> None:
        self._model = model
        self._base = fingerprint
        self._weights = fingerprint.weights
        self._pristine = pristine
        self._stack: tuple[Patch, ...] = ()
        self._rows: tuple[tuple[Patch, ...], ...] = ()
        self._plane = Plane(model)
        self._digests: dict[tuple[str, tuple[str, ...]], str] = {}
        self._refuse_others()
        self._loaded = loaded_names(model, fingerprint.tensors)

    @classmethod
    def over(cls, base: LoadedBase) -> Composer:
        """A composer that reads pristine tensors from the directory the base was loaded from.

        Raises:
            IntegrityError: E201, the directory holds another model by now.
            ConflictError: E309, the directory or the model carries patches.
        """
        require_bare(base.directory)
        files = open_checkpoint(base.directory)
        check_headers(files, base.fingerprint)
        return cls(base.model, base.fingerprint, CheckpointPristine(files))

    @property
    def model(self) -> PreTrainedModel:
        """The model, with the stack on it."""
        return self._model

    @property
    def stack(self) -> tuple[Patch, ...]:
        """The patches the model carries, bottom first."""
        return self._stack

    @property
    def identity(self) -> str:
        """Identity of the composed model; see `patchhub.composer.identity`."""
        return composed_identity(self._weights, [patch.id for patch in self._stack])

    def apply(self, *patches: Patch) -> None:
        """Put patches on top of the stack.

        Raises:
            ConflictError: E306, a patch is there already; E309, another composer changed the model.
            IntegrityError: E201, a patch was made for another base, or the base's files changed.
            InvalidInputError: E112, a tensor cannot be patched; E163, reserved slots are full.
            NotFoundError: E144, the model has no such parameter.
        """
        self.set_stack([*self._stack, *patches])

    def revert(self, *ids: str) -> None:
        """Take patches out of the stack, wherever they are in it.

        Args:
            ids: Patch ids, whole or in short form.

        Raises:
            ConflictError: E307, a patch is not in the stack.
        """
        for wanted in ids:
            if not any(wanted in (patch.id, patch.short) for patch in self._stack):
                raise ConflictError(
                    "E307",
                    f"{wanted} is not in the stack",
                    expected=", ".join(patch.short for patch in self._stack) or "an empty stack",
                )
        self.set_stack([p for p in self._stack if p.id not in ids and p.short not in ids])

    def set_stack(self, patches: Sequence[Patch]) -> None:
        """Make the stack be exactly ``patches``, bottom first; raises as `apply` does."""
        self._become(tuple(patches), self._rows)

    @contextmanager
    def applied(self, *patches: Patch) -> Iterator[PreTrainedModel]:
        """The model with patches on top while the body runs; then the stack is as it was before."""
        before = self._stack
        self.apply(*patches)
        try:
            yield self._model
        finally:
            self.set_stack(before)

    @contextmanager
    def rows(self, *requests: Sequence[Patch]) -> Iterator[PreTrainedModel]:
        """The model for batches in which each request has patches of its own, on top of the stack.

        A batch of n requests has n rows, or a multiple of n where each is asked several times over,
        as for beams. What is folded into the weights acts on all of them; patches of single rows
        are low-rank updates, neurons or codebooks.

        Args:
            requests: The patches of each request, bottom first.

        Raises:
            InvalidInputError: E112, a patch cannot act on some rows only; E163, reserved slots are
                full; running a batch that does not fit raises E162. As `apply` does otherwise.
        """
        before = self._rows
        self._become(self._stack, tuple(tuple(one) for one in requests))
        try:
            yield self._model
        finally:
            self._become(self._stack, before)

    def reserve(self, tensors: Sequence[str], room: Room) -> None:
        """Have slots of a fixed size at weights, before the model is compiled.

        Patches come and go then without anything being compiled anew; more room is another call.

        Args:
            tensors: Runtime or checkpoint names; for neurons, of an MLP's down-projection.
            room: How many slots each of them has.

        Raises:
            InvalidInputError: E112, there can be no slots; E163, what is on the model needs more.
            NotFoundError: E144, the model has no such tensor.
        """
        self._refuse_others()
        sites = [site_for(self._model, self._base, name) for name in tensors]
        self._plane.reserve(sites, room, live_patches(self._stack), self._rows)

    def digests(self) -> dict[str, str]:
        """SHA-256 of the composed bytes of every touched tensor, in stored dtype and layout."""
        sites = sites_of(weight_patches(self._stack))
        return {name: self._digest(site) for name, site in sites.items()}

    def realised(self, patch: Patch) -> dict[str, Realised]:
        """How much of a patch survives rounding to the stored dtype, by tensor.

        The patch is measured on top of the rest of the stack, whether it is in the stack or not.
        One that changes no weights loses nothing, and has no tensors here.

        Raises:
            IntegrityError: E201, the patch was made for another base.
        """
        below = [other for other in self._stack if other.id != patch.id]
        check_stack([*below, patch], self._base, self._weights)
        if not weight_patches([patch]):
            return {}
        below = weight_patches(below)
        kind = weight_kind(patch.kind)
        return {
            name: realised_delta(
                self._compose(site, below),
                self._compose(site, [*below, patch]),
                site,
                (kind, patch.payload[name]),
            )
            for name, site in sites_of([patch]).items()
        }

    def _become(self, wanted: tuple[Patch, ...], rows: tuple[tuple[Patch, ...], ...]) -> None:
        """Let stack and requests' own patches be these; all that can be refused is at first."""
        self._refuse_others()
        for own in rows or ((),):
            check_stack([*wanted, *own], self._base, self._weights)
        old, new = weight_patches(self._stack), weight_patches(wanted)
        sites = {**sites_of(old), **sites_of(new)}
        parameters = parameters_at(self._model, self._loaded, sites)
        changes = [
            _Change(parameters[name].detach(), site, self._pristine.tensor(site))
            for name, site in sites.items()
            if ids_at(name, old) != ids_at(name, new)
        ]
        plan = self._plane.plan(live_patches(wanted), rows)
        require_subnormals()
        self._write(changes, plan, wanted, rows)

    def _refuse_others(self) -> None:
        """Others' patches would be taken for the base's own weights, or be half written over."""
        carried, own = carried_by(self._model), tuple(patch.id for patch in self._stack)
        if carried != own:
            raise ConflictError(
                "E309",
                "the model carries patches already" if carried else "the model lost its patches",
                expected=_short(own) or "the base as it was loaded",
                found=_short(carried) or "no patches",
                hint="go on with the composer that changed it last, or load the base again",
            )

    def _compose(self, site: Site, patches: Sequence[Patch]) -> Tensor:
        own = self._pristine.tensor(site)
        return compose(own.values, site, terms_at(site.tensor, patches), own.largest)

    def _digest(self, site: Site) -> str:
        folded = weight_patches(self._stack)
        key = (site.tensor, ids_at(site.tensor, folded))
        if key not in self._digests:
            self._digests[key] = digest_of(self._compose(site, folded))
        return self._digests[key]

    def _write(
        self,
        changes: Sequence[_Change],
        plan: Plan,
        stack: tuple[Patch, ...],
        rows: tuple[tuple[Patch, ...], ...],
    ) -> None:
        before = self._stack, self._rows
        started: list[_Change] = []
        with torch.no_grad():
            try:
                for change in changes:
                    started.append(change)
                    change.fold(weight_patches(stack))
                self._plane.write(plan)
                self._settle(stack, rows)
            except BaseException:
                for change in started:
                    change.fold(weight_patches(before[0]))
                self._plane.write(self._plane.plan(live_patches(before[0]), before[1]))
                self._settle(*before)
                raise

    def _settle(self, stack: tuple[Patch, ...], rows: tuple[tuple[Patch, ...], ...]) -> None:
        self._stack, self._rows = stack, rows
        ids = tuple(patch.id for patch in stack)
        sites = sites_of(weight_patches(stack)).values()
        live = [patch.id for patch in live_patches(stack)]
        mark(self._model, self._weights, ids, sites, live)


def _short(ids: Sequence[str]) -> str:
    return ", ".join(f"ph:{one[:12]}" for one in ids)
