"""Plugins that are broken: named when they are used, in nobody's way otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from patchhub.editing.catalog import METHODS, describe, editor_names, load_editor
from patchhub.errors import InvalidInputError, NotFoundError
from tests.plugins.conftest import distribution

GOOD = """\
from dataclasses import dataclass
from patchhub.manifest import Kind

@dataclass(frozen=True)
class Settings:
    steps: int = 1

class Editor:
    name, version, summary, reference = "{name}", 1, "none", "none"
    kind, needs, hparams = Kind.DENSE, frozenset(), Settings
    def moment_layers(self, base, hparams):
        return ()
    def edit(self, context, requests, hparams):
        raise NotImplementedError

EDITOR = Editor()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def fault(name: str) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as error:
        load_editor(name)
    assert error.value.code == "E153"
    return error.value


def test_one_that_is_as_it_should_be(folder: Path) -> None:
    source = GOOD.format(name="plain")
    distribution(folder, "some-plain", "plain_1", source, "plain = plain_1")
    assert "plain" in editor_names()
    assert load_editor("plain").name == "plain"
    plugin = METHODS.plugin("plain")
    assert plugin is not None
    assert (plugin.distribution, plugin.version, plugin.fault) == ("some-plain", "1.0", None)
    assert METHODS.plugin("rome") is None


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import nothing_of_that_name\n", "ModuleNotFoundError"),
        ("def broken(:\n", "SyntaxError"),
        ("raise RuntimeError('at import')\n", "RuntimeError: at import"),
        ("", "without it"),
        ("EDITOR = None\n", "without it"),
        (GOOD.format(name="other"), "name is 'other', not 'bad'"),
        (GOOD.format(name="bad").replace(", 1,", ", 0,"), "version is 0"),
        (GOOD.format(name="bad").replace("Kind.DENSE", "'dense'"), "kind is 'dense'"),
        (GOOD.format(name="bad").replace("frozenset()", "{'luck'}"), "needs is not"),
        (GOOD.format(name="bad").replace("frozenset()", "frozenset({'luck'})"), "needs is not"),
        (GOOD.format(name="bad").replace("(frozen=True)", ""), "not a frozen dataclass"),
        (GOOD.format(name="bad").replace("int = 1", "int"), "field without default"),
        (GOOD.format(name="bad").replace("steps:", "profile:"), "has a field profile"),
        (GOOD.format(name="bad").replace("requests, ", ""), "edit(context, requests, hparams)"),
        (
            GOOD.format(name="bad").replace("moment_layers", "layers"),
            "moment_layers(base, hparams)",
        ),
    ],
)
def test_faults_are_named_with_who_brought_them(
    folder: Path, request: pytest.FixtureRequest, source: str, found: str
) -> None:
    module = f"bad_{abs(hash(request.node.name)) % 10**8}"
    distribution(folder, "some-bad", module, source, f"bad = {module}")
    error = fault("bad")
    assert error.found is not None
    assert found in error.found
    assert error.hint == "it is brought by some-bad 1.0"
    assert error.data == {"plugin": "some-bad"}
    assert "bad" in editor_names()
    assert "rome" in {editor.name for editor in describe()}


def test_a_module_that_is_not_there(folder: Path) -> None:
    distribution(folder, "some-gone", "present", "", "gone = absent_module")
    assert fault("gone").expected == "module absent_module to be importable"


def test_a_name_of_the_house_stays_the_house_s(folder: Path) -> None:
    distribution(folder, "some-rome", "rome_1", GOOD.format(name="rome"), "rome = rome_1")
    assert "arXiv" in load_editor("rome").reference
    (plugin,) = (p for p in METHODS.plugins() if p.name == "rome")
    assert plugin.fault == "PatchHub has a method of that name, which is the one used"
    assert editor_names().count("rome") == 1


def test_auto_is_nobody_s_name(folder: Path) -> None:
    distribution(folder, "some-auto", "auto_1", GOOD.format(name="auto"), "auto = auto_1")
    assert "auto" not in editor_names()
    with pytest.raises(NotFoundError, match="E141"):
        load_editor("auto")
    (plugin,) = (p for p in METHODS.plugins() if p.name == "auto")
    assert plugin.fault is not None
    assert plugin.fault.startswith("the name is taken: `patchhub edit auto`")


def test_a_name_that_two_bring_is_nobody_s(folder: Path) -> None:
    for number in (1, 2):
        source = GOOD.format(name="twice")
        distribution(folder, f"some-{number}", f"twice_{number}", source, f"twice = twice_{number}")
    assert fault("twice").found == "brought by some-1 and by some-2"
    faults = {p.distribution: p.fault for p in METHODS.plugins() if p.name == "twice"}
    assert set(faults) == {"some-1", "some-2"}
    assert all(faults.values())


@dataclass(frozen=True)
class _Check:
    name: str = "odd"
    version: int = 1
    summary: str = ""
    measures: tuple[str, ...] = ()

    def wants(self) -> None: ...


def test_checks_are_held_against_their_contract(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from patchhub.guard.catalog import load_check

    source = "from tests.plugins.test_broken import _Check\nCHECK = _Check()\n"
    distribution(folder, "some-odd", "odd_check", source, "[patchhub.checks]", "odd = odd_check")
    with pytest.raises(InvalidInputError) as error:
        load_check("odd")
    assert error.value.code == "E153"
    assert error.value.found == "measures is not a tuple of names; find cannot be called"


def test_the_list_of_methods_shows_them(folder: Path) -> None:
    from click.testing import CliRunner

    from patchhub_cli.main import main

    distribution(folder, "some-ft", "ft_1", GOOD.format(name="ft"), "ft = ft_1")
    result = CliRunner().invoke(main, ["methods"])
    assert result.exit_code == 0, result.output
    assert "some-ft 1.0" in result.stdout
    assert "broken: PatchHub has a method of that name" in result.stdout
