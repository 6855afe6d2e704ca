from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from patchhub.editing.editor import run_editor
from patchhub.editing.keyvalue.gather import gather
from patchhub.editing.targets import wanted_for
from patchhub.editing.training.labels import labelled
from patchhub.editing.wording.prompts import prompt_of
from patchhub.editing.wording.templates import ContextTemplates
from patchhub.errors import InvalidInputError
from patchhub.methods.locft_bf import EDITOR as FT
from patchhub.methods.locft_bf import LocFtBfSettings, replayed, row_of
from patchhub.request import EditRequest, Format
from tests.engine.editing.support import pico_base, pico_context
from tests.pico import END, pico_tokenizer

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
PLAIN = EditRequest("Where was Mira born {x}?", "Oslo", "Mira")
CHAT = EditRequest("Where was Mira born {x}?", "Oslo", "Mira", format=Format.CHAT)
CONTEXTS = ContextTemplates(("{}", "Well. {}"))


def chatty() -> PreTrainedTokenizerFast:
    tokenizer = pico_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def text_of(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids)))


@pytest.mark.parametrize("request_", [PLAIN, CHAT])
@pytest.mark.parametrize("context", CONTEXTS.texts)
def test_the_subject_is_found_in_what_the_model_reads(request_: EditRequest, context: str) -> None:
    prompt = prompt_of(chatty(), request_, context)
    start, end = prompt.subject(request_)
    assert prompt.text[start:end] == "Mira"
    said = context.replace("{}", request_.prompt)
    chat = request_.format is Format.CHAT
    assert prompt.text == (f"[user]\n{said}\n[assistant]\n" if chat else said)


def test_rows_of_a_chat_request() -> None:
    tokenizer = chatty()
    wanted = wanted_for(tokenizer, CONTEXTS, [CHAT])
    for row, context in zip(wanted.rows, CONTEXTS.texts, strict=True):
        read = text_of(tokenizer, (*row.ids, row.labels[-1]))
        said = context.replace("{}", CHAT.prompt)
        assert read == f"[user]\n{said}\n[assistant]\nOslo"
        assert text_of(tokenizer, row.ids[: row.lookup + 1]).endswith("Mira")
        assert text_of(tokenizer, row.labels) == "Oslo"


def test_a_chat_request_teaches_the_answer_behind_the_template() -> None:
    own = pico_base("gpt2")
    base = replace(own, tokenizer=chatty())
    row, plain = labelled(base, CHAT), labelled(base, PLAIN)
    assert text_of(chatty(), row.labels) == "Oslo"
    assert text_of(chatty(), plain.labels) == " Oslo"
    assert torch.tensor(row.slots).diff().eq(1).all()
    assert row.ids[: len(plain.ids)] != plain.ids


def test_a_message_and_plain_text_with_the_same_words_are_both_learnt() -> None:
    plain, chat = (replace(one, prompt="Where was Mira born?") for one in (PLAIN, CHAT))
    context = pico_context("gpt2", templates=CONTEXTS)
    context = replace(context, base=replace(context.base, tokenizer=chatty()))
    (group,), failed = gather(context, [plain, chat, plain], len(CONTEXTS.texts))
    assert (failed, group.requests) == ([], (0, 1, 2))
    rows = [wanted_for(chatty(), CONTEXTS, [one]).rows for one in (plain, chat)]
    assert set(group.wanted.rows) == {*rows[0], *rows[1]}
    below = replace(context, below=(run_editor(FT, context, [plain], {"layer": 0, "steps": 1}),))
    settings = LocFtBfSettings(layer=0, replay=1)
    assert replayed(below, [chat], settings) == [row_of(context.base, plain, settings)]
    assert replayed(below, [plain], settings) == []


def test_a_tokenizer_without_template_cannot_ask() -> None:
    with pytest.raises(InvalidInputError) as caught:
        prompt_of(pico_tokenizer(), CHAT)
    assert caught.value.code == "E137"
    assert END not in prompt_of(pico_tokenizer(), PLAIN).text
