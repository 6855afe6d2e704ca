from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from patchhub.errors import InvalidInputError
from patchhub.scoring.cache import AnswerCache, Reply
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.scorer import Question, Scorer
from tests.engine.scoring.scripted import asked, scripted
from tests.pico import pico_model, pico_tokenizer

SCRIPT = {
    "Mira was born in": " Oslo. She likes it",
    "Jon was born in": " Rome, a city",
    "Where was Jon born?": "\n Rome\nWhere",
    "Ada was born in": " Ostende",
}
QUESTIONS = [
    Question("Mira was born in", ("Oslo",)),
    Question("Jon was born in", ("Roma", "Rome")),
    Question("Where was Jon born?", ("Rome",)),
    Question("Ada was born in", ("Bergen",)),
    Question("Jon was born in"),
]


def test_oracle_by_generation() -> None:
    model, tokenizer = scripted(SCRIPT)
    found = Scorer(model, tokenizer, max_new_tokens=20).ask(QUESTIONS, Protocol.GENERATION)
    assert [a.text for a in found] == ["Oslo", "Rome, a city", "Rome", "Ostende", "Rome, a city"]
    assert [a.correct for a in found] == [True, True, True, False, None]
    assert [a.score for a in found] == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_oracle_by_teacher_forcing_uses_the_canonical_answer() -> None:
    model, tokenizer = scripted(SCRIPT)
    found = Scorer(model, tokenizer).ask(
        [QUESTIONS[0], Question("Jon was born in", ("Rome", "x")), QUESTIONS[1]],
        Protocol.TEACHER_FORCED,
    )
    assert [a.correct for a in found] == [True, True, False]
    assert found[0].score == found[1].score == 1.0
    assert 0.0 <= found[2].score < 1.0


def test_teacher_forced_score_is_a_share_of_tokens() -> None:
    model, tokenizer = scripted({"Ada was born in": " Ostende"})
    (found,) = Scorer(model, tokenizer).ask(
        [Question("Ada was born in", ("Ostend now",))], Protocol.TEACHER_FORCED
    )
    wanted = tokenizer(" Ostend now")["input_ids"]
    script = tokenizer(" Ostende")["input_ids"]
    shared = next(i for i, (a, b) in enumerate(zip(wanted, script, strict=False)) if a != b)
    # After the first wrong token the script is left, and the model only says the end token.
    assert 0 < shared < len(wanted)
    assert found.score == shared / len(wanted)


def test_repeated_questions_are_asked_once() -> None:
    model, tokenizer = scripted(SCRIPT)
    Scorer(model, tokenizer).ask(QUESTIONS * 3, Protocol.GENERATION)
    assert asked(model) == 4


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
@pytest.mark.parametrize("protocol", [Protocol.GENERATION, Protocol.TEACHER_FORCED])
def test_batch_size_and_order_change_nothing(family: str, protocol: Protocol) -> None:
    model, tokenizer = pico_model(family, seed=7), pico_tokenizer()
    prompts = ["Mira", "Jon Arvel was born in", "The capital of Norway, as all know, is", "x y z"]
    questions = [Question(p, (a,)) for p in prompts for a in ("Oslo", "a company in Bergen")]
    reference = Scorer(model, tokenizer, batch_size=1).ask(questions, protocol)
    for size in (3, 64):
        assert Scorer(model, tokenizer, batch_size=size).ask(questions, protocol) == reference
    backwards = Scorer(model, tokenizer, batch_size=3).ask(questions[::-1], protocol)
    assert backwards[::-1] == reference


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_several_protocols_at_once_say_what_each_says(family: str) -> None:
    model, tokenizer = pico_model(family, seed=7), pico_tokenizer(family)
    prompts = ("Mira was born in", "Jon Arvel lives in", "The capital of Norway is")
    both = [Question(p, (a,), "Rome") for p in prompts for a in ("Oslo", "a company in Bergen")]
    protocols = (Protocol.GENERATION, Protocol.TEACHER_FORCED, Protocol.LIKELIHOOD)
    wanted = dict.fromkeys(protocols, both)
    wanted[Protocol.TEACHER_FORCED] = [*both, Question("Mira", ("Oslo",))]  # this one has no rival
    told: list[tuple[int, int]] = []

    found = Scorer(model, tokenizer).ask_each(
        wanted, progress=lambda done, total: told.append((done, total))
    )

    assert tuple(found) == protocols
    for protocol, questions in wanted.items():
        assert found[protocol] == Scorer(model, tokenizer).ask(questions, protocol)
    assert told[-1] == (19, 19)
    assert told == sorted(told)


def test_teacher_forcing_reads_what_likelihood_computed(tmp_path: Path) -> None:
    model, tokenizer = pico_model("gpt2", seed=7), pico_tokenizer()
    cache = AnswerCache(tmp_path)
    compared = [Question("Jon Arvel lives in", (a,), "Rome") for a in ("Oslo", "Bergen")]
    passes = Counter[str]()
    handle = model.register_forward_pre_hook(lambda *_: passes.update(["pass"]))

    scorer = Scorer(model, tokenizer, cache=cache, state="pico")
    scorer.ask(compared, Protocol.LIKELIHOOD)
    alone = passes.total()
    passes.clear()
    scorer = Scorer(model, tokenizer, cache=AnswerCache(), state="pico")
    both = scorer.ask_each({Protocol.TEACHER_FORCED: compared, Protocol.LIKELIHOOD: compared})
    handle.remove()

    assert passes.total() == alone
    later = Scorer(model, tokenizer, cache=cache, state="pico")
    assert later.ask_each(dict.fromkeys(both, compared)) == both


