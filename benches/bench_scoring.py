"""Probes per second of the scorer, beside asking prompt by prompt, at equal scores.

Prompt by prompt: one question at a time; under teacher forcing one forward pass, under likelihood
one per candidate, under generation `generate`, which stops where the scorer stops. Once on one
thread, by the processor's time, which a busy machine changes little; once on all processors, by the
clock: small products of one prompt hardly share them, large ones do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import pytest
import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from patchhub.loading import LoadedBase, load_base
from patchhub.sandbox import edit_requests, load_world, model_path
from patchhub.scoring import answers
from patchhub.scoring.instruction import SHORT_ANSWER
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.scorer import Answer, Question, Scorer

MODELS = Path(__file__).parent.parent / "tests/models"
NAMES = ("sandbox-gpt2", "sandbox-llama", "sandbox-t5")
REQUESTS = 50
SAMPLE = 40
"""Questions asked one by one: enough for a rate, and few enough to wait for."""
NEW_TOKENS = 12
GOAL, FLOOR = 10, 5
"""Times as many probes per second: what is wanted, and what must hold on any machine."""
CLOSE = 1e-4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("processors", [1, os.cpu_count() or 1])
def bench_probes_per_second(name: str, processors: int, figure: Callable[[str], None]) -> None:
    base = load_base(model_path() if name == NAMES[0] else MODELS / name)
    questions = _questions()
    spaced = questions[:: -(-len(questions) // SAMPLE)]
    clock = process_time if processors == 1 else perf_counter
    threads = torch.get_num_threads()
    torch.set_num_threads(processors)
    try:
        seconds = {p: _seconds(base, questions, spaced, p, clock) for p in Protocol}
        start = clock()
        Scorer(base.model, base.tokenizer, max_new_tokens=NEW_TOKENS).ask_each(
            dict.fromkeys(Protocol, questions)
        )
        all_ = (clock() - start) / len(questions)
    finally:
        torch.set_num_threads(threads)
    for protocol, (one, here) in seconds.items():
        figure(f"{protocol}: {1 / one:.0f} one by one, {1 / here:.0f} here, {one / here:.1f} ×")
    one = sum(alone for alone, _ in seconds.values())
    figure(f"all four at once: {1 / one:.1f}, {1 / all_:.1f}, {one / all_:.1f} × (goal {GOAL})")
    if not base.model.config.is_encoder_decoder:  # an encoder reads whole prompts: little to share
        assert one / all_ >= FLOOR


def _seconds(
    base: LoadedBase,
    questions: Sequence[Question],
    spaced: Sequence[Question],
    protocol: Protocol,
    clock: Callable[[], float],
) -> tuple[float, float]:
    """Seconds per question: one by one (of some of them), and as the scorer asks all."""
    scorer = Scorer(base.model, base.tokenizer, max_new_tokens=NEW_TOKENS)
    scorer.ask(questions[:2], protocol)
    start = clock()
    found = scorer.ask(questions, protocol)
    middle = clock()
    plain = [_ASK[protocol](base, question) for question in spaced]
    end = clock()
    said = dict(zip(questions, found, strict=True))
    for question, expected in zip(spaced, plain, strict=True):
        assert _equal(said[question], expected), (question, said[question], expected)
    return (end - middle) / len(spaced), (middle - start) / len(questions)


def _equal(found: Answer, expected: str | float) -> bool:
    if isinstance(expected, str):
        return found.text == expected
    number = found.score if found.margin is None else found.margin
    return abs(number - expected) <= CLOSE


def _questions() -> list[Question]:
    """Edit prompts and their probes; answer and rival are the new object and the old."""
    found = []
    for request in edit_requests(load_world(), REQUESTS, 0):
        both = (request.target, request.target_old or "")
        found.append(Question(request.prompt, both[:1], both[1]))
        for probe in request.probes:
            answer = probe.answers[0] if probe.answers else both[0]
            found.append(Question(probe.prompt, (answer,), both[answer == both[0]]))
    return list(dict.fromkeys(found))


def _generated(base: LoadedBase, question: Question) -> str:
    return _continued(base, question.prompt)


def _instructed(base: LoadedBase, question: Question) -> str:
    return _continued(base, SHORT_ANSWER.wrap(base.tokenizer, question.prompt))


def _continued(base: LoadedBase, text: str) -> str:
    model: Any = base.model
    ids = base.tokenizer(text, return_tensors="pt")["input_ids"]
    start = 1 if model.config.is_encoder_decoder else ids.shape[1]

    class Stop(StoppingCriteria):
        def __call__(self, ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            done = answers.stop(_text(base, ids[0, start:]), final=False) is not None
            return torch.tensor([done])

    found = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        stopping_criteria=StoppingCriteriaList([Stop()]),
    )
    return answers.said(_text(base, found[0, start:]))


def _forced(base: LoadedBase, question: Question) -> float:
    logits, wanted = _logits(base, question.prompt, question.answers[0])
    return float((logits.argmax(-1) == wanted).double().mean())


def _preferred(base: LoadedBase, question: Question) -> float:
    shares = []
    for text in (question.answers[0], question.rival):
        logits, wanted = _logits(base, question.prompt, text)
        chosen = logits.log_softmax(-1).gather(1, wanted[:, None])
        shares.append(float(chosen.double().mean().exp()))
    return shares[0] - shares[1]


def _logits(base: LoadedBase, prompt: str, answer: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What predicts each token of an answer, and these tokens."""
    model, tokenizer = base.model, base.tokenizer
    given = tokenizer(prompt, return_tensors="pt")["input_ids"]
    if model.config.is_encoder_decoder:
        wanted = tokenizer(answer, return_tensors="pt")["input_ids"][:, :-1]
        start = torch.full((1, 1), model.config.decoder_start_token_id)
        shifted = torch.cat([start, wanted[:, :-1]], 1)
        with torch.no_grad():
            return model(input_ids=given, decoder_input_ids=shifted).logits[0], wanted[0]
    whole = tokenizer(f"{prompt} {answer}", return_tensors="pt")["input_ids"]
    begin = given.shape[1]
    with torch.no_grad():
        return model(whole).logits[0, begin - 1 : -1], whole[0, begin:]


def _text(base: LoadedBase, ids: torch.Tensor) -> str:
    return str(base.tokenizer.decode(ids, skip_special_tokens=True))


_ASK: Mapping[Protocol, Callable[[LoadedBase, Question], str | float]] = {
    Protocol.GENERATION: _generated,
    Protocol.INSTRUCTION: _instructed,
    Protocol.TEACHER_FORCED: _forced,
    Protocol.LIKELIHOOD: _preferred,
}
