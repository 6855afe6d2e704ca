from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor, settings_of
from patchhub.editing.prepare import prepare_context
from patchhub.errors import InvalidInputError
from patchhub.loading import load_base
from patchhub.request import EditRequest
from tests.engine.editing.support import AT_END, REQUEST, TEXTS, pico_base
from tests.pico import pico_directory


def test_only_what_is_needed_is_computed() -> None:
    base = pico_base("gpt2")
    context = prepare_context(base, load_editor("ft"), [REQUEST], seed=3)
    assert context.templates is None
    assert context.moments is None
    assert context.seed == 3


def test_settings_choose_the_blocks_and_no_settings_mean_all() -> None:
    base, editor = pico_base("llama"), load_editor("rome")
    one = prepare_context(base, editor, [REQUEST], seed=0, settings={"layer": 1}, corpus=TEXTS)
    every = prepare_context(base, editor, [REQUEST], seed=0, corpus=TEXTS)
    none = prepare_context(
        base, editor, [REQUEST], seed=0, settings={"layer": 1, "covariance": False}
    )
    assert one.moments is not None
    assert every.moments is not None
    assert one.moments.layers == (1,)
    assert every.moments.layers == (0, 1)
    assert one.moments.digest([1]) == every.moments.digest([1])
    assert none.moments is None


def test_a_cache_changes_nothing_but_time(tmp_path: Path) -> None:
    base, editor = pico_base("gpt2"), load_editor("rome")
    ids = set()
    for cache in (None, tmp_path, tmp_path):
        context = prepare_context(
            base, editor, [REQUEST], seed=1, settings={"layer": 0}, moments_cache=cache
        )
        ids.add(run_editor(editor, context, [REQUEST], {"layer": 0}).id)
    assert len(ids) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_progress_is_reported() -> None:
    phases: list[str] = []
    base, editor = pico_base("gpt2"), load_editor("rome")
    context = prepare_context(
        base,
        editor,
        [REQUEST],
        seed=1,
        settings={"layer": 0},
        corpus=TEXTS,
        progress=lambda phase, done, total: phases.append(phase),
    )
    run_editor(editor, context, [REQUEST], {"layer": 0})
    assert set(phases) == {"statistics, texts", "edit"}


def test_nothing_is_computed_for_requests_that_will_be_refused() -> None:
    unreadable = (str(1 // 0) for _ in range(1))
    request = EditRequest(prompt="Mira was born in", target="Rome")
    with pytest.raises(InvalidInputError) as error:
        prepare_context(
            pico_base("gpt2"), load_editor("rome"), [request], seed=0, corpus=unreadable
        )
    assert error.value.code == "E134"


@pytest.mark.parametrize("seed", [-1, 2**53, 2**70])
def test_a_seed_that_no_manifest_can_hold_is_refused_first(seed: int) -> None:
    unreadable = (str(1 // 0) for _ in range(1))
    with pytest.raises(InvalidInputError, match="seed") as error:
        prepare_context(
            pico_base("gpt2"), load_editor("rome"), [REQUEST], seed=seed, corpus=unreadable
        )
    assert error.value.code == "E142"


def test_the_generator_is_seeded_and_the_global_one_left_alone() -> None:
    base, editor = pico_base("gpt2"), load_editor("rome")
    state = torch.get_rng_state()
    contexts = [
        prepare_context(base, editor, [REQUEST], seed=s, settings={"layer": 0}, corpus=TEXTS)
        for s in (1, 1, 2)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    texts = [c.templates.texts for c in contexts if c.templates is not None]
    assert texts[0] == texts[1] != texts[2]


def test_a_checkpoint_may_recommend_settings() -> None:
    base, editor = pico_base("gpt2"), load_editor("rome")
    base.model.config.patchhub = {"edit_layer": 1, "settings": {"rome": {"lr": 0.1, "steps": 5}}}
    try:
        found = settings_of(editor, base, {"steps": 7})
        context = prepare_context(base, editor, [AT_END], seed=0, settings={}, corpus=TEXTS)
        record = run_editor(editor, context, [AT_END]).manifest.method.hparams
        other = settings_of(load_editor("ft"), base, None)
    finally:
        del base.model.config.patchhub
    assert (found.lr, found.steps, found.kl) == (0.1, 7, 0.0625)
    assert (record["lr"], record["steps"], record["layer"]) == ("0.1", 5, 1)
    assert other == load_editor("ft").hparams()
    assert settings_of(editor, base, None).lr == 0.5


def test_statistics_of_another_base_are_refused(tmp_path: Path) -> None:
    """Given by hand, of a model of the same shapes."""
    rome = load_editor("rome")
    base, other = pico_base("llama"), load_base(pico_directory(tmp_path, "llama", seed=1))
    context = prepare_context(base, rome, [REQUEST], seed=0, settings={"layer": 0}, corpus=TEXTS)
    foreign = prepare_context(other, rome, [REQUEST], seed=0, settings={"layer": 0}, corpus=TEXTS)
    wrong = replace(context, moments=foreign.moments)
    with pytest.raises(InvalidInputError, match="of another base") as caught:
        run_editor(rome, wrong, [REQUEST], {"layer": 0})
    assert caught.value.code == "E145"
    assert caught.value.found == f"weights {other.fingerprint.weights}"
    run_editor(rome, wrong, [REQUEST], {"layer": 0, "covariance": False})
