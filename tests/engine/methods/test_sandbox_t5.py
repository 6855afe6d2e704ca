"""What methods do to a trained encoder-decoder, asked to say the answer itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from patchhub.composer.composer import Composer
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.prepare import prepare_context
from patchhub.evaluation.datasets import load_dataset
from patchhub.loading import LoadedBase, load_base
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question
from patchhub.scoring.scorer import Scorer

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "models" / "sandbox-t5"
COUNT = 8


@cache
def _base() -> LoadedBase:
    return load_base(FOLDER)


@pytest.mark.parametrize(
    ("method", "least"),
    [
        ("ft", COUNT),
        ("lora", COUNT),
        ("locft_bf", COUNT),
        ("ultraedit", 4),
        ("rome", 4),
        ("memit", 6),
    ],
)
def test_new_facts_are_said_with_the_settings_of_the_checkpoint(method: str, least: int) -> None:
    base = _base()
    requests = load_dataset("sandbox", limit=COUNT, seed=5).requests
    questions = [Question(r.prompt, (r.target,)) for r in requests]

    def right() -> int:
        answers = Scorer(base.model, base.tokenizer).ask(questions, Protocol.GENERATION)
        return sum(bool(answer.correct) for answer in answers)

    editor = load_editor(method)
    context = prepare_context(base, editor, requests, seed=0, settings={})
    patch = run_editor(editor, context, requests)
    assert right() == 0
    with Composer.over(base).applied(patch):
        assert right() >= least
    assert right() == 0
