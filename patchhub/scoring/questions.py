"""What is asked and what comes back."""

from __future__ import annotations

from dataclasses import dataclass

from patchhub.errors import InvalidInputError
from patchhub.scoring.protocols import Protocol


@dataclass(frozen=True, slots=True)
class Question:
    """A text for a model to go on from.

    Attributes:
        prompt: The text, without trailing space.
        answers: Accepted answers without leading space, the canonical one first. Empty when only a
            comparison of two models' answers matters.
        rival: The answer that the canonical one is held against under likelihood: the old answer
            where an edit must show, the new one where it must not. "" for none.
        chat: Whether the text is a user's message, which the model does not go on from but answers.
    """

    prompt: str
    answers: tuple[str, ...] = ()
    rival: str = ""
    chat: bool = False

    def fits(self, protocol: Protocol) -> bool:
        """Whether the question says what a protocol needs."""
        if protocol.generates:
            return True
        return bool(self.answers) and (protocol is not Protocol.LIKELIHOOD or bool(self.rival))

    def check(self, protocol: Protocol) -> None:
        """Pass if the question says what a protocol needs.

        Raises:
            InvalidInputError: E131, it lacks the answer or the rival.
        """
        if self.fits(protocol):
            return
        rival = " and a rival" if protocol is Protocol.LIKELIHOOD else ""
        raise InvalidInputError(
            "E131",
            f"{protocol} needs an answer{rival}",
            expected=f"a question with at least one accepted answer{rival}",
            found=f"none for {self.prompt[:80]!r}",
            hint="ask it by generation",
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to a question.

    Attributes:
        text: Generation: the words up to the natural stop. Teacher forcing: the most likely tokens.
            Likelihood: both candidates with their probabilities per token.
        correct: Whether the whole answer is right; None when the question accepts no answer.
        score: In [0, 1]: 1.0 or 0.0 under generation and likelihood, the share of right tokens
            under teacher forcing, 0.0 when ``correct`` is None.
        tokens: Generation: all generated ids. Teacher forcing: the most likely id at each position
            of the answer.
        margin: Likelihood: probability per token of the answer minus the rival's, in [-1, 1].
        protocol: How it was asked.
    """

    text: str
    correct: bool | None
    score: float
    tokens: tuple[int, ...] = ()
    margin: float | None = None
    protocol: Protocol = Protocol.GENERATION
