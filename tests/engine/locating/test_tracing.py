from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.locating.facts import Fact, facts_of
from patchhub.locating.places import Place, places
from patchhub.locating.tracing import Part, Tracing, around, trace, window_of
from patchhub.request import EditRequest, Format
from patchhub.sites import module_of
from tests.engine.editing.support import pico_base
from tests.pico import ARCHITECTURES
from tests.reference.tracing_reference import indirect_effect, probability

REQUESTS = (
    EditRequest("The city where Mira Tolven lives is", "Oslo", "Mira Tolven"),
    EditRequest("Jon Arvel of Bergen was born in", "Rome", "Jon Arvel of Bergen"),
    EditRequest("The capital of Norway", "Rome", "Norway"),
)
SAMPLES = 2


def _facts(base: LoadedBase) -> list[Fact]:
    """What a pico model says is no text; any ids will do for an answer."""
    facts = []
    for request in REQUESTS:
        encoded = base.tokenizer(request.prompt, return_offsets_mapping=True)
        start, end = request.subject_span()
        spans = encoded["offset_mapping"]
        subject = tuple(i for i, (a, b) in enumerate(spans) if a < b and a < end and b > start)
        ids = tuple(encoded["input_ids"])
        facts.append(
            Fact(request, request.prompt, (start, end), "", ids, (17, 40 + len(ids)), subject)
        )
    return facts


def _start(base: LoadedBase) -> int | None:
    return base.model.config.decoder_start_token_id if base.arch.model_type == "t5" else None


def _stack(base: LoadedBase) -> str:
    return "encoder" if base.arch.model_type == "t5" else "decoder"


def _embedding(base: LoadedBase) -> str:
    return "encoder.embed_tokens" if base.arch.model_type == "t5" else base.arch.embedding


def _expected(
    base: LoadedBase, facts: list[Fact], found: Tracing, part: Part, block: int, place: Place
) -> float:
    generator = torch.Generator().manual_seed(5)
    stack = _stack(base)
    blocks = [block] if part is Part.BLOCK else around(block, found.window, found.blocks)
    modules = [
        module_of(base.model, base.arch.path(part.value, number, base.model, stack))
        for number in blocks
    ]
    gains = []
    for fact in facts:
        drawn = torch.randn(SAMPLES, len(fact.subject), 32, generator=generator).double()
        kinds = places(len(fact.given), fact.subject)
        if place in kinds:
            gains.append(
                sum(
                    indirect_effect(
                        base.model,
                        module_of(base.model, _embedding(base)),
                        modules,
                        fact.given,
                        fact.wanted,
                        noise=dict(zip(fact.subject, found.noise * noise, strict=True)),
                        positions=kinds[place],
                        start=_start(base),
                    )
                    for noise in drawn
                )
                / SAMPLES
            )
    return sum(gains) / len(gains)


