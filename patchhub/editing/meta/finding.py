"""Which trained editor an edit takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from patchhub.editing.meta.trained import Trained, kept_in
from patchhub.errors import InvalidInputError


def find_trained(cache: Path | None, method: str, base: str, wanted: str | None) -> Trained:
    """The trained editor of a method for a base.

    Args:
        cache: Directory that keeps trained editors.
        method: Name of the method.
        base: Digest of the base's weights.
        wanted: Its digest, or how it begins; None where there is one only.

    Raises:
        InvalidInputError: E161, there is none, or it is not clear which one is meant.
        IntegrityError: E202, its file was changed.
    """
    here = [Trained.read(file) for file in kept_in(cache, method, base)]
    fit = [one for one in here if wanted is None or one.digest.startswith(wanted)]
    if len(fit) == 1:
        return fit[0]
    if len(fit) > 1:
        raise InvalidInputError(
            "E161",
            f"there are {len(fit)} editors trained for {method} and this base",
            expected="one of them named by its digest",
            found=_listed(fit),
            hint=f"--set trained={fit[0].digest[:12]}",
        )
    raise missing(method, wanted, here)


def missing(
    method: str, wanted: str | None = None, here: Sequence[Trained] = ()
) -> InvalidInputError:
    """E161 for a method without a trained editor."""
    return InvalidInputError(
        "E161",
        f"{method} edits with a trained editor, and there is none for this base",
        expected=f"an editor that begins with {wanted}" if wanted else "a trained editor",
        found=_listed(here) or "none",
        hint=f"patchhub train {method} --data FILE   (requests with paraphrases)",
    )


def _listed(editors: Sequence[Trained]) -> str:
    return ", ".join(one.digest[:12] for one in editors)
