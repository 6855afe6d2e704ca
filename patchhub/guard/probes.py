"""A base's own probes: questions whose answers must stay, and texts it must still find likely.

Torch-free but for `BaseProbes.sample`. They are made once for a base, kept as a file, and named by
digest in every verdict. For a sandbox base they come from its world; for any other from a user's
file or from the model's own samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub import canonical
from patchhub.durable import swap_in
from patchhub.errors import InvalidInputError
from patchhub.fields import Fields, InFile
from patchhub.recordfile import read_records
from patchhub.scoring.questions import Question
from patchhub.scoring.tasks import ChoiceItem, read_item

if TYPE_CHECKING:
    from patchhub.loading import LoadedBase

QUESTIONS = 400
"""Enough that a 95 % interval around a share of 0.97 is no wider than ± 0.02."""

TEXTS = 64


@dataclass(frozen=True)
class BaseProbes:
    """Probes of a base.

    Attributes:
        questions: Locality: with accepted answers, those the model knows must stay known; without,
            whatever the model says must stay said.
        texts: Drift.
        tasks: Other tasks: questions with texts to choose from.
    """

    questions: tuple[Question, ...] = ()
    texts: tuple[str, ...] = ()
    tasks: tuple[ChoiceItem, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the probes, order included."""
        return canonical.digest(list(self._lines()))

    @classmethod
    def read(cls, path: Path) -> BaseProbes:
        """Probes from a file of records.

        Each is ``{"prompt", "answers"?}``, ``{"text"}``, or a question with choices
        (`patchhub.scoring.tasks.read_tasks`).

        Texts may also have ME-PPL's form ``{"Corpus", "Text"}`` (Yang et al. 2024,
        arXiv:2402.09656).

        Raises:
            NotFoundError: E109.
            InvalidInputError: E130, E131, naming file, line and field.
        """
        questions: list[Question] = []
        texts: list[str] = []
        tasks: list[ChoiceItem] = []
        for record in read_records(path):
            if "choices" in record or "goal" in record:
                tasks.append(read_item(record))
                continue
            if "text" in record:
                texts.append(record.filled("text"))
            elif "Text" in record:
                texts.append(record.filled("Text"))
                record.ignore("Corpus")
            else:
                questions.append(_question(record))
            record.end()
        return cls(tuple(questions), tuple(texts), tuple(tasks))

    @classmethod
    def sample(
        cls,
        base: LoadedBase,
        *,
        questions: int = QUESTIONS,
        texts: int = TEXTS,
        seed: int = 0,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> BaseProbes:
        """Probes from the model's own samples (`patchhub.guard.sampling`).

        Raises:
            InvalidInputError: E145, the samples hold too few different questions.
        """
        from patchhub.guard.sampling import sample_probes

        return sample_probes(base, questions=questions, texts=texts, seed=seed, progress=progress)

    @classmethod
    def from_json(cls, value: object, what: str) -> BaseProbes:
        """Probes as `to_json` writes them.

        Raises:
            InvalidInputError: E131, naming ``what`` and the field.
        """
        fields = Fields(value, InFile(what, "E131", InvalidInputError))
        questions = tuple(_question(one) for one in fields.inners("questions"))
        tasks = fields.optional(fields.inners, "tasks") or ()
        return cls(questions, fields.texts("texts"), tuple(map(read_item, tasks)))

    def to_json(self) -> dict[str, canonical.Json]:
        """Everything as one object."""
        asked = [{"prompt": q.prompt, "answers": list(q.answers)} for q in self.questions]
        tasks = {"tasks": [item.to_json() for item in self.tasks]} if self.tasks else {}
        return {"questions": list(asked), "texts": list(self.texts), **tasks}

    def to_bytes(self) -> bytes:
        """The file: canonical JSON lines."""
        return b"".join(canonical.dumps(line) + b"\n" for line in self._lines())

    def write(self, path: Path) -> None:
        """Replace a file in one step; its suffix should be ``.jsonl``."""
        swap_in(path, self.to_bytes())

    def _lines(self) -> Iterator[dict[str, canonical.Json]]:
        for question in self.questions:
            yield {"prompt": question.prompt, "answers": list(question.answers)}
        for text in self.texts:
            yield {"text": text}
        for item in self.tasks:
            yield item.to_json()


def _question(record: Fields) -> Question:
    prompt = record.filled("prompt")
    if prompt != prompt.rstrip():
        raise record.error("prompt", "must not end with white space: the answer brings its own")
    return Question(prompt, record.texts("answers") if "answers" in record else ())