@pytest.mark.parametrize(
    ("family", "window"), [("gpt2", 1), ("gptj", 2), ("llama", 2), ("opt", 1), ("t5", 1)]
)
def test_effects_are_those_of_the_plain_reference(
    family: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchhub.locating.tracing.window_of", lambda blocks: window)
    base = pico_base(family, torch.float64)
    facts = _facts(base)[:2]
    found = trace(base, facts, samples=SAMPLES, seed=5)
    assert found.window == window
    clean = [probability(base.model, f.given, f.wanted, _start(base)) for f in facts]
    assert found.clean == pytest.approx(sum(clean) / len(clean), rel=1e-9)
    by_key = {(e.part, e.block, e.place): e for e in found.effects}
    assert len(by_key) == len(found.effects) == 3 * 2 * len(Place)
    for key in [
        (Part.BLOCK, 0, Place.LAST_SUBJECT),
        (Part.BLOCK, 1, Place.LAST),
        (Part.MLP, 0, Place.FIRST_SUBJECT),
        (Part.MLP, 1, Place.LAST_SUBJECT),
        (Part.ATTENTION, 0, Place.FURTHER),
        (Part.ATTENTION, 1, Place.LAST),
    ]:
        expected = _expected(base, facts, found, *key)
        assert by_key[key].mean == pytest.approx(expected, rel=1e-9, abs=1e-15), key


def test_the_scale_of_the_noise_is_three_times_the_spread_of_subject_embeddings() -> None:
    base = pico_base("gpt2", torch.float64)
    facts = _facts(base)
    table = module_of(base.model, base.arch.embedding).get_parameter("weight")
    rows = table[[fact.given[i] for fact in facts for i in fact.subject]]
    assert trace(base, facts, samples=1).noise == pytest.approx(3 * float(rows.std()), rel=1e-12)


def test_batches_change_nothing_and_the_seed_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    base = pico_base("gpt2", torch.float64)
    facts = _facts(base)[:2]
    together = trace(base, facts, samples=1)
    assert trace(base, facts, samples=1) == together
    assert trace(base, facts, samples=1, seed=1).effects != together.effects
    monkeypatch.setattr("patchhub.scoring.batching.TOKENS", 1)
    apart = trace(base, facts[::-1], samples=1)
    assert len(apart.effects) == len(together.effects)
    assert apart.corrupted != together.corrupted  # noise goes by the order of the facts
    again = trace(base, facts, samples=1)
    one = {(e.part, e.block, e.place): e.mean for e in together.effects}
    for effect in again.effects:
        key = effect.part, effect.block, effect.place
        assert effect.mean == pytest.approx(one[key], rel=1e-9, abs=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_every_family_can_be_traced_and_is_left_as_it_was(family: str) -> None:
    base = pico_base(family)
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    found = trace(base, _facts(base)[:2], samples=1)
    top = [e for e in found.effects if e.part is Part.BLOCK and e.block == 1]
    last = next(e for e in top if e.place is Place.LAST)
    if family != "t5":  # behind the last block nothing but the last position is read
        assert all(e.mean == pytest.approx(0, abs=1e-6) for e in top if e.place is not Place.LAST)
    assert last.n == 2
    assert not any(module._forward_hooks for module in base.model.modules())
    assert all(torch.equal(before[name], value) for name, value in base.model.state_dict().items())


def test_places_share_no_position_and_leave_none_from_the_subject_on() -> None:
    for length in range(1, 9):
        for first in range(length):
            for last in range(first, length):
                found = places(length, range(first, last + 1))
                every = sorted(p for positions in found.values() for p in positions)
                assert every == list(range(first, length))
                assert found[Place.LAST_SUBJECT] == (last,)


def test_windows_cover_as_much_of_every_depth_as_published() -> None:
    assert [window_of(n) for n in (2, 6, 28, 32, 48)] == [1, 1, 5, 6, 10]
    assert list(around(17, 10, 48)) == list(range(12, 22))
    assert list(around(0, 6, 32)) == [0, 1, 2]
    assert list(around(31, 6, 32)) == [28, 29, 30, 31]


def test_what_the_model_does_not_say_is_left_out_by_name() -> None:
    base = pico_base("gpt2")
    wrong = replace(REQUESTS[0], target_old="Timbuktu")
    nameless = EditRequest("Jon Arvel was born in", "Rome")
    for request, code in ((wrong, "E158"), (nameless, "E134")):
        with pytest.raises(InvalidInputError, match=code) as caught:
            facts_of(base, [request])
        assert caught.value.code == code
    with pytest.raises(InvalidInputError) as caught:
        facts_of(base, [])
    assert caught.value.code == "E134"
    facts, left_out = facts_of(base, [wrong, *REQUESTS, nameless])
    assert [one.reason.code for one in left_out][:: len(left_out) - 1] == ["E158", "E134"]
    assert {fact.request for fact in facts} <= set(REQUESTS)


def test_a_request_that_cannot_be_asked_does_not_end_the_others() -> None:
    """One that is too long for the model, and a chat where there is no template."""
    base, told = pico_base("gpt2"), []
    long = replace(REQUESTS[0], prompt="Oslo " * 70 + REQUESTS[0].prompt)
    chat = replace(REQUESTS[1], format=Format.CHAT)
    asked = [long, *REQUESTS, chat]
    facts, left_out = facts_of(base, asked, progress=lambda *now: told.append(now))
    usual, unknown = facts_of(base, list(REQUESTS))
    assert facts == usual
    assert [one for one in left_out if one.request in REQUESTS] == list(unknown)
    others = [(one.request, one.reason.code) for one in left_out if one.request not in REQUESTS]
    assert others == [(long, "E150"), (chat, "E137")]
    assert {total for _, total in told} == {len(asked)}
    with pytest.raises(InvalidInputError, match="E150"):
        facts_of(base, [long, chat])


def test_tracing_without_noise_is_refused() -> None:
    base = pico_base("gpt2")
    with pytest.raises(InvalidInputError) as caught:
        trace(base, _facts(base), samples=0)
    assert caught.value.code == "E142"
