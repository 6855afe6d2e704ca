"""Questions to chat models: what they read is the tokenizer's own template, word for word."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from patchhub.chat import asked_by_user
from patchhub.errors import InvalidInputError
from patchhub.guard.check import Case
from patchhub.guard.probes import BaseProbes
from patchhub.guard.questions import probes_of
from patchhub.request import EditRequest, Format, Probe, ProbeKind, Query
from patchhub.scoring.instruction import SHORT_ANSWER
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question
from patchhub.scoring.scorer import Scorer
from tests.engine.scoring.scripted import scripted
from tests.pico import END, pico_model, pico_tokenizer

LINES = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]\n{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
SAID = f"{END}[user]\nWhere was Mira born?\n[assistant]\n"
PROTOCOLS = (Protocol.GENERATION, Protocol.TEACHER_FORCED, Protocol.LIKELIHOOD)


def chatty(template: str = LINES) -> PreTrainedTokenizerFast:
    tokenizer = pico_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def test_a_chat_question_is_what_the_template_makes_of_it() -> None:
    model, tokenizer = pico_model("llama", seed=3), chatty()
    chat = Question("Where was Mira born?", ("Oslo",), "Rome", chat=True)
    plain = Question(SAID, ("Oslo",), "Rome")
    for protocol in PROTOCOLS:
        scorer = Scorer(model, tokenizer)
        (by_chat,), (by_text,) = scorer.ask([chat], protocol), scorer.ask([plain], protocol)
        assert by_chat == by_text
        (bare,) = scorer.ask([Question(chat.prompt, chat.answers, chat.rival)], protocol)
        assert bare.tokens != by_chat.tokens or bare.margin != by_chat.margin


def test_answers_begin_where_the_template_leaves_off() -> None:
    """No space before the answer after a line break, and exactly the template's start token."""
    model, tokenizer = scripted({SAID: "Oslo"})
    tokenizer.chat_template = LINES
    asked = [Question("Where was Mira born?", ("Oslo",), chat=True)]
    for protocol in PROTOCOLS[:2]:
        (found,) = Scorer(model, tokenizer).ask(asked, protocol)
        assert found.correct, protocol


def test_the_start_token_is_not_doubled() -> None:
    tokenizer = chatty()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{END} $A", special_tokens=[(END, tokenizer.bos_token_id)]
    )
    assert asked_by_user(tokenizer, "Where was Mira born?").text == SAID.removeprefix(END)


@pytest.mark.parametrize(
    "template",
    [
        None,
        "{{ messages[0].content | upper }}",
        "{{ messages[0].content }} {{ messages[0].content }}",
    ],
)
def test_templates_that_cannot_ask_are_refused(template: str | None) -> None:
    tokenizer = pico_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(InvalidInputError) as caught:
        asked_by_user(tokenizer, "Where was Mira born?")
    assert caught.value.code == "E137"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('no system turn') }}", "TemplateError: no system turn"),
        ("{{ messages[0].content", "TemplateSyntaxError: "),
        ("{{ messages[0].content + 1 }}", "TypeError: "),
        ("{{ messages[0].nothing.more }}", "UndefinedError: "),
        ({"tool_use": "{{ messages }}", "rag": "{{ messages }}"}, "ValueError: "),
    ],
)
def test_what_a_template_raises_is_told(template: Any, words: str) -> None:
    tokenizer = pico_tokenizer()
    tokenizer.chat_template = template
    for ask in (asked_by_user, SHORT_ANSWER.wrap):
        with pytest.raises(InvalidInputError, match="chat template fails") as caught:
            ask(tokenizer, "Where was Mira born?")
        assert caught.value.code == "E137"
        assert str(caught.value.found).startswith(words)


@pytest.mark.parametrize("prompt", ["user", "e", "m", "[user]", " %d"])
def test_a_message_may_be_a_word_of_the_template(prompt: str) -> None:
    asked = asked_by_user(chatty(LINES.replace("{{ bos_token }}", "m ")), prompt)
    assert asked.text == f"m [user]\n{prompt}\n[assistant]\n"
    assert asked.start == len("m [user]\n")


@pytest.mark.parametrize("prompt", [" Mira", "Mira\n"])
def test_messages_that_are_trimmed_are_refused(prompt: str) -> None:
    with pytest.raises(InvalidInputError, match="E137"):
        asked_by_user(chatty("{{ messages[0].content | trim }}:"), prompt)


def test_every_day_is_the_same_to_a_template() -> None:
    """Words of the date, in the template's own form; what stands before them stays."""
    known = "{{ date_string }}, {% if strftime_now is defined %}{{ strftime_now('%A %d %B %Y') }}"
    shown = "{% endif %}: {{ messages[0].content }}"
    asked = asked_by_user(chatty("\n  {% set x = 1 %}" + known + shown), "Where?")
    assert asked.text == "\n26 Jul 2024, Friday 26 July 2024: Where?"
    inner = "{% macro day() %}{{ strftime_now('%Y-%m-%d %H:%M:%S') }}{% endmacro %}{{ day() }}"
    assert asked_by_user(chatty(inner + shown[11:]), "Where?").text == "2024-07-26 00:00:00: Where?"


def test_probes_are_asked_in_their_requests_format() -> None:
    probe = Probe(
        ProbeKind.PARAPHRASE,
        "Mira's birthplace?",
        ("Oslo",),
        given=(Query("Is Mira a person?", ("yes",)),),
        also=(Query("Tell me where Mira was born.", ("Oslo",)),),
    )
    request = EditRequest("Where was Mira born?", "Oslo", "Mira", probes=(probe,))
    for form, chat in ((Format.PLAIN, False), (Format.CHAT, True)):
        own = EditRequest(**{**_fields(request), "format": form})
        (asked,) = probes_of(Case((own,), BaseProbes()), ProbeKind.PARAPHRASE)
        assert {q.chat for q in (asked.question, *asked.also, *asked.conditions)} == {chat}


def test_the_format_is_part_of_a_request() -> None:
    plain = EditRequest("Where was Mira born?", "Oslo", "Mira")
    chat = EditRequest(**{**_fields(plain), "format": Format.CHAT})
    assert "format" not in plain.to_json()
    assert chat.to_json()["format"] == "chat"
    assert chat.digest() != plain.digest()
    assert EditRequest.from_json(chat.to_json()) == chat
    assert EditRequest.from_json({**plain.to_json(), "format": "plain"}) == plain
    with pytest.raises(InvalidInputError, match="format") as caught:
        EditRequest.from_json({**plain.to_json(), "format": "html"})
    assert caught.value.code == "E131"


def _fields(request: EditRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__dataclass_fields__}
