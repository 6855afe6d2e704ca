"""Make one patch of many edits, as if they had been asked for at once on the bare base."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch

from patchhub.editing.dropping import OF_ALL
from patchhub.editing.editor import EditContext, Editor, method_record
from patchhub.editing.joint.entries import Entry, find_entry
from patchhub.editing.joint.form import Form, KeyValueEditor, key_value_editor
from patchhub.editing.joint.groups import Group, settled
from patchhub.editing.joint.memory import JOINT, Remembered, remembered
from patchhub.editing.joint.solver import JointSolver
from patchhub.editing.keyvalues import KeyValues
from patchhub.editing.targets import wanted_for
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind, MethodRecord
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import site_for


@dataclass(eq=False)
class JointEditor:
    """A key-value method that solves its edits together; an `Editor` for `run_editor`.

    The patch is a function of base, method, templates, statistics and the *set* of requests: the
    same bytes (but for ``supersedes``) whichever edits were made before which, and whichever were
    made and dropped again.

    Args:
        method: The method.
        earlier: Patches whose targets need not be found again.
        supersedes: Ids of the patches that the new one stands for.

    Attributes:
        recalled: After an edit: how many targets were remembered.
    """

    method: KeyValueEditor
    earlier: Sequence[Patch] = ()
    supersedes: Sequence[str] = ()
    recalled: int = field(default=0, init=False)
    settles: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Be the method to whoever asks what it needs."""
        own = self.method
        self.name, self.version, self.kind = own.name, own.version, Kind.LOW_RANK
        self.summary, self.reference = own.summary, own.reference
        self.needs, self.hparams = own.needs, own.hparams

    def moment_layers(self, base: LoadedBase, hparams: Any) -> tuple[int, ...]:
        """The method's."""
        return self.method.moment_layers(base, hparams)

    def edit(self, context: EditContext, requests: Sequence[EditRequest], hparams: Any) -> Patch:
        """One patch of all requests; later ones replace earlier ones on the same fact.

        Raises:
            InvalidInputError: E142, there are patches below; E145, the keys depend on each other;
                else as the method, where it can edit none of the requests.
        """
        if context.below:
            raise InvalidInputError(
                "E142",
                "edits are solved together on the bare base",
                expected="a model without patches",
                found=", ".join(patch.short for patch in context.below),
            )
        # Targets come one by one: it is their number that is told, not each one's own progress.
        form = self.method.joint(replace(context, progress=None), hparams)
        recalled = remembered(self.earlier, record_of(self.method, context, form), self.method)
        groups = settled(requests).groups
        entries = list(_entries(context, form, groups, recalled))
        self.recalled = sum(recalled.knows(entry.name) for entry in entries)
        return _patch(self, context, form, entries)


def joined_with(
    method: Editor, patches: Sequence[Patch], requests: Sequence[EditRequest]
) -> tuple[JointEditor, tuple[EditRequest, ...]]:
    """The method with its own of some patches, which it will stand for, and all that shall hold.

    Raises:
        InvalidInputError: E142, edits by the method cannot be solved together.
    """
    own = [patch for patch in patches if patch.manifest.method.name == method.name]
    editor = JointEditor(key_value_editor(method), own, [patch.id for patch in own])
    asked = [request for patch in own for request in patch.requests]
    return editor, settled([*asked, *requests]).kept


def record_of(
    method: Editor, context: EditContext, form: Form, requests: Sequence[EditRequest] = ()
) -> MethodRecord:
    """What the manifest says of such a patch."""
    used = method.moment_layers(context.base, form.settings)
    record = method_record(method, context, requests, form.settings, layers=used)
    return replace(record, hparams={**record.hparams, JOINT: True})


def _entries(
    context: EditContext, form: Form, groups: Sequence[Group], recalled: Remembered
) -> Iterator[Entry]:
    """The targets that are known or can be found; requests of the others are dropped."""
    failed: list[tuple[EditRequest, InvalidInputError]] = []
    found = 0
    for done, group in enumerate(groups):
        context.report("targets", done, len(groups))
        known = recalled.entry(group)
        fit = group if known is not None else _fitting(context, form, group, failed)
        if not fit:
            continue
        try:
            entry = known or find_entry(context, form, fit, recalled.residual(fit))
        except InvalidInputError as error:
            if error.code in OF_ALL:
                raise
            failed += [(request, error) for request in fit]
            continue
        found += 1
        yield entry
    context.report("targets", len(groups), len(groups))
    if failed and not found:
        raise failed[0][1]
    for request, reason in failed:
        context.drop(request, reason)


def _fitting(
    context: EditContext,
    form: Form,
    group: Group,
    failed: list[tuple[EditRequest, InvalidInputError]],
) -> Group:
    """The requests whose tokens line up: one that does not shall not take others with it."""
    fit: list[EditRequest] = []
    for request in group:
        try:
            wanted_for(context.base.tokenizer, form.templates, [request])
            fit.append(request)
        except InvalidInputError as error:
            failed.append((request, error))
    return tuple(fit)


def _patch(
    editor: JointEditor, context: EditContext, form: Form, entries: Sequence[Entry]
) -> Patch:
    base = context.base
    entries = sorted(entries, key=lambda one: one.name)
    places = {request: n for n, one in enumerate(entries) for request in one.requests}
    requests = sorted(places, key=EditRequest.digest)
    factors = JointSolver(form.formula, entries).solve()
    sites, payload = [], {}
    for layer, (rows, residuals) in factors.items():
        path = base.arch.path("mlp_out", layer, base.model)
        sites.append(site_for(base.model, base.fingerprint, f"{path}.weight"))
        payload[sites[-1].tensor] = {
            "A": rows.T.float().contiguous(),
            "B": residuals.float().contiguous(),
        }
    layers = form.formula.layers
    remembers = KeyValues(
        {n: torch.stack([one.keys[n] for one in entries]) for n in layers},
        torch.stack([one.residual for one in entries]),
        tuple(places[request] for request in requests),
        {n: torch.stack([one.shares[n] for one in entries]) for n in layers},
    )
    return Patch.build(
        Kind.LOW_RANK,
        payload,
        sites=sites,
        base=base.fingerprint.weights,
        method=record_of(editor.method, context, form, requests),
        requests=requests,
        state=remembers.to_state(),
        supersedes=editor.supersedes,
    )
