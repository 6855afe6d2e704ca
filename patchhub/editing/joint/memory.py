"""What earlier patches remember that a joint solve can use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from patchhub.editing.editor import Cost, Editor
from patchhub.editing.joint.entries import Entry
from patchhub.editing.joint.groups import Group, group_name
from patchhub.editing.keyvalue.keyvalues import KeyValues
from patchhub.manifest import MethodRecord
from patchhub.patch import Patch
from patchhub.request import EditRequest

JOINT = "joint"
"""Stands, true, among the settings in a joint patch's record."""


@dataclass(frozen=True, eq=False)
class Remembered:
    """Targets that were found before, by the name of their requests.

    Attributes:
        entries: Whole ones, from joint patches.
        residuals: δ alone, from others: their keys were read while other blocks were being written.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    residuals: dict[str, Tensor] = field(default_factory=dict)

    def knows(self, name: str) -> bool:
        """Whether the target of that name need not be found."""
        return name in self.entries or name in self.residuals

    def entry(self, group: Group) -> Entry | None:
        """The target of a group, if all of it is known."""
        known = self.entries.get(group_name(group))
        return None if known is None else replace(known, requests=group)  # ids may differ

    def residual(self, group: Group) -> Tensor | None:
        """The δ of a group, if it is known."""
        return self.residuals.get(group_name(group))


def remembered(patches: Sequence[Patch], record: MethodRecord, method: Editor) -> Remembered:
    """What patches know of targets that would be found again just so.

    Those are targets found by the same method, settings and templates on the bare base: not what a
    patch computed on top of others, and of a method that writes one request after the other only
    the first. A target found in one batch with others has last bits that depend on them: it is
    recalled only where it is its patch's only one, or from a joint patch.

    Args:
        patches: Of the same base; later ones count.
        record: Of the patch to be made, or of one like it.
        method: The method.

    Raises:
        IntegrityError: E118, a patch's state is damaged.
    """
    cost: Cost | None = getattr(method, "cost", None)
    found = Remembered()
    for patch in patches:
        same = _comparable(patch.manifest.method) == _comparable(record)
        known = KeyValues.from_state(patch) if same and not patch.manifest.onto else None
        if known is None:
            continue
        whole = bool(known.shares)
        one_by_one = cost is not None and cost.each
        members = known.members()
        if not whole:
            members = members[:1] if one_by_one or len(members) == 1 else ()
        for row, places in enumerate(members):
            group = tuple(sorted((patch.requests[i] for i in places), key=EditRequest.digest))
            if whole:
                found.entries[group_name(group)] = Entry(
                    group, known.residuals[row], _row(known.keys, row), _row(known.shares, row)
                )
            else:
                found.residuals[group_name(group)] = known.residuals[row]
    return found


def _comparable(record: MethodRecord) -> tuple[object, ...]:
    """What decides a target, but for the requests."""
    settings = {name: value for name, value in record.hparams.items() if name != JOINT}
    plain = replace(record, hparams=settings)
    return plain.name, plain.version, plain.hparams, plain.templates


def _row(rows: Mapping[int, Tensor], number: int) -> dict[int, Tensor]:
    return {layer: one[number] for layer, one in rows.items()}
