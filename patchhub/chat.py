"""What a chat model reads: messages in the form that its tokenizer's own template gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from patchhub.errors import InvalidInputError


def has_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer knows how its model's conversations are written."""
    return bool(getattr(tokenizer, "chat_template", None))


def asked_by_user(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """The text behind which the model answers a conversation of one message, the user's.

    Raises:
        InvalidInputError: E137, there is no template, or it changes the message's words.
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
    text = conversation(tokenizer, [{"role": "user", "content": prompt}])
    if text.count(prompt) != 1:
        raise InvalidInputError(
            "E137",
            "the chat template does not show the message once and letter by letter",
            expected=prompt[:60],
            found=text[:200],
            field="format",
        )
    return text


def conversation(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, str]]) -> str:
    """Messages as the template writes them, up to where the model's next one begins.

    Args:
        tokenizer: One with a template.
        turns: Each with ``role`` and ``content``.
    """
    text = str(
        tokenizer.apply_chat_template(
            [dict(turn) for turn in turns],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,  # templates that know no thinking ignore it
        )
    )
    # A template writes the start token, and most tokenizers then add theirs.
    start, first = tokenizer.bos_token, tokenizer.bos_token_id
    if start and text.startswith(start) and tokenizer(text)["input_ids"][:2] == [first, first]:
        return text[len(start) :]
    return text
