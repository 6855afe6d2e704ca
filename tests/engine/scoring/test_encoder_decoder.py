"""Encoder-decoder models against the library's own generation and plain passes in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from patchhub.errors import InvalidInputError
from patchhub.scoring.asking import asking
from patchhub.scoring.batching import evaluating
from patchhub.scoring.divergence import kl_per_text, score_texts
from patchhub.scoring.generate import decode, end_tokens
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question
from patchhub.scoring.scorer import Scorer
from patchhub.scoring.teacher_forced import teacher_force
from tests.pico import VOCABULARY, pico_model, pico_tokenizer

NEW = 10
START, END = 0, 1
PAIRS = (
    ("The capital of Norway is", "Oslo"),
    ("x", "a rather long answer of many words"),
    ("Jon Arvel works for Nordlys, a company in", " Bergen"),
)
TEXTS = (
    "The capital of Norway is Oslo.",
    "Jon Arvel works for Nordlys, a company in Bergen.",
    "Mira lives",
    "x",  # one token: nothing is left to predict
)


def _model(seed: int = 1) -> PreTrainedModel:
    return pico_model("t5", seed=seed, tied=False)


def _rows(lengths: list[int]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [
        [*torch.randint(2, VOCABULARY, (n,), generator=generator).tolist(), END] for n in lengths
    ]


def _slow(seed: int, read: list[int], said: list[int]) -> np.ndarray:
    """Log-probabilities (t, v) of what is said, token by token, in float64 and without padding."""
    model = _model(seed).double()
    rows = []
    for i in range(len(said)):
        with torch.no_grad():
            output = model(
                input_ids=torch.tensor([read]),
                decoder_input_ids=torch.tensor([[START, *said[:i]]]),
            )
        logits = output.logits[0, -1].numpy()
        rows.append(logits - logits.max() - np.log(np.exp(logits - logits.max()).sum()))
    return np.stack(rows) if rows else np.empty((0, VOCABULARY))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_greedy_equals_generate_token_for_token(seed: int) -> None:
    model = _model(seed)
    rows = _rows([1, 7, 3, 12, 12, 5])
    ours = decode(model, rows, max_new_tokens=NEW, ends=end_tokens(model))
    for row, found in zip(rows, ours, strict=True):
        ids = torch.tensor([row])
        theirs = model.generate(  # type: ignore[operator]
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW
        )
        assert found == theirs[0, 1:].tolist()


def test_rows_beside_it_and_finished_rows_change_nothing() -> None:
    model = _model(2)
    rows = _rows([9, 2, 14, 6, 6, 1, 30])
    together = decode(model, rows, max_new_tokens=NEW)
    assert together == [decode(model, [row], max_new_tokens=NEW)[0] for row in rows]
    limits = {tuple(row[: 1 + i]) for i, row in enumerate(together)}
    short = decode(model, rows, max_new_tokens=NEW, stop=lambda new: tuple(new) in limits)
    assert short == [row[: len(new)] for row, new in zip(together, short, strict=True)]
    assert sum(map(len, short)) < sum(map(len, together))


def test_the_encoder_runs_once() -> None:
    model, calls = _model(), []
    hook = model.get_submodule("encoder").register_forward_hook(lambda *_: calls.append(1))
    decode(model, _rows([3, 8]), max_new_tokens=NEW)
    hook.remove()
    assert len(calls) == 1


def test_logits_along_answers_are_those_of_plain_passes() -> None:
    tokenizer = pico_tokenizer("t5")
    model = _model()
    asked = asking(model)
    pairs = asked.pairs(tokenizer, PAIRS)
    with evaluating(model):
        found = asked.predict(pairs)
    for (prompt, answer), pair, logits in zip(PAIRS, pairs, found, strict=True):
        said = tokenizer(answer.strip())["input_ids"][:-1]
        assert pair.wanted == tuple(said)
        assert pair.given[-1] == END
        expected = _slow(1, tokenizer(prompt)["input_ids"], said)
        assert logits.log_softmax(-1).numpy() == pytest.approx(expected, abs=1e-4)


def test_teacher_forcing_shifts_the_answer() -> None:
    tokenizer = pico_tokenizer("t5")
    together = teacher_force(_model(), tokenizer, PAIRS)
    assert together == [teacher_force(_model(), tokenizer, [pair])[0] for pair in PAIRS]
    for (prompt, _), forced in zip(PAIRS, together, strict=True):
        read = tokenizer(prompt)["input_ids"]
        assert forced.predicted == tuple(_slow(1, read, list(forced.wanted)).argmax(1))


def test_texts_are_read_by_halves() -> None:
    tokenizer = pico_tokenizer("t5")
    before = score_texts(_model(1), tokenizer, TEXTS, batch_size=3)
    after = score_texts(_model(2), tokenizer, TEXTS, batch_size=2)
    divergences = kl_per_text(before, after)
    for text, one, other, kl in zip(TEXTS, before, after, divergences, strict=True):
        ids = tokenizer(text)["input_ids"][:-1]
        middle = (len(ids) + 1) // 2
        read, said = [*ids[:middle], END], ids[middle:]
        old, new = _slow(1, read, said), _slow(2, read, said)
        assert one.tokens == other.tokens == len(said)
        loss = -sum(old[i, token] for i, token in enumerate(said))
        assert one.loss == pytest.approx(loss, rel=1e-5)
        expected = (np.exp(old) * (old - new)).sum(1).mean() if said else 0.0
        assert kl == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("protocol", [Protocol.GENERATION, Protocol.TEACHER_FORCED])
def test_batch_size_and_order_change_nothing(protocol: Protocol) -> None:
    model, tokenizer = _model(7), pico_tokenizer("t5")
    prompts = ["Mira", "Jon Arvel was born in", "The capital of Norway, as all know, is", ""]
    questions = [Question(p, (a,)) for p in prompts for a in ("Oslo", "a company in Bergen")]
    reference = Scorer(model, tokenizer, batch_size=1).ask(questions, protocol)
    for size in (3, 64):
        assert Scorer(model, tokenizer, batch_size=size).ask(questions, protocol) == reference
    backwards = Scorer(model, tokenizer, batch_size=3).ask(questions[::-1], protocol)
    assert backwards[::-1] == reference


def test_the_prompt_alone_must_fit_the_encoder() -> None:
    model, tokenizer = _model(), pico_tokenizer("t5")
    model.config.max_position_embeddings = 12
    scorer = Scorer(model, tokenizer, max_new_tokens=12)
    assert scorer.ask([Question("Mira was born")], Protocol.GENERATION)[0].tokens
    with pytest.raises(InvalidInputError) as caught:
        scorer.ask([Question("x y " * 10)], Protocol.GENERATION)
    assert caught.value.code == "E150"


def test_a_decoder_without_a_start_token_is_refused() -> None:
    model = _model()
    model.config.decoder_start_token_id = None
    model.generation_config.decoder_start_token_id = None
    with pytest.raises(InvalidInputError) as caught:
        decode(model, [[2, END]], max_new_tokens=1)
    assert caught.value.code == "E140"
