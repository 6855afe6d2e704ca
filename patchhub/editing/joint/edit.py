"""Make one patch of many edits, as if they had been asked for at once on the bare base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch

from patchhub.composer.stack import check_base
from patchhub.editing.editor import EditContext, Editor, method_record
from patchhub.editing.joint.entries import Entry
from patchhub.editing.joint.finding import Finding
from patchhub.editing.joint.form import Form, KeyValueEditor, key_value_editor
from patchhub.editing.joint.groups import settled
from patchhub.editing.joint.memory import JOINT, remembered
from patchhub.editing.joint.solver import JointSolver
from patchhub.editing.keyvalue.factors import low_rank
from patchhub.editing.keyvalue.keyvalues import KeyValues
from patchhub.editing.maker import sorted_out
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind, MethodRecord
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import module_of, weight_matrix


@dataclass(eq=False)
class JointEditor:
    """A key-value method that solves its edits together; an `Editor` for `run_editor`.

    The patch is a function of base, method, templates, statistics and the *set* of requests: the
    same bytes (but for ``supersedes``) whichever edits were made before which, and whichever were
    made and dropped again.

    Args:
        method: The method.
        earlier: Patches whose targets need not be found again. Of their requests, those that are
            asked for are in the new patch, or there is none.
        supersedes: Ids of the patches that the new one stands for.
        replaced: Requests that those asked for take the place of, in the order of arrival; where
            one of those cannot be edited, what it was to replace stays.

    Attributes:
        recalled: After an edit: how many targets were remembered.
    """

    method: KeyValueEditor
    earlier: Sequence[Patch] = ()
    supersedes: Sequence[str] = ()
    replaced: Sequence[EditRequest] = ()
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
                else as the method, where it can edit none of the new requests, or an earlier one
                not again.
            IntegrityError: E201, an earlier patch is of another base; E118, it is damaged.
        """
        if context.below:
            raise InvalidInputError(
                "E142",
                "edits are solved together on the bare base",
                expected="a model without patches",
                found=", ".join(patch.short for patch in context.below),
            )
        for patch in self.earlier:
            check_base(patch, context.base.fingerprint, context.base.fingerprint.weights)
        # Targets come one by one: it is their number that is told, not each one's own progress.
        form = self.method.joint(replace(context, progress=None), hparams)
        recalled = remembered(self.earlier, record_of(self.method, context, form), self.method)
        _check_statistics(context, form)
        finding = Finding(context, form, recalled, self.earlier)
        entries = finding.all(requests, self.replaced)
        self.recalled = sum(recalled.knows(entry.name) for entry in entries)
        return _patch(self, context, form, entries)


def _check_statistics(context: EditContext, form: Form) -> None:
    """Let the metric of every block say what is wrong with it, before hours go into targets."""
    model, arch = context.base.model, context.base.arch
    for layer in form.formula.layers:
        path = arch.path("mlp_out", layer, model, arch.reading)
        width = weight_matrix(module_of(model, path)).shape[1]
        form.formula.metric(layer, torch.empty(width, 0, dtype=torch.float64))


def joined_with(
    method: Editor, patches: Sequence[Patch], requests: Sequence[EditRequest]
) -> tuple[JointEditor, tuple[EditRequest, ...]]:
    """The method with its own of some patches, which it will stand for, and all that shall hold.

    Raises:
        InvalidInputError: E142, edits by the method cannot be solved together; E13x, it takes none
            of the requests.
    """
    if requests:  # a patch in the place of others has to say something new
        sorted_out(method, requests)
    own = [patch for patch in patches if patch.manifest.method.name == method.name]
    asked = [request for patch in own for request in patch.requests]
    agreed = settled([*asked, *requests])
    supersedes = [patch.id for patch in own]
    editor = JointEditor(key_value_editor(method), own, supersedes, agreed.replaced)
    return editor, agreed.kept


def record_of(
    method: Editor, context: EditContext, form: Form, requests: Sequence[EditRequest] = ()
) -> MethodRecord:
    """What the manifest says of such a patch."""
    used = method.moment_layers(context.base, form.settings)
    record = method_record(method, context, requests, form.settings, layers=used)
    return replace(record, hparams={**record.hparams, JOINT: True})


def _patch(
    editor: JointEditor, context: EditContext, form: Form, entries: Sequence[Entry]
) -> Patch:
    base = context.base
    entries = sorted(entries, key=lambda one: one.name)
    places = {request: n for n, one in enumerate(entries) for request in one.requests}
    requests = sorted(places, key=EditRequest.digest)
    sites, payload = low_rank(base, JointSolver(form.formula, entries).solve())
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
