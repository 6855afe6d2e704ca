from __future__ import annotations

from pathlib import Path

import pytest
import torch

from patchhub.errors import InvalidInputError
from patchhub.guard.probes import BaseProbes
from patchhub.loading import LoadedBase, load_base
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.scorer import Question, Scorer
from tests.pico import pico_directory

PROBES = BaseProbes(
    (Question("The capital of Norway is", ("Oslo", "Kristiania")), Question("Zürich lies in")),
    ("Ein Text.", "Another\ntext."),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LoadedBase:
    return load_base(pico_directory(tmp_path_factory.mktemp("base"), "gpt2"))


def test_file_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "below" / "probes.jsonl"
    PROBES.write(file)
    assert BaseProbes.read(file) == PROBES
    assert BaseProbes.read(file).digest == PROBES.digest
    assert [p.name for p in file.parent.iterdir()] == ["probes.jsonl"]


def test_digest_depends_on_everything() -> None:
    others = [
        BaseProbes(PROBES.questions[::-1], PROBES.texts),
        BaseProbes(PROBES.questions, PROBES.texts[:1]),
        BaseProbes((Question("The capital of Norway is", ("Oslo",)), *PROBES.questions[1:])),
    ]
    assert len({PROBES.digest, *(p.digest for p in others)}) == 4


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('{"prompt": "x "}', "prompt"),
        ('{"prompt": "x", "answers": [1]}', "answers[0]"),
        ('{"prompt": "x", "text": "y"}', "prompt"),
        ('{"text": ""}', "text"),
        ('{"question": "x"}', "prompt"),
        ('{"prompt": "x", "weight": 1}', "weight"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, field: str) -> None:
    file = tmp_path / "probes.jsonl"
    file.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(InvalidInputError) as caught:
        BaseProbes.read(file)
    assert (caught.value.code, caught.value.data["line"]) == ("E131", 2)
    assert str(caught.value.data["field"]).endswith(field)


def test_samples_are_known_to_the_model_by_construction(
    base: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pico model says broken characters, of three tokens each when they are read again.
    monkeypatch.setattr("patchhub.guard.sampling._NEW_TOKENS", 16)
    monkeypatch.setattr("patchhub.guard.sampling._ANSWER_TOKENS", 14)
    before = torch.get_rng_state()
    probes = BaseProbes.sample(base, questions=30, texts=8, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(probes.questions) == len({q.prompt for q in probes.questions}) == 30
    assert len(set(probes.texts)) == 8
    assert all(q.prompt == q.prompt.rstrip() for q in probes.questions)
    said = Scorer(base.model, base.tokenizer).ask(probes.questions, Protocol.GENERATION)
    assert all(answer.correct is not False for answer in said)
    assert any(answer.correct for answer in said)


def test_samples_depend_on_the_seed_only(base: LoadedBase) -> None:
    def digest(seed: int) -> str:
        return BaseProbes.sample(base, questions=10, texts=4, seed=seed).digest

    assert digest(1) == digest(1) != digest(2)


def test_too_few_samples(base: LoadedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchhub.guard.sampling._ROUNDS", 1)
    with pytest.raises(InvalidInputError) as caught:
        BaseProbes.sample(base, questions=1000, texts=4)
    assert caught.value.code == "E145"
