"""What is asked and what comes back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """A text for a model to go on from.

    Attributes:
        prompt: The text, without trailing space.
        answers: Accepted answers without leading space, the canonical one first. Empty when only a
            comparison of two models' answers matters.
    """

    prompt: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to a question.

    Attributes:
        text: Generation: the words up to the natural stop. Teacher forcing: the most likely tokens.
        correct: Whether the whole answer is right; None when the question accepts no answer.
        score: In [0, 1]: 1.0 or 0.0 under generation, the share of right tokens under teacher
            forcing, 0.0 when ``correct`` is None.
        tokens: Generation: all generated ids. Teacher forcing: the most likely id at each position
            of the answer.
    """

    text: str
    correct: bool | None
    score: float
    tokens: tuple[int, ...] = ()
