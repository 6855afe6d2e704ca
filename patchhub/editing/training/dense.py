"""A dense patch from the changes of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from patchhub.editing.editor import EditContext, Editor, method_record
from patchhub.manifest import Kind, Orientation
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import site_for


def dense_patch(
    editor: Editor,
    context: EditContext,
    requests: Sequence[EditRequest],
    settings: object,
    changes: Mapping[str, Tensor],
    state: Mapping[str, Tensor] | None = None,
) -> Patch:
    """The patch that makes these changes.

    Args:
        editor: The method.
        context: What it was given.
        requests: What the patch is to make true.
        settings: In effect.
        changes: Name of a parameter to its change, in the stored layout.
        state: What the method wants to remember.
    """
    base, payload, sites = context.base, {}, []
    for name, change in changes.items():
        site = site_for(base.model, base.fingerprint, name)
        upright = change.T if site.orientation is Orientation.IN_OUT else change
        payload[site.tensor] = {"delta": upright.float().cpu().contiguous()}
        sites.append(site)
    return Patch.build(
        Kind.DENSE,
        payload,
        sites=sites,
        base=base.fingerprint.weights,
        method=method_record(editor, context, requests, settings),
        requests=requests,
        onto=context.onto,
        state=state,
    )
