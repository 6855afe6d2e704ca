"""Files of questions with choices, for "other tasks". Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from patchhub import canonical
from patchhub.durable import swap_in
from patchhub.fields import Fields
from patchhub.oserrors import refusals
from patchhub.recordfile import read_records


@dataclass(frozen=True, slots=True)
class ChoiceItem:
    """A prompt and texts that may follow it.

    Attributes:
        prompt: Without trailing space.
        choices: At least two, without leading space.
        answer: Place of the right one.
    """

    prompt: str
    choices: tuple[str, ...]
    answer: int

    def to_json(self) -> dict[str, canonical.Json]:
        """The record that `read_item` reads."""
        return {"prompt": self.prompt, "choices": list(self.choices), "answer": self.answer}


def read_tasks(path: Path) -> list[ChoiceItem]:
    """The items of a JSON, JSON lines or YAML file.

    Records are ``{"prompt", "choices": […], "answer": place}`` or PIQA's ``{"goal", "sol1",
    "sol2", "label"}``; further fields (an id) are let be.

    Raises:
        NotFoundError: E109.
        InvalidInputError: E130, no such text; E131, a field is wrong; E135, another layout.
    """
    return [read_item(record) for record in read_records(path)]


def write_tasks(path: Path, items: Sequence[ChoiceItem]) -> None:
    """Replace a file of JSON lines that `read_tasks` reads.

    Raises:
        PatchHubError: E704, the disk refused.
    """
    lines = [canonical.dumps(item.to_json()) for item in items]
    with refusals():
        swap_in(path, b"".join(line + b"\n" for line in lines))


def read_item(record: Fields) -> ChoiceItem:
    """One item from a record of either layout."""
    if "goal" in record:
        names = ("goal", "sol1", "sol2")
        prompt, *choices = (record.filled(name, strip=True) for name in names)
        place = "label"
    elif "choices" in record:
        prompt = record.filled("prompt", strip=True)
        choices = [text.strip() for text in record.texts("choices")]
        place = "answer"
    else:
        raise record.fail(
            record.where,
            "is no question with choices",
            code="E135",
            expected="choices, or goal, sol1 and sol2",
            found=", ".join(record.names()),
        )
    if len(choices) < 2:
        raise record.error("choices", "must be at least two", found=len(choices))
    answer = record.integer(place)
    if answer >= len(choices):
        expected = f"a place from 0 to {len(choices) - 1}"
        raise record.error(place, "names no choice", expected=expected, found=answer)
    return ChoiceItem(prompt, tuple(choices), answer)
