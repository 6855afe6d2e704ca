"""The loop that trains editors: what ends it, what stays, and that a kill changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from patchhub.composer.composer import Composer
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import EditContext, run_editor
from patchhub.editing.meta import loop, train
from patchhub.editing.meta.learner import TrainingSettings
from patchhub.editing.meta.loop import Course, Keeper, copied, descend
from patchhub.editing.meta.material import Material
from patchhub.editing.meta.train import train_editor
from patchhub.editing.meta.trained import Trained
from patchhub.editing.prepare import prepare_context
from patchhub.editing.training.labels import LabelledBatch, labelled
from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.request import EditRequest
from tests.engine.editing.support import MIDDLE, REQUEST, pico_base
from tests.engine.meta import LESSONS, TINY, lesson

EDITOR = load_editor("mend")


@dataclass(eq=False)
class Scripted:
    """Counts its steps in its only weight; held-out losses come from a list."""

    losses: list[float]
    network: nn.Module = field(default_factory=lambda: nn.Linear(1, 1, bias=False).double())
    groups: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        nn.init.zeros_(self.network.weight)  # type: ignore[arg-type]
        self.groups = [{"params": [self.network.weight], "lr": 1.0}]

    def step(self, examples: Sequence[EditRequest], generator: torch.Generator) -> float:
        self.network.weight.grad = -torch.ones(1, 1, dtype=torch.float64)
        return 0.0

    def measure(self) -> float:
        return self.losses.pop(0)


def material() -> Material:
    return Material.of(pico_base("gpt2"), LESSONS, 1, 0)


@pytest.mark.parametrize(
    ("losses", "patience", "steps", "best"),
    [
        ([3.0, 1.0, 2.0, 1.0, 0.5], 4, 8, 4),  # an equal one is no better one: it ends at 8
        ([3.0, 1.0, 2.0, 0.9, 2.0], 4, 10, 8),  # the last step there may be
        ([1.0, 2.0, 3.0, 4.0, 5.0], 2, 4, 2),
    ],
)
def test_it_ends_when_nothing_got_better_and_the_best_network_stays(
    losses: list[float], patience: int, steps: int, best: int
) -> None:
    learner = Scripted(list(losses))
    settings = TrainingSettings(steps=10, every=2, patience=patience, batch_size=1)
    course = descend(
        learner, material(), settings, seed=0, keeper=Keeper(None, ""), report=lambda *_: None
    )
    assert (course.step, course.best) == (steps, best)
    assert learner.network.state_dict()["weight"].item() == pytest.approx(best)
    assert len(course.history) == steps // 2


@pytest.mark.parametrize("broken_at", [1, 3, 5])
def test_killed_and_taken_up_it_gives_the_same_bits(
    broken_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**TINY, "steps": 6, "every": 2, "lr": 1e-3, "held": 1}
    base = pico_base("gpt2")
    whole = train_editor(base, EDITOR, LESSONS, settings=settings)
    monkeypatch.setattr(loop, "_EVERY", 0.0)
    monkeypatch.setattr(loop, "_SHARE", 0.0)
    seen: list[int] = []

    def watch(phase: str, done: int, total: int) -> None:
        seen.append(done)
        if done == broken_at and len(seen) == broken_at + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_editor(base, EDITOR, LESSONS, settings=settings, cache=tmp_path, progress=watch)
    assert [file.suffix for file in tmp_path.iterdir()] == [".part"]
    again = train_editor(base, EDITOR, LESSONS, settings=settings, cache=tmp_path, progress=watch)
    assert seen[broken_at + 1] == broken_at  # it went on, and did not begin anew
    assert again.digest == whole.digest
    (file,) = tmp_path.iterdir()
    assert Trained.read(file).digest == whole.digest
    seen.clear()
    known = train_editor(base, EDITOR, LESSONS, settings=settings, cache=tmp_path, progress=watch)
    assert (known.digest, seen) == (whole.digest, [])  # there already
    other = train_editor(base, EDITOR, LESSONS, settings=settings, seed=1)
    assert other.digest != whole.digest


def test_a_damaged_checkpoint_is_as_good_as_none(tmp_path: Path) -> None:
    whole = train_editor(pico_base("gpt2"), EDITOR, LESSONS, settings=TINY)
    (tmp_path / f"editor-{whole.key[:32]}.part").write_bytes(b"damaged")
    again = train_editor(pico_base("gpt2"), EDITOR, LESSONS, settings=TINY, cache=tmp_path)
    assert again.digest == whole.digest


@pytest.mark.parametrize("wrong", ["optimizer", "kept", "list"])
def test_a_checkpoint_that_fits_in_part_leaves_nothing_behind(wrong: str, tmp_path: Path) -> None:
    def run(keeper: Keeper) -> tuple[Course, nn.Module]:
        learner = Scripted([2.0, 1.0])
        settings = TrainingSettings(steps=4, every=2, patience=4, batch_size=1)
        course = descend(
            learner, material(), settings, seed=0, keeper=keeper, report=lambda *_: None
        )
        return course, learner.network

    fresh, network = run(Keeper(None, ""))
    state: Any = {"key": "right", **vars(fresh), "network": {"weight": torch.full((1, 1), 9.0)}}
    state["optimizer"] = torch.optim.Adam(network.parameters()).state_dict()
    if wrong == "optimizer":
        state["optimizer"]["param_groups"] *= 2
    if wrong == "kept":
        state["kept"] = {"other": torch.zeros(1)}
    file = tmp_path / "some.part"
    torch.save([1, 2] if wrong == "list" else state, file)
    course, again = run(Keeper(file, "right"))
    assert course.history == fresh.history
    assert torch.equal(copied(again)["weight"], copied(network)["weight"])


def test_the_key_holds_what_makes_ids_of_text_and_numbers_of_ids() -> None:
    base = pico_base("gpt2")
    settings = EDITOR.training()  # type: ignore[attr-defined]
    key = train.content_of(base, EDITOR, settings, "data", 0)
    print_ = base.fingerprint
    for name, marked in (
        ("tokenizer", replace(print_, tokenizer={"vocab.json": "0" * 64})),
        ("config", replace(print_, config="0" * 64)),
    ):
        changed = train.content_of(replace(base, fingerprint=marked), EDITOR, settings, "data", 0)
        assert {word for word in key if key[word] != changed[word]} == {name}
    assert key["libraries"] == {name: version(name) for name in ("torch", "transformers")}


def test_training_learns() -> None:
    trained = train_editor(
        pico_base("gpt2"),
        EDITOR,
        LESSONS,
        settings={**TINY, "steps": 30, "every": 5, "lr": 1e-4, "rate_lr": 1e-3, "batch_size": 4},
    )
    history: Any = trained.outcome["history"]
    losses = {step: float(loss) for step, loss in history}
    assert losses[int(str(trained.outcome["step"]))] < 0.85 * losses[5]
    assert trained.outcome["step"] == min(history, key=lambda one: float(one[1]))[0]


def test_an_encoder_decoder_learns_and_is_edited() -> None:
    base = pico_base("t5")
    trained = train_editor(base, EDITOR, LESSONS, settings=TINY)
    context = EditContext(base, torch.Generator(), 0, trained=trained)
    patch = run_editor(EDITOR, context, [REQUEST])
    assert all(site.tensor.startswith("decoder.") for site in patch.manifest.sites)
    row = LabelledBatch(base, [labelled(base, REQUEST)])
    before = row.run(row.every).logits
    with Composer.over(base).applied(patch):
        after = row.run(row.every)
    gain = (after.logits.log_softmax(-1) - before.log_softmax(-1)).gather(1, after.labels[:, None])
    assert float(gain.sum()) > 0.01


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path) -> None:
    base = pico_base("gpt2")
    plain = [REQUEST, MIDDLE, lesson(REQUEST, "Mira Tolven comes from")]
    with pytest.raises(InvalidInputError, match="paraphrases") as error:
        train_editor(base, EDITOR, plain)
    assert error.value.code == "E134"
    with pytest.raises(InvalidInputError, match="without training"):
        train_editor(base, load_editor("ft"), LESSONS)
    with pytest.raises(InvalidInputError) as diverged:
        train_editor(base, EDITOR, LESSONS, settings={**TINY, "rate": 1e30})
    assert diverged.value.code == "E148"


def test_an_edit_takes_the_editor_that_is_meant_or_none(tmp_path: Path) -> None:
    base, asked = pico_base("gpt2"), [REQUEST]
    one = train_editor(base, EDITOR, LESSONS, settings=TINY, cache=tmp_path)
    found = prepare_context(base, EDITOR, asked, seed=0, moments_cache=tmp_path)
    assert found.learned.digest == one.digest
    assert found.learned.knows(LESSONS[0])
    assert not found.learned.knows(replace(REQUEST, prompt="Jon Arvel was born in"))
    two = train_editor(base, EDITOR, LESSONS, settings=TINY, seed=1, cache=tmp_path)

    def refused(code: str, **given: Any) -> str:
        with pytest.raises(PatchHubError) as error:
            prepare_context(base, EDITOR, asked, seed=0, moments_cache=tmp_path, **given)
        assert error.value.code == code
        return str(error.value.found)

    assert one.digest[:12] in refused("E161")
    chosen = {"trained": two.digest[:9]}
    found = prepare_context(base, EDITOR, asked, seed=0, moments_cache=tmp_path, settings=chosen)
    assert found.learned.digest == two.digest
    assert one.digest[:12] in refused("E161", settings={"trained": "nothing"})
    other = EditContext(pico_base("llama"), torch.Generator(), 0, trained=one)
    with pytest.raises(InvalidInputError) as wrong:
        run_editor(EDITOR, other, asked)
    assert wrong.value.code == "E161"
    file = one.write(tmp_path)
    file.write_bytes(one.data[:-1] + bytes([one.data[-1] ^ 1]))
    refused("E202")


def test_a_request_of_its_own_format_and_the_split_follow_from_the_seed() -> None:
    base = pico_base("gpt2")
    one, two = Material.of(base, LESSONS, 9, 0), Material.of(base, LESSONS, 9, 0)
    assert (one.train, one.held) == (two.train, two.held)
    assert len(one.held) == 1 and set(one.train) | set(one.held) == set(LESSONS)  # noqa: PT018
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    drawn = [one.draw(one.train, 4, generator) for generator in generators]
    assert drawn[0] == drawn[1]
    assert len(drawn[0].kept) == 4 * len(one.train) == 4 * len(drawn[0].again)
    near = one.draw([replace(LESSONS[0])], 1, generators[0]).kept[0]
    assert near.slots == tuple(range(len(near.ids)))
