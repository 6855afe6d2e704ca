"""What is added to a registry: bases, patches, statements, policies; one commit each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from patchhub_registry.names import check_name
from patchhub_registry.schema import BaseRecord, Statement

if TYPE_CHECKING:
    from patchhub.canonical import Json
    from patchhub.fingerprint import Fingerprint
    from patchhub_registry.additions import Addition, Made
    from patchhub_registry.patches import PatchRecord
    from patchhub_registry.patching import NewPatch


class Adding:
    """Mixed into `patchhub_registry.registry.Registry`."""

    if TYPE_CHECKING:

        def _add(self, addition: Addition[Made]) -> Made: ...

    def add_base(
        self, name: str, fingerprint: Fingerprint, notes: Mapping[str, str] | None = None
    ) -> BaseRecord:
        """Add a base; the same one again changes nothing.

        Raises:
            InvalidInputError: E101.
            ConflictError: E108, the name is taken by another model.
        """
        from patchhub_registry import additions

        record = BaseRecord(check_name(name, "base"), fingerprint, dict(notes or {}))
        return self._add(additions.base(record))

    def add_patch(
        self,
        files: Mapping[str, bytes],
        name: str,
        record: Mapping[str, Json],
        statements: Sequence[Statement] = (),
    ) -> PatchRecord:
        """Store a patch as the next version of a name, in one commit.

        Args:
            files: The patch directory (`patchhub.patch.Patch.files`).
            name: Patch name.
            record: What was observed: ``base`` (name), and optionally ``libraries``, ``realised``,
                ``sensitivity``, ``review_after``, ``message``, ``created``.
            statements: What is said about it, e.g. the guard's verdict.

        Raises:
            InvalidInputError: E101, E113: name or record is wrong.
            NotFoundError: E106, the base is not in the registry.
            IntegrityError: E117, E202: files and manifest disagree; E201, made for another base.
            ConflictError: E108, this very patch is already a version of the name.
        """
        from patchhub_registry.patching import NewPatch

        return self.add_patches([NewPatch(files, name, record)], statements)[0]

    def add_patches(
        self, patches: Sequence[NewPatch], statements: Sequence[Statement] = ()
    ) -> tuple[PatchRecord, ...]:
        """Store several patches in one commit: all, or where one is refused, none.

        Args:
            patches: In the order in which versions of one name are counted.
            statements: What is said about any of them.

        Raises:
            PatchHubError: As `add_patch`.
        """
        from patchhub_registry.patching import patches as wanted

        return self._add(wanted(patches, statements))

    def add_statements(self, statements: Sequence[Statement]) -> None:
        """Add statements in one commit; those that are there already are skipped.

        Raises:
            IntegrityError: E116, one is not canonical JSON.
        """
        from patchhub_registry import additions

        self._add(additions.statements(statements))

    def add_policy(self, data: bytes) -> int:
        """Add the next version of the policy; the same bytes again change nothing.

        Raises:
            InvalidInputError: E146, not TOML.
        """
        from patchhub_registry import additions

        return self._add(additions.policy(data))
