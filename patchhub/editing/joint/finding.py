"""Which requests a joint patch can hold, and their targets.

A request that cannot be edited is left out, and takes no other with it: not those on its subject,
not an earlier one that it was to take the place of, which then stays. An earlier request is never
left out: where it cannot be made again, there is no new patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from patchhub.editing.dropping import OF_ALL
from patchhub.editing.editor import EditContext
from patchhub.editing.joint.entries import Entry, find_entry
from patchhub.editing.joint.form import Form
from patchhub.editing.joint.groups import Group, settled
from patchhub.editing.joint.memory import Remembered
from patchhub.editing.keyvalue.gather import of_group, wanted_of
from patchhub.errors import InvalidInputError
from patchhub.patch import Patch
from patchhub.request import EditRequest


class Finding:
    """The search for the targets of one joint patch; `all` once.

    Args:
        context: The base.
        form: The method.
        recalled: Targets that are known.
        earlier: Patches whose requests may not be left out.
    """

    def __init__(
        self, context: EditContext, form: Form, recalled: Remembered, earlier: Iterable[Patch]
    ) -> None:
        self._context, self._form, self._recalled = context, form, recalled
        self._earlier = {one.digest() for patch in earlier for one in patch.requests}
        self._found: dict[Group, Entry] = {}
        self._failed: dict[str, InvalidInputError] = {}

    def all(
        self, requests: Sequence[EditRequest], replaced: Sequence[EditRequest] = ()
    ) -> list[Entry]:
        """The targets that are known or can be found; requests of the others are dropped.

        Args:
            requests: All that shall hold; later ones replace earlier ones on the same fact.
            replaced: What they took the place of, in the order of arrival.

        Raises:
            InvalidInputError: None of the requests that are new can be edited: what is wrong with
                the first; an earlier one cannot; or what is wrong is not a request's.
        """
        asked = [*replaced, *requests]
        while True:
            groups = settled(one for one in asked if one.digest() not in self._failed).groups
            if not self._misfits(groups) and not self._missing(groups):
                break
        new = [one for one in requests if one.digest() not in self._earlier]
        if new and all(one.digest() in self._failed for one in new):
            raise self._failed[new[0].digest()]
        for digest, one in {one.digest(): one for one in (*requests, *replaced)}.items():
            if digest in self._failed:
                self._context.drop(one, self._failed[digest])
        return [self._found[group] for group in groups]

    def _misfits(self, groups: Sequence[Group]) -> bool:
        """Whether requests do not fit the model, which is known before anything is searched."""
        before = len(self._failed)
        for group in groups:
            if group in self._found or self._recalled.entry(group) is not None:
                continue
            for request in group:
                try:
                    wanted_of(self._context, self._form.templates, request)
                except InvalidInputError as error:
                    self._fail([request], error)
        return len(self._failed) > before

    def _missing(self, groups: Sequence[Group]) -> bool:
        """Whether targets cannot be found."""
        before = len(self._failed)
        for done, group in enumerate(groups):
            self._context.report("targets", done, len(groups))
            try:
                if group not in self._found:
                    self._found[group] = self._entry(group)
            except InvalidInputError as error:
                new = [one for one in group if one.digest() not in self._earlier]
                self._fail(new or group, of_group(error, group))
        self._context.report("targets", len(groups), len(groups))
        return len(self._failed) > before

    def _entry(self, group: Group) -> Entry:
        known = self._recalled.entry(group)
        if known is not None:
            return known
        return find_entry(self._context, self._form, group, self._recalled.residual(group))

    def _fail(self, requests: Sequence[EditRequest], error: InvalidInputError) -> None:
        if error.code in OF_ALL or any(one.digest() in self._earlier for one in requests):
            raise error
        self._failed.update((one.digest(), error) for one in requests)
