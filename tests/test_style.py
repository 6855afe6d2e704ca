"""House rules that a machine can keep: sizes, and which names may not be used where."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("patchhub", "registry/patchhub_registry", "cli/patchhub_cli")
SOURCES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
FILE_LINES = 300
METHOD_LINES = 150
FUNCTION_LINES = 40


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body
    if ast.get_docstring(node) is not None:
        body = body[1:]
    if not body:
        return 0
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    limit = METHOD_LINES if "methods" in path.parts else FILE_LINES
    assert text.count("\n") <= limit
    long = {
        node.name: _body_lines(node)
        for node in _functions(ast.parse(text))
        if _body_lines(node) > FUNCTION_LINES
    }
    assert long == {}


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_user_errors_are_never_asserts(path: Path) -> None:
    asserts = [n.lineno for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Assert)]
    assert asserts == []


def test_method_names_are_known_to_their_files_only() -> None:
    names = {p.stem for p in (ROOT / "patchhub/methods").glob("*.py")} - {"__init__"}
    assert names >= {"rome", "r_rome", "ft"}
    outside = [p for p in SOURCES if "methods" not in p.parts and "sandbox" not in p.parts]
    for path in outside:
        words = {
            n.value
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Constant) and isinstance(n.value, str)
        }
        if path.name == "demo.py":
            continue  # the demo names the method it shows
        assert not words & names, f"{_name(path)} asks for a method by name"
