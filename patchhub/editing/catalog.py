"""Which methods there are, without importing any: file names for ours, entry points for others."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from patchhub.editing.editor import Editor

GROUP = "patchhub.editors"
_METHODS = Path(__file__).parent.parent / "methods"


def editor_names() -> tuple[str, ...]:
    """Names of all methods, sorted; imports none of them."""
    return tuple(sorted({*_own(), *_foreign()}))


def load_editor(name: str) -> Editor:
    """The method called ``name``.

    Raises:
        NotFoundError: E141, there is none.
        InvalidInputError: E141, a plugin does not hold what its entry point promises.
    """
    if name in _own():
        module = import_module(f"patchhub.methods.{name}")
    elif name in _foreign():
        module = _foreign()[name].load()
    else:
        known = editor_names()
        near = get_close_matches(name, known, n=1)
        raise NotFoundError(
            "E141",
            f"there is no method {name!r}",
            expected=", ".join(known),
            found=name,
            hint=f"did you mean {near[0]}?" if near else "`patchhub methods` lists them",
        )
    editor: Editor | None = getattr(module, "EDITOR", None)
    if editor is None or getattr(editor, "name", None) != name:
        raise InvalidInputError(
            "E141",
            f"the plugin behind {name!r} is not an editor of that name",
            expected=f"a module with EDITOR, whose name is {name!r}",
            found=None if editor is None else getattr(editor, "name", type(editor).__name__),
        )
    return editor


def describe() -> tuple[Editor, ...]:
    """All methods, loaded, in the order of their names; for tables."""
    return tuple(load_editor(name) for name in editor_names())


def _own() -> tuple[str, ...]:
    return tuple(
        path.stem
        for path in _METHODS.iterdir()
        if not path.name.startswith("_")
        and (path.suffix == ".py" or (path / "__init__.py").is_file())
    )


def _foreign() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
