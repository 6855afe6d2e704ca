import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchhub import errors
from patchhub.errors import CODES, PatchHubError

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for package in ("patchhub", "registry/patchhub_registry", "cli/patchhub_cli")
    for path in sorted((ROOT / package).rglob("*.py"))
]
FAMILY = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, PatchHubError)
}


def calls() -> Iterator[tuple[str, str, str]]:
    """Class, code and place of every error that is made with a literal code."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                first = node.args[0]
                if name in FAMILY and isinstance(first, ast.Constant):
                    yield name, str(first.value), f"{path.name}:{node.lineno}"


def test_every_code_in_the_sources_is_in_the_table_and_the_other_way_round() -> None:
    used = {
        node.value
        for path in SOURCES
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    codes = {text for text in used if re.fullmatch(r"E\d{3}", text)}
    assert codes == CODES.keys()


def test_exit_statuses_follow_the_hundreds_of_the_codes() -> None:
    allowed = {"E155": {1, 9}, "E2": {5}, "E3": {4}, "E4": {3, 5, 8, 9}, "E5": {6}, "E7": {1}}
    wrong = [
        (code, name, place)
        for name, code, place in calls()
        if FAMILY[name].exit not in allowed.get(code, allowed.get(code[:2], {5, 7, 9, 4}))
    ]
    assert wrong == []


def test_exit_statuses_are_those_of_the_design() -> None:
    assert {name: kind.exit for name, kind in FAMILY.items()} == {
        "PatchHubError": 1,
        "GuardRefusedError": 3,
        "ConflictError": 4,
        "IntegrityError": 5,
        "BusyError": 6,
        "NotFoundError": 7,
        "DeniedError": 8,
        "InvalidInputError": 9,
    }


@pytest.mark.parametrize("kind", FAMILY.values())
def test_a_message_says_what_expected_found_and_hint(kind: type[PatchHubError]) -> None:
    error = kind("E101", "no name", expected="a-z", found="Ä", hint="rename it", field="name")
    assert str(error).splitlines() == [
        "error[E101] no name",
        "  expected  a-z",
        "  found     Ä",
        "  hint      rename it",
    ]
    assert error.data == {"field": "name"}
    assert isinstance(error, PatchHubError)
    assert str(kind("E101", "no name")) == "error[E101] no name"


def test_numbers_are_shown_as_text() -> None:
    error = PatchHubError("E101", "x", expected=0, found=[1, 2])
    assert (error.expected, error.found) == ("0", "[1, 2]")


def test_a_message_stays_readable_whatever_a_file_holds() -> None:
    error = PatchHubError("E113", "a" * 10_000, expected="b" * 10_000, found=["c" * 10_000])
    text = str(error)
    assert len(text) < 3000
    assert "(10,000 characters)" in text
    assert "error[E113]" in text
