from __future__ import annotations

from dataclasses import replace

from transformers import PreTrainedTokenizerFast

from patchhub.scoring.cache import AnswerCache
from patchhub.scoring.instruction import SHORT_ANSWER, Instruction
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.scorer import Question, Scorer
from tests.engine.scoring.scripted import asked, scripted
from tests.pico import END, pico_model, pico_tokenizer

BRIEF = Instruction(1, "Be brief.", (("Oslo is in", "Norway"),))
QUESTION = Question("Mira was born in", ("Rome",))
PLAIN = "Be brief.\n\nText: Oslo is in\nAnswer: Norway\n\nText: Mira was born in\nAnswer:"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def _chatty(template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    tokenizer = pico_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def test_plain_prefix() -> None:
    tokenizer = pico_tokenizer()
    assert BRIEF.wrap(tokenizer, QUESTION.prompt) == PLAIN
    assert replace(BRIEF, chat=False).wrap(_chatty(), QUESTION.prompt) == PLAIN
    shipped = SHORT_ANSWER.wrap(tokenizer, "A curly {0} prompt {}")
    assert shipped.endswith("\n\nText: A curly {0} prompt {}\nAnswer:")
    assert shipped.startswith(SHORT_ANSWER.request)


def test_chat_template_with_the_examples_as_turns() -> None:
    said = BRIEF.wrap(_chatty(), QUESTION.prompt)
    assert said == (
        f"{END}<user>Be brief.\n\nOslo is in\n<assistant>Norway\n"
        "<user>Mira was born in\n<assistant>"
    )


def test_the_start_token_is_not_doubled() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = _chatty()
    end = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{END} $A", special_tokens=[(END, end)]
    )
    ids = tokenizer(BRIEF.wrap(tokenizer, "x"))["input_ids"]
    assert ids[0] == end
    assert end not in ids[1:]


def test_oracle_behind_the_instruction_only() -> None:
    model, tokenizer = scripted({PLAIN: " Rome\nText: more", QUESTION.prompt: " Oslo"})
    scorer = Scorer(model, tokenizer, instruction=BRIEF)
    (instructed,) = scorer.ask([QUESTION], Protocol.INSTRUCTION)
    (bare,) = scorer.ask([QUESTION], Protocol.GENERATION)
    assert (instructed.text, instructed.correct, instructed.score) == ("Rome", True, 1.0)
    assert (bare.text, bare.correct) == ("Oslo", False)


def test_batching_changes_nothing() -> None:
    model, tokenizer = pico_model("llama", seed=7), pico_tokenizer()
    questions = [Question(p) for p in ("Mira", "Jon Arvel was", "x y")]
    short = Instruction(1, "Go.")
    one, all_ = (
        Scorer(model, tokenizer, batch_size=size, instruction=short).ask(
            questions, Protocol.INSTRUCTION
        )
        for size in (1, 8)
    )
    assert one == all_


def test_digest_covers_words_version_and_template() -> None:
    plain, chatty = pico_tokenizer(), _chatty()
    other = _chatty(TEMPLATE.replace("user", "human").replace("<{{ m.role }}>", "<<{{ m.role }}>"))
    digests = {
        BRIEF.digest(plain),
        BRIEF.digest(chatty),
        BRIEF.digest(other),
        replace(BRIEF, version=2).digest(plain),
        replace(BRIEF, request="Be short.").digest(plain),
        replace(BRIEF, examples=()).digest(plain),
    }
    assert len(digests) == 6
    assert replace(BRIEF, chat=False).digest(chatty) == BRIEF.digest(plain)


def test_answers_are_cached_per_instruction() -> None:
    model, tokenizer = scripted({PLAIN: " Rome"})
    cache = AnswerCache()
    for _ in range(2):
        scorer = Scorer(model, tokenizer, cache=cache, state="a", instruction=BRIEF)
        scorer.ask([QUESTION], Protocol.INSTRUCTION)
        assert asked(model) == 1
    other = replace(BRIEF, request="Be short.")
    Scorer(model, tokenizer, cache=cache, state="a", instruction=other).ask(
        [QUESTION], Protocol.INSTRUCTION
    )
    assert asked(model) == 2
