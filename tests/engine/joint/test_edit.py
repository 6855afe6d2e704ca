"""Edits made one by one are the edits made at once, byte for byte; one taken back never was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import patchhub
from patchhub.composer.composer import Composer
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.joint import JointEditor, key_value_editor
from patchhub.editing.joint import form as form_module
from patchhub.editing.joint.solver import JointSolver
from patchhub.editing.keyvalue.keyvalues import KeyValues
from patchhub.editing.passes.trace import unwrap
from patchhub.editing.targets import find_targets
from patchhub.editing.wording.templates import BARE
from patchhub.edits import LeftOutWarning
from patchhub.errors import InvalidInputError
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import module_of
from tests.engine.joint.support import (
    BORN,
    CAPITAL,
    COMPANY,
    LIVES,
    MAYOR,
    ROME,
    SETTINGS,
    SINGLE,
    Spread,
    SpreadSettings,
    context,
    joint,
    request,
)
from tests.pico import pico_directory
from tests.reference import joint_reference

MET = request("Today we met Mira Tolven", "in Rome", "Mira Tolven")
ALONE = tuple(request(word, "Rome", word) for word in ("Mira", "Jon", "The"))
"""A subject of one token and nothing else."""


@cache
def batch(*requests: EditRequest, family: str = "gpt2") -> Patch:
    return joint(context(family), requests)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every target that is looked for."""
    rows: list[int] = []

    def counted(model: object, arch: object, wanted: list[object], *args: object, **more: object):  # type: ignore[no-untyped-def]
        rows.extend(len(one.rows) for one in wanted)  # type: ignore[attr-defined]
        return find_targets(model, arch, wanted, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(form_module, "find_targets", counted)
    return rows


def same_bytes(one: Patch, other: Patch) -> bool:
    """All files but the manifest, and of that all but what it stands for."""
    there, here = one.files(), other.files()
    del there["patch.json"], here["patch.json"]
    return (
        there == here
        and replace(one.manifest, supersedes=()).id == replace(other.manifest, supersedes=()).id
    )


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_one_at_a_time_is_all_at_once(family: str, searches: list[int]) -> None:
    at_once = batch(*SINGLE, family=family)
    searches.clear()
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        made = [joint(context(family), [SINGLE[order[0]]])]
        for count in (2, 3, 4):
            asked = [SINGLE[i] for i in order[:count]]
            made.append(joint(context(family), asked, made[-1]))
        assert same_bytes(made[-1], at_once)
        assert [one.manifest.supersedes for one in made[1:]] == [(one.id,) for one in made[:-1]]
    assert len(searches) == 8  # one target per edit
    assert not any(same_bytes(one, other) for one, other in pairwise(made))


def test_what_was_taken_back_never_was(searches: list[int]) -> None:
    whole, rest = batch(*SINGLE), SINGLE[:1] + SINGLE[2:]
    never = joint(context(), rest)
    searches.clear()
    dropped = joint(context(), rest, whole)
    assert searches == []
    assert same_bytes(dropped, never)


def test_another_fact_on_a_subject_makes_its_target_anew_and_no_other(searches: list[int]) -> None:
    before, at_once = batch(BORN, MAYOR), batch(BORN, LIVES, MAYOR)
    searches.clear()
    made = joint(context(), [BORN, MAYOR, LIVES], before)
    assert searches == [8]  # both prompts in four contexts
    assert same_bytes(made, at_once)
    (site,) = made.manifest.sites
    assert site.rank == 2
    known = KeyValues.from_state(made)
    assert known is not None
    assert sorted(map(len, known.members())) == [1, 2]
    assert same_bytes(joint(context(), [BORN, MAYOR], made), before)


@dataclass(frozen=True, eq=False)
class Known:
    name: str
    keys: dict[int, torch.Tensor]
    shares: dict[int, torch.Tensor]


def test_the_update_is_the_dense_solution_for_what_it_remembers() -> None:
    given, chosen = context(), SpreadSettings()
    assert given.moments is not None
    made = joint(given, [MAYOR, MET, *ALONE], editor=Spread(), settings=chosen)
    known = KeyValues.from_state(made)
    assert known is not None
    keys = [known.keys[n].double().T for n in (0, 1)]
    shares = [known.shares[n].double().T for n in (0, 1)]
    moments = [given.moments.second(n) for n in (0, 1)]
    wanted = joint_reference.solve(keys, shares, moments, chosen.ridge, [0.5, 1.0])
    entries = [
        Known(str(n), {i: keys[i][:, n] for i in (0, 1)}, {i: shares[i][:, n] for i in (0, 1)})
        for n in range(len(known.residuals))
    ]
    solved = JointSolver(Spread().joint(given, chosen).formula, entries).solve()
    for site, dense, (rows, residual) in zip(
        made.manifest.sites, wanted, solved.values(), strict=True
    ):
        assert float((residual @ rows.T - dense).norm()) < 1e-9 * float(dense.norm())
        roles = made.payload[site.tensor]  # float32 factors
        stored = roles["B"].double() @ roles["A"].double()
        assert float((stored - dense).norm()) < 1e-6 * float(dense.norm())


def test_the_methods_own_patches_give_their_targets(searches: list[int]) -> None:
    singles = [run_editor(ROME, context(), [one], SETTINGS) for one in (BORN, MAYOR)]
    wanted = batch(BORN, MAYOR)
    searches.clear()
    assert same_bytes(joint(context(), [BORN, MAYOR], *singles), wanted)
    assert searches == []
    both = run_editor(ROME, context(), [BORN, MAYOR], SETTINGS)  # the second on top of the first
    assert same_bytes(joint(context(), [BORN, MAYOR], both), wanted)
    assert len(searches) == 1


def test_targets_that_would_not_be_found_so_again_are_found_again(searches: list[int]) -> None:
    one = run_editor(ROME, context(), [BORN], SETTINGS)
    with Composer.over(context().base).applied(one):
        on_top = run_editor(ROME, replace(context(), below=(one,)), [MAYOR], SETTINGS)
    other_settings = run_editor(ROME, context(), [CAPITAL], SETTINGS | {"lr": 0.4})
    other_templates = run_editor(ROME, replace(context(), templates=BARE), [COMPANY], SETTINGS)
    wanted = batch(MAYOR, CAPITAL, COMPANY)
    searches.clear()
    earlier = (on_top, other_settings, other_templates)
    assert same_bytes(joint(context(), [MAYOR, CAPITAL, COMPANY], *earlier), wanted)
    assert len(searches) == 3


def test_it_is_done_on_the_bare_base_by_methods_that_can() -> None:
    one = batch(BORN)
    with pytest.raises(InvalidInputError, match="E142"):
        run_editor(JointEditor(ROME), replace(context(), below=(one,)), [MAYOR], SETTINGS)
    with pytest.raises(InvalidInputError, match="E142"):
        key_value_editor(load_editor("ft"))


def test_in_python_too(tmp_path: Path) -> None:
    base, settings = pico_directory(tmp_path, "gpt2"), {"layer": 0, "steps": 3, "covariance": False}
    kept: list[Patch] = []
    for one in (BORN, MAYOR):
        made = patchhub.edit(base, "rome", one, mode="joint", onto=kept[-1:], settings=settings)
        kept.append(made)
    at_once = patchhub.edit(base, "rome", [MAYOR, BORN], mode="joint", settings=settings)
    assert same_bytes(kept[-1], at_once)
    assert kept[-1].manifest.supersedes == (kept[0].id,)
    other = replace(BORN, target="Oslo")
    last = patchhub.edit(base, "rome", other, mode="joint", onto=kept[-1:], settings=settings)
    assert set(last.requests) == {other, MAYOR}


def test_in_python_settings_are_taken_over_and_no_earlier_edit_is_lost(tmp_path: Path) -> None:
    base, settings = pico_directory(tmp_path, "gpt2"), {"layer": 0, "steps": 3, "covariance": False}
    first = patchhub.edit(base, "rome", BORN, mode="joint", settings=settings, seed=3)
    more = patchhub.edit(base, "rome", MAYOR, mode="joint", onto=[first])
    one, other = first.manifest.method, more.manifest.method
    assert (one.hparams, one.seed, one.templates) == (other.hparams, other.seed, other.templates)
    long = replace(BORN, prompt="Jon is " * 60 + BORN.prompt, target="Oslo")  # in BORN's place
    with pytest.warns(LeftOutWarning, match="longer than the model"):
        kept = patchhub.edit(base, "rome", [long, CAPITAL], mode="joint", onto=[first])
    assert set(kept.requests) == {BORN, CAPITAL}


def test_a_record_says_that_it_was_joint() -> None:
    record = batch(BORN).manifest.method
    assert (record.name, record.hparams["joint"], record.hparams["layer"]) == ("rome", True, 0)
    assert record.templates
    assert record.moments


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
def test_shares_of_several_blocks_add_up_to_the_target(family: str) -> None:
    """Where nothing but the lookup is there and there is no ridge, the model ends up at z."""
    given = replace(context(family), templates=BARE)
    base = given.base
    made = joint(
        given, ALONE, editor=Spread(), settings=SpreadSettings(ridge=1e-9, clamp=2.0, steps=4)
    )
    assert len(made.manifest.sites) == 2
    known = KeyValues.from_state(made)
    assert known is not None
    block = module_of(base.model, base.arch.path("block", 1, base.model))

    def output(word: str) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        handle = block.register_forward_hook(lambda m, a, o: seen.append(unwrap(o)))
        base.model(input_ids=torch.tensor([base.tokenizer(word)["input_ids"]]))
        handle.remove()
        return seen[0].reshape(-1, seen[0].shape[-1])[-1].clone()

    before = {one: output(one.prompt) for one in made.requests}
    rows = dict(zip(made.requests, known.groups or range(3), strict=True))
    with Composer.over(base).applied(made):
        for one in made.requests:
            moved, wanted = output(one.prompt) - before[one], known.residuals[rows[one]]
            assert float((moved - wanted).norm()) < 1e-3 * float(wanted.norm())
