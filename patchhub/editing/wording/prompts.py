"""What a model reads of a request, and where its subject stands in it.

A chat request's prompt is a message: the text is what the tokenizer's template makes of it, and the
subject is looked for in there. Context templates belong to the message, not around it.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from patchhub.chat import asked_by_user
from patchhub.editing.wording.templates import SLOT
from patchhub.request import EditRequest, Format


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text that the model goes on from.

    Attributes:
        text: The text.
        start: Character at which the request's own prompt begins.
    """

    text: str
    start: int

    def subject(self, request: EditRequest) -> tuple[int, int]:
        """Character span of the request's subject in the text.

        Raises:
            InvalidInputError: E132 to E134, it has none that is found once.
        """
        start, end = request.subject_span()
        return start + self.start, end + self.start


def prompt_of(
    tokenizer: PreTrainedTokenizerBase, request: EditRequest, template: str = SLOT
) -> Prompt:
    """What the model is asked.

    Args:
        tokenizer: The model's.
        request: Whose prompt it is.
        template: A text with one ``{}``, where the prompt goes.

    Raises:
        InvalidInputError: E137, the prompt cannot be put as a chat message.
    """
    said = template.replace(SLOT, request.prompt)
    start = template.index(SLOT)
    if request.format is Format.PLAIN:
        return Prompt(said, start)
    asked = asked_by_user(tokenizer, said)
    return Prompt(asked.text, start + asked.start)
