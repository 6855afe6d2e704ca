"""What a chat model reads: messages in the form that its tokenizer's own template gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from patchhub.errors import InvalidInputError

DAY = "26 Jul 2024"
"""The day that templates are told it is: the one that Llama 3's assume where nobody tells them."""
_CLOCK = {
    **{"%-d": "26", "%d": "26", "%j": "208", "%a": "Fri", "%A": "Friday", "%b": "Jul"},
    **{"%B": "July", "%-m": "7", "%m": "07", "%Y": "2024", "%y": "24", "%F": "2024-07-26"},
    **{"%H": "00", "%I": "12", "%p": "AM", "%M": "00", "%S": "00", "%T": "00:00:00"},
}
"""What the parts of a time are at midnight of that day, in English wherever this runs."""
_MARK = "\ue000\ue001"
"""Stands for a message: no template has, changes or trims letters of private use."""


def has_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer knows how its model's conversations are written."""
    return bool(getattr(tokenizer, "chat_template", None))


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as a model reads it.

    Attributes:
        text: Up to where the answer begins.
        start: Character at which the prompt begins.
    """

    text: str
    start: int


def asked_by_user(tokenizer: PreTrainedTokenizerBase, prompt: str) -> Asked:
    """The text behind which the model answers a conversation of one message, the user's.

    Raises:
        InvalidInputError: E137, there is no template, it fails, or it changes the message's words.
    """
    if not has_template(tokenizer):
        raise InvalidInputError(
            "E137",
            "the tokenizer has no chat template",
            expected="a chat model's tokenizer (chat_template.jinja or tokenizer_config.json)",
            found=f"a request of format chat: {prompt[:60]!r}",
            hint="leave out `format`: the prompt is then continued as plain text",
            field="format",
        )
    text, marked = (
        conversation(tokenizer, [{"role": "user", "content": content}])
        for content in (prompt, _MARK)
    )
    before, _, after = marked.partition(_MARK)
    # Not counted in the text: a short prompt may be a word of the template's, too.
    if marked.count(_MARK) != 1 or text != before + prompt + after:
        raise InvalidInputError(
            "E137",
            "the chat template does not show the message once and letter by letter",
            expected=prompt[:60],
            found=text[:200],
            field="format",
        )
    return Asked(text, len(before))


def conversation(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, str]]) -> str:
    """Messages as the template writes them, up to where the model's next one begins.

    Templates that tell the model what day it is are told `DAY`: what an edit is computed from does
    not depend on when.

    Args:
        tokenizer: One with a template.
        turns: Each with ``role`` and ``content``.

    Raises:
        InvalidInputError: E137, the template fails on these messages.
    """
    text = _written(tokenizer, turns)
    # A template writes the start token, and most tokenizers then add theirs.
    start, first = tokenizer.bos_token, tokenizer.bos_token_id
    if start and text.startswith(start) and tokenizer(text)["input_ids"][:2] == [first, first]:
        return text[len(start) :]
    return text


def _written(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, str]]) -> str:
    """What the template makes of messages."""
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(turn) for turn in turns],
                chat_template=_timeless(tokenizer.get_chat_template()),
                tokenize=False,
                add_generation_prompt=True,
                date_string=DAY,
                enable_thinking=False,  # templates that know no thinking ignore it
            )
        )
    except ImportError:  # jinja2 is missing or too old, which no request can help
        raise
    except Exception as error:  # a template is a program: it may raise anything
        raise InvalidInputError(
            "E137",
            "the tokenizer's chat template fails on these messages",
            expected=f"a template for messages of {' and '.join({t['role']: 0 for t in turns})}",
            found=f"{type(error).__name__}: {error}"[:200],
            hint="it lies in chat_template.jinja or tokenizer_config.json",
        ) from error


def _timeless(template: str) -> str:
    """The template with another clock, which `apply_chat_template` does not take from outside."""
    if "strftime_now" not in template:
        return template
    parts = "".join(f"|replace('{part}','{value}')" for part, value in _CLOCK.items())
    # The line break belongs to the macro: the template begins on a line of its own, as it did.
    return f"{{% macro strftime_now(form) %}}{{{{ form{parts} }}}}{{% endmacro %}}\n{template}"
