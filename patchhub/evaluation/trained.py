"""Trained editors in experiments: which one is meant, and that it was not trained on what is asked.

A bench trains none: what it measures of such a method is what edits will be made with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from patchhub.editing.editor import TRAINED, Editor
from patchhub.editing.meta.finding import find_trained
from patchhub.errors import InvalidInputError
from patchhub.request import EditRequest


def named(
    editor: Editor,
    settings: Any,
    directory: Path | None,
    weights: str,
    asked: Sequence[EditRequest],
) -> Any:
    """The settings with the trained editor's whole digest, so that jobs depend on it.

    Args:
        editor: A method; of one that is not trained the settings stay as they are.
        settings: Of the method.
        directory: Of trained editors; None where none were given, which the first job will say.
        weights: Digest of the base's.
        asked: What is to be edited.

    Raises:
        InvalidInputError: E161, there is none, or it is not clear which one is meant, or it was
            trained on some of what is asked.
    """
    if TRAINED not in editor.needs or directory is None:
        return settings
    found = find_trained(directory, editor.name, weights, settings.trained)
    known = sum(map(found.knows, asked))
    if known:
        raise InvalidInputError(
            "E161",
            "the trained editor has seen what it is asked here",
            expected="training on other questions",
            found=f"{known} of {len(asked)} requests among its examples",
            hint=f"patchhub train {editor.name} --data … --skip {len(asked)}",
        )
    return replace(settings, trained=found.digest)


def bring(editor: Editor, settings: Any, directory: str, weights: str, cache: Path) -> None:
    """Put the trained editor of a method, if it has one, where its edits look for it.

    Raises:
        InvalidInputError: E161, it is not there any more.
    """
    if TRAINED in editor.needs and directory:
        find_trained(Path(directory), editor.name, weights, settings.trained).write(cache)
