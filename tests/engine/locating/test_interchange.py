from __future__ import annotations

from itertools import permutations, product

import pytest
import torch

from patchhub.editing.wording.tokens import encode
from patchhub.locating.interchange import Pair, Side, Where, interchange
from patchhub.scoring.generate import decode
from patchhub.sites import module_of
from tests.engine.editing.support import pico_base
from tests.pico import pico_model, pico_tokenizer
from tests.reference.tracing_reference import answer_after_exchange


def test_of_two_stacks_the_one_that_reads_is_exchanged() -> None:
    model, tokenizer = pico_model("t5", seed=3), pico_tokenizer("t5")
    prompts = [f"The capital of {name} is" for name in ("Norway", "Oslo", "Italy", "France")]
    new = decode(model, [tokenizer(p)["input_ids"] for p in prompts], max_new_tokens=2)
    sides = [
        Side(prompt, prompt.split()[3], str(tokenizer.decode(tokens)))
        for prompt, tokens in zip(prompts, new, strict=True)
    ]
    pairs = [Pair(a, b) for a in sides for b in sides if a.answer != b.answer]
    moved = {(m.block, m.where): m for m in interchange(model, tokenizer, pairs, max_new_tokens=2)}
    assert {block for block, _ in moved} == {0, 1}
    assert moved[0, Where.SUBJECT].n > 0
    whole = Side(prompts[0], prompts[0], ""), Side(prompts[2], prompts[2], sides[2].answer)
    everything = interchange(model, tokenizer, [Pair(*whole)], blocks=[1], max_new_tokens=2)
    assert {m.where: m.share for m in everything}[Where.SUBJECT] == 1.0


def _first_word(model: object, tokenizer: object, prompt: str) -> str:
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])  # type: ignore[operator]
    with torch.no_grad():
        logits = model(ids, attention_mask=torch.ones_like(ids)).logits  # type: ignore[operator]
    return str(tokenizer.decode(logits[0, -1].argmax()))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("family", "seed", "template"),
    [("gpt2", 0, "The capital {} was born in"), ("llama", 2, "{} was born in")],
)
def test_what_is_exchanged_decides(family: str, seed: int, template: str) -> None:
    model, tokenizer = pico_model(family, seed=seed), pico_tokenizer()
    names = ("Mira", "Rome", "Oslo", "Jon", "Paris", "Norway", "Italy", "France")
    sides = [
        Side(p, n, _first_word(model, tokenizer, p)) for n in names for p in [template.format(n)]
    ]
    pairs = [
        Pair(a, b)
        for a in sides
        for b in sides
        if a.answer != b.answer and a.answer.strip().isalnum() and b.answer.strip().isalnum()
    ]
    moved = {(m.block, m.where): m for m in interchange(model, tokenizer, pairs, max_new_tokens=1)}
    last = max(block for block, _ in moved)
    assert moved[last, Where.LAST].n > 0
    # Above the last block only the last position is read, and all of the answer is there.
    assert moved[last, Where.LAST].share == 1.0
    assert moved[last, Where.SUBJECT].share == 0.0
    assert moved[last, Where.SUBJECT_LAST].share == 0.0
    assert {block for block, _ in moved} == set(range(last + 1))


def test_pairs_whose_subjects_lie_elsewhere_are_left_out() -> None:
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    one = Side("Mira was born in", "Mira", "Oslo")
    other = Side("Mira Tolven was born in", "Mira Tolven", "Paris")
    assert all(m.n == 0 for m in interchange(model, tokenizer, [Pair(one, other)], blocks=[0]))


def test_blocks_can_be_chosen_and_hooks_are_gone() -> None:
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    side = Side("Mira was born in", "Mira", "Oslo")
    moved = interchange(model, tokenizer, [Pair(side, side)], blocks=[1])
    assert {m.block for m in moved} == {1}
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_answers_are_those_of_the_plain_reference(family: str) -> None:
    base = pico_base(family, torch.float64)
    start = base.model.config.decoder_start_token_id if family == "t5" else None
    prompts = [f"The capital {name} was born in" for name in ("Rome", "Oslo", "Paris")]
    read = [encode(base.tokenizer, prompt) for prompt in prompts]
    subjects = [prompt.split()[2] for prompt in prompts]
    span = read[0].covering(12, 16)
    assert all(one.covering(12, 12 + len(n)) == span for one, n in zip(read, subjects, strict=True))
    places = {
        Where.SUBJECT: span,
        Where.SUBJECT_LAST: span[-1:],
        Where.LAST: (len(read[0].ids) - 1,),
    }
    said = set()
    for block, (where, positions) in product(range(2), places.items()):
        path = base.arch.path("block", block, base.model, "encoder" if start == 0 else "decoder")
        pairs = []
        for a, b in permutations(range(3), 2):
            tokens = answer_after_exchange(
                base.model,
                module_of(base.model, path),
                read[a].ids,
                read[b].ids,
                positions,
                2,
                start,
            )
            answer = str(base.tokenizer.decode(tokens))
            said.add(answer)
            pairs.append(
                Pair(Side(prompts[a], subjects[a], ""), Side(prompts[b], subjects[b], answer))
            )
        found = interchange(base.model, base.tokenizer, pairs, blocks=[block], max_new_tokens=2)
        (one,) = (m for m in found if m.where is where)
        assert (one.share, one.n) == (1.0, len(pairs)), (block, where)
    assert len(said) > 3


def test_a_prompt_of_one_token_is_exchanged_once() -> None:
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    sides = [Side(name, name, _first_word(model, tokenizer, name)) for name in ("Mira", "Oslo")]
    moved = interchange(model, tokenizer, [Pair(*sides)], blocks=[1], max_new_tokens=3)
    assert len({m.share for m in moved}) == 1
