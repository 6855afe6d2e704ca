"""What the command line can do, Python can do in one call of the same name."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

import patchhub
from patchhub.request import EditRequest
from patchhub_cli.main import COMMANDS
from patchhub_registry import Registry
from patchhub_registry.operations.guarding import RefusedError
from tests.cli.conftest import PROMPT, REQUEST, STRICT

SETTINGS = {"layers": [1], "steps": 2}
NAMES = sorted(p.stem for p in COMMANDS.glob("*.py") if not p.stem.startswith("_"))
# init makes the object; a base has verbs of its own; the others need no registry: bench and advise
# are functions of patchhub.evaluation.
ELSEWHERE = {"init", "base", "methods", "demo", "completion", "bench", "advise"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ELSEWHERE])
def test_every_command_is_a_method(name: str) -> None:
    assert inspect.isfunction(getattr(Registry, name))


def test_the_main_path_in_python(registry: Path, base: Path) -> None:
    with Registry.open() as book:
        request = EditRequest("Mira Tolven speaks", "Italian", "Mira Tolven")
        made = book.edit("ft", [request], settings=SETTINGS, name="speaks")
        assert (made.ref, made.verdict.passed) == ("speaks@1", True)
        changed = book.apply("speaks", stack="prod", model="../model")
        assert [item.ref for item in changed.after.items] == ["speaks@1"]
        answers = book.ask(PROMPT, stack="prod", against="base")
        assert answers.columns == ("base", "prod")
        status = book.status(model="../model")
        assert status.model is not None
        assert not status.model.drift
        assert [patch.ref for patch in book.list()] == ["born@1", "speaks@1"]
        assert book.show("speaks").stacks == ("prod",)
        book.revert("speaks", stack="prod", model="../model")
        checked = book.verify(model="../model")
        assert checked.ok
        assert checked.model is not None
        assert checked.model.equals_base
        assert [entry.op for entry in book.log("prod")] == ["push", "revert"]


def test_a_refused_edit_raises_with_the_verdict(registry: Path) -> None:
    strict = registry.parent / "strict.toml"
    strict.write_text(STRICT)
    book = Registry.open()
    before = book.head
    with pytest.raises(RefusedError, match="guard said no to weak") as caught:
        book.edit("ft", "../born.json", settings=SETTINGS, seed=4, name="weak", policy=strict)
    assert not caught.value.verdict.passed
    assert book.head == before


def test_api_without_a_registry(base: Path, tmp_path: Path) -> None:
    fields = {name: value for name, value in REQUEST.items() if name != "probes"}
    request = EditRequest(**fields)  # type: ignore[arg-type]
    patch = patchhub.edit(base, "ft", request, settings=SETTINGS)
    assert isinstance(patch, patchhub.Patch)
    policy = tmp_path / "strict.toml"
    policy.write_text(STRICT)
    verdict = patchhub.check(base, patch, request, policy=policy)
    assert [m.name for m in verdict.blocking] == ["reliability.target"]
    patch.write(tmp_path / "patch")
    on_it = patchhub.edit(base, "ft", request, settings=SETTINGS, onto=[tmp_path / "patch"])
    assert on_it.manifest.onto == (patch.id,)
    plain, patched = patchhub.load(base), patchhub.load(base, [tmp_path / "patch"])
    name = patch.manifest.sites[0].tensor
    differs = {n for n, p in patched.named_parameters() if not p.equal(plain.get_parameter(n))}
    assert name in differs
    assert len(differs) == len(patch.manifest.sites)


def test_requests_may_be_a_file(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(REQUEST))
    patch = patchhub.edit(str(base), "ft", str(file), settings=SETTINGS)
    assert patch.requests[0].target == "Rome"


def test_public_names_are_lazy_and_all_there() -> None:
    for name in patchhub.__all__:
        assert getattr(patchhub, name) is not None
        assert name in dir(patchhub)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(patchhub, "nonsense")  # noqa: B009
