"""An instruction in front of the question: what an edit is worth when a user asks for an answer.

Editors that only react to the bare edit prompt fall here (Yang et al. 2025, arXiv:2502.11177: GRACE
from 0.998 to 0.412, others by 5 to 8 points). The wording is fixed and versioned; its digest, taken
of the text that a tokenizer's own template makes of it, stands in every verdict that used it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from patchhub import canonical
from patchhub.chat import conversation, has_template


@dataclass(frozen=True, slots=True)
class Instruction:
    """What is said before a question.

    Attributes:
        version: Goes up with every change of the words.
        request: The instruction itself.
        examples: Prompts and short answers, shown in the form that is asked for.
        chat: Use the tokenizer's chat template where it has one; plain text otherwise.
    """

    version: int
    request: str
    examples: tuple[tuple[str, str], ...] = ()
    chat: bool = True

    def wrap(self, tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
        """The text that asks ``prompt``; the model's answer follows it."""
        if self.chat and has_template(tokenizer):
            return conversation(tokenizer, list(self._turns(prompt)))
        shown = [f"Text: {text}\nAnswer: {answer}\n\n" for text, answer in self.examples]
        return f"{self.request}\n\n{''.join(shown)}Text: {prompt}\nAnswer:"

    def digest(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """SHA-256 of all that a question is wrapped in, for this tokenizer."""
        return canonical.digest({"version": self.version, "text": self.wrap(tokenizer, "{}")})

    def _turns(self, prompt: str) -> Iterator[dict[str, str]]:
        before = f"{self.request}\n\n"
        for text, answer in self.examples:
            yield {"role": "user", "content": before + text}
            yield {"role": "assistant", "content": answer}
            before = ""
        yield {"role": "user", "content": before + prompt}


SHORT_ANSWER = Instruction(
    version=1,
    request="Complete the text or answer the question with a few words and nothing else.",
    examples=(
        ("The capital of France is", "Paris"),
        ("Which element has the symbol Fe?", "Iron"),
    ),
)
"""The instruction of the protocol ``generation+instruction``."""
