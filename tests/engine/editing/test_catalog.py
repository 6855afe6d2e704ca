from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import patchhub.methods
from patchhub.editing.catalog import describe, editor_names, load_editor
from patchhub.editing.editor import NEEDS
from patchhub.errors import NotFoundError

METHODS = Path(str(patchhub.methods.__file__)).parent


def test_the_house_brings_these() -> None:
    assert {"ft", "r_rome", "rome"} <= set(editor_names())
    assert list(editor_names()) == sorted(editor_names())


def test_listing_imports_neither_torch_nor_methods() -> None:
    code = (
        "import sys; from patchhub.editing.catalog import editor_names; names = editor_names();"
        "bad = [m for m in sys.modules if m == 'torch' or m.startswith('patchhub.methods.')];"
        "print(len(names), bad)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split(maxsplit=1)[1].strip() == "[]"
    assert int(run.stdout.split()[0]) >= 3


def test_every_editor_describes_itself() -> None:
    for editor in describe():
        assert editor.name in editor_names()
        assert editor.version >= 1
        assert editor.summary
        assert "arXiv" in editor.reference
        assert editor.needs <= NEEDS
        editor.hparams()


def test_methods_do_not_know_each_other() -> None:
    names = {path.stem for path in METHODS.glob("*.py")}
    for path in METHODS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "patchhub.methods"
                assert not str(node.module).startswith("patchhub.methods.")
    assert "rome" in names


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(NotFoundError) as error:
        load_editor("romme")
    assert error.value.code == "E141"
    assert error.value.hint == "did you mean rome?"