def test_progress_reaches_the_end() -> None:
    model, tokenizer = scripted(SCRIPT)
    seen: list[tuple[int, int]] = []
    Scorer(model, tokenizer, batch_size=2).ask(
        QUESTIONS, Protocol.GENERATION, progress=lambda *p: seen.append(p)
    )
    assert seen == [(2, 4), (4, 4)]


def test_long_prompts_are_refused() -> None:
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    with pytest.raises(InvalidInputError) as caught:
        Scorer(model, tokenizer).ask([Question("x y " * 60)], Protocol.GENERATION)
    assert caught.value.code == "E150"
    assert "52 tokens" in str(caught.value)


def test_teacher_forcing_needs_an_answer() -> None:
    model, tokenizer = scripted(SCRIPT)
    with pytest.raises(InvalidInputError) as caught:
        Scorer(model, tokenizer).ask([Question("Mira")], Protocol.TEACHER_FORCED)
    assert caught.value.code == "E131"


def test_empty_prompt_starts_from_the_end_of_text_token() -> None:
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    (found,) = Scorer(model, tokenizer).ask([Question("")], Protocol.GENERATION)
    assert found.tokens


def test_cache_answers_for_the_same_state_only(tmp_path: Path) -> None:
    for directory in (None, tmp_path):
        model, tokenizer = scripted(SCRIPT)
        cache = AnswerCache(directory)
        first = Scorer(model, tokenizer, cache=cache, state="a").ask(QUESTIONS, Protocol.GENERATION)
        count = asked(model)
        again = Scorer(model, tokenizer, cache=cache, state="a")
        assert again.ask(QUESTIONS, Protocol.GENERATION) == first
        assert asked(model) == count
        Scorer(model, tokenizer, cache=cache, state="b").ask(QUESTIONS, Protocol.GENERATION)
        assert asked(model) == 2 * count
        Scorer(model, tokenizer, cache=cache).ask(QUESTIONS, Protocol.GENERATION)
        assert asked(model) == 3 * count
        again.max_new_tokens = 3
        again.ask(QUESTIONS[4:], Protocol.GENERATION)
        assert asked(model) == 3 * count + 1


def test_cache_knows_where_answers_end() -> None:
    """End tokens may stand in generation_config.json, which a state need not know."""
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    cache = AnswerCache()
    (whole,) = Scorer(model, tokenizer, cache=cache, state="a").ask(
        [QUESTIONS[0]], Protocol.GENERATION
    )
    assert len(whole.tokens) > 1
    model.generation_config.eos_token_id = whole.tokens[0]
    (short,) = Scorer(model, tokenizer, cache=cache, state="a").ask(
        [QUESTIONS[0]], Protocol.GENERATION
    )
    assert short.tokens == whole.tokens[:1]


def test_cached_text_is_judged_anew() -> None:
    model, tokenizer = scripted(SCRIPT)
    scorer = Scorer(model, tokenizer, cache=AnswerCache(), state="a")
    assert not scorer.ask([QUESTIONS[3]], Protocol.GENERATION)[0].correct
    other = Question(QUESTIONS[3].prompt, ("Ostende",))
    assert scorer.ask([other], Protocol.GENERATION)[0].correct


def test_cache_survives_the_process_and_distrusts_damage(tmp_path: Path) -> None:
    reply = Reply("Zürich\n", (1, 2), (3,))
    AnswerCache(tmp_path).put("s", {"k": reply, "l": reply})
    AnswerCache(tmp_path).put("s", {"m": reply})
    assert dict(AnswerCache(tmp_path).get("s")) == {"k": reply, "l": reply, "m": reply}
    file = tmp_path / "s.jsonl"
    file.write_bytes(file.read_bytes().replace(b"rich", b"xxxx", 1))
    assert dict(AnswerCache(tmp_path).get("s")) == {}
    file.write_bytes(b"\xff\xff")
    assert dict(AnswerCache(tmp_path).get("s")) == {}


def test_cache_keeps_the_latest_files(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path, keep=2)
    for scope in "abc":
        cache.put(scope, {"k": Reply(scope, ())})
    assert len(list(tmp_path.iterdir())) == 2
    assert dict(AnswerCache(tmp_path).get("c")) == {"k": Reply("c", ())}


def test_cache_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = AnswerCache(tmp_path / "file" / "below")
    cache.put("s", {"k": Reply("x", ())})
    assert dict(cache.get("s")) == {"k": Reply("x", ())}


def test_what_no_file_can_hold_is_replaced() -> None:
    model, tokenizer = scripted({"Mira was born in": " Os\x7flo"})
    (found,) = Scorer(model, tokenizer).ask([Question("Mira was born in")], Protocol.GENERATION)
    assert found.text == "Os\ufffdlo"


def test_a_long_accepted_answer_gets_the_room_it_needs() -> None:
    long = "Llanfairpwllgwyngyllgogerychwyrn in Wales"
    model, tokenizer = scripted({"Mira was born in": f" {long}", "Jon lives in": f" {long}"})
    mira, jon = Scorer(model, tokenizer).ask(
        [Question("Mira was born in", (long,)), Question("Jon lives in", ("Llan",))],
        Protocol.GENERATION,
    )
    assert len(tokenizer(long)["input_ids"]) > 12
    assert mira.correct
    assert mira.text == long
    assert len(jon.tokens) == 12
