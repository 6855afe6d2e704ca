"""What an edit is asked to do: `EditRequest`, its probes, and the files they come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from patchhub import canonical
from patchhub.errors import InvalidInputError
from patchhub.fields import UNPORTABLE, Fields, InFile, describe
from patchhub.occurrences import occurrences


class ProbeKind(StrEnum):
    """What a probe asks about."""

    PARAPHRASE = "paraphrase"
    ALIAS = "alias"
    REVERSED = "reversed"
    ONE_HOP = "one_hop"
    """What follows from the edit and one further fact."""
    TWO_HOP = "two_hop"
    """What follows from the edit and two or more further facts."""
    LOGICAL = "logical"
    """What follows from the edit alone, but for a rule of the relation (symmetry, inverse, …)."""
    NEIGHBOURHOOD = "neighbourhood"
    OTHER_RELATION = "other_relation"
    DISTRACTOR = "distractor"
    UNRELATED = "unrelated"
    FORGETFULNESS = "forgetfulness"
    """Other objects of the same subject and relation, where there may be several."""


LOCALITY = frozenset(
    {
        ProbeKind.NEIGHBOURHOOD,
        ProbeKind.OTHER_RELATION,
        ProbeKind.DISTRACTOR,
        ProbeKind.UNRELATED,
        ProbeKind.FORGETFULNESS,
    }
)
"""Kinds that ask for what must stay as it is."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question and its accepted answers, written as a probe's are.

    Attributes:
        prompt: The question.
        answers: Accepted answers.

    Raises:
        InvalidInputError: E131.
    """

    prompt: str
    answers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_prompt("prompt", self.prompt)
        for answer in self.answers:
            _check_answer("answers", answer)

    def to_json(self) -> dict[str, canonical.Json]:
        """The query as a record."""
        return {"prompt": self.prompt, "answers": list(self.answers)}


@dataclass(frozen=True, slots=True)
class Probe:
    """One test put to the model before and after an edit.

    Attributes:
        kind: What it asks about.
        prompt: The question; no white space at its end.
        answers: Accepted answers after the edit, the first one canonical, without a leading space.
            May be empty for the locality kinds only: then the unedited model's answer counts.
        given: What the unedited model must know for the probe to count: the other facts of a chain.
        also: Further questions of the same test, such as other wordings.
        every: Whether all questions of the test must be answered rightly; otherwise one is enough.
        needs: Ids of other requests that must have been edited too for the probe to count.
        rival: The answer that must no longer win where two are compared; "" for the usual one.

    Raises:
        InvalidInputError: E131.
    """

    kind: ProbeKind
    prompt: str
    answers: tuple[str, ...] = ()
    given: tuple[Query, ...] = ()
    also: tuple[Query, ...] = ()
    every: bool = False
    needs: tuple[str, ...] = ()
    rival: str = ""

    def __post_init__(self) -> None:
        for name in self.needs:
            _check_text("needs", name)
        if self.rival:
            _check_answer("rival", self.rival)
        answered = all(query.answers for query in self.queries)  # which also looks at the texts
        if self.kind not in LOCALITY and not answered:
            raise _wrong("answers", f"a probe of kind {self.kind} needs an answer", None)
        if not all(query.answers for query in self.given):
            raise _wrong("given", "a condition needs an answer", None)

    @property
    def queries(self) -> tuple[Query, ...]:
        """All questions of the test, its own first."""
        return (Query(self.prompt, self.answers), *self.also)

    def to_json(self) -> dict[str, canonical.Json]:
        """The probe as a record; what is empty beyond the answers is left out."""
        value: dict[str, canonical.Json] = {
            "kind": str(self.kind),
            "prompt": self.prompt,
            "answers": list(self.answers),
        }
        extra: dict[str, canonical.Json] = {
            "given": [query.to_json() for query in self.given],
            "also": [query.to_json() for query in self.also],
            "every": self.every,
            "needs": list(self.needs),
            "rival": self.rival,
        }
        return value | {name: found for name, found in extra.items() if found}


class Format(StrEnum):
    """What a prompt is to the model."""

    PLAIN = "plain"
    """Text that it goes on from."""
    CHAT = "chat"
    """A user's message that it answers, written as the tokenizer's chat template says."""


@dataclass(frozen=True, slots=True)
class EditRequest:
    """One fact to write into the model.

    Attributes:
        prompt: Text before the answer, no white space at its end; holds the subject verbatim.
        target: The new answer, without a leading space.
        subject: What the fact is about; methods say whether they need it.
        target_old: The answer that shall go.
        relation: Name of the relation, for grouping and conflicts.
        id: A name given by the user or the data set; empty when there is none.
        probes: Questions that show whether the edit did what it should and nothing else.
        format: What the prompts are to the model, those of the probes too.

    Raises:
        InvalidInputError: E131, a field is empty or has white space where tokenisers trip over it.
    """

    prompt: str
    target: str
    subject: str | None = None
    target_old: str | None = None
    relation: str | None = None
    id: str = ""
    probes: tuple[Probe, ...] = ()
    format: Format = Format.PLAIN

    def __post_init__(self) -> None:
        _check_prompt("prompt", self.prompt)
        _check_answer("target", self.target)
        if self.subject is not None:
            _check_answer("subject", self.subject)
        if self.target_old is not None:
            _check_answer("target_old", self.target_old)
        if self.relation is not None:
            _check_text("relation", self.relation)
        if self.id:
            _check_text("id", self.id)

    @property
    def question(self) -> tuple[Format, str]:
        """What two requests share that put the same to the model: the prompt in its format."""
        return self.format, self.prompt

    def subject_span(self) -> tuple[int, int]:
        """Character span of the subject in the prompt.

        Of several the only one that is no part of a longer word is meant ("Ann" in "Annabel, Ann").

        Raises:
            InvalidInputError: E134, no subject; E132, it does not occur; E133, it is unclear where.
        """
        if self.subject is None:
            raise InvalidInputError(
                "E134",
                "the request has no subject",
                hint="add the field `subject`",
                field="subject",
            )
        places = occurrences(self.subject, self.prompt)
        if not places:
            raise InvalidInputError(
                "E132",
                "the subject does not occur in the prompt",
                expected=f"{self.subject!r}, letter by letter, or {{}} in its place",
                found=self.prompt,
                hint="spell the subject as the prompt does",
                field="subject",
            )
        if len(places) > 1:
            raise InvalidInputError(
                "E133",
                f"the subject occurs {len(places)} times in the prompt",
                expected=f"{self.subject!r} once",
                found=self.prompt,
                hint="word the prompt so that it names the subject once",
                field="subject",
            )
        return places[0], places[0] + len(self.subject)

    def digest(self) -> str:
        """SHA-256 (hex) of what is asked: neither the id nor the probes count."""
        value = self.to_json(probes=False)
        value.pop("id", None)
        return canonical.digest(value)

    def to_json(self, *, probes: bool = True) -> dict[str, canonical.Json]:
        """The request as a record of the native layout; absent fields are left out."""
        value: dict[str, canonical.Json] = {"prompt": self.prompt, "target": self.target}
        for name, text in (
            ("subject", self.subject),
            ("target_old", self.target_old),
            ("relation", self.relation),
            ("id", self.id or None),
            ("format", None if self.format is Format.PLAIN else str(self.format)),
        ):
            if text is not None:
                value[name] = text
        if probes and self.probes:
            value["probes"] = [probe.to_json() for probe in self.probes]
        return value

    @classmethod
    def from_json(cls, value: object, *, what: str = "request") -> EditRequest:
        """The request that `to_json` wrote; braces are text here and nothing is filled in.

        Raises:
            InvalidInputError: E131.
        """
        from patchhub.layouts import native

        return native.read_exact(Fields(value, InFile(what, "E131", InvalidInputError)))


def load_requests(path: Path) -> tuple[EditRequest, ...]:
    """Requests from a JSON, JSONL or YAML file; layouts are recognised record by record.

    Layouts: PatchHub's own (the fields of `EditRequest`; ``{}`` in a prompt stands for the
    subject) and those of the benchmarks (`patchhub.layouts`).

    Raises:
        NotFoundError: E109.
        InvalidInputError: E130 to E133 and E135; the message names file, line and field.
    """
    from patchhub.layouts import read_file

    return read_file(path).requests


def dump_requests(requests: Sequence[EditRequest]) -> bytes:
    """Canonical JSON lines of the requests without their probes."""
    return b"".join(canonical.dumps(r.to_json(probes=False)) + b"\n" for r in requests)


def _check_text(field: str, text: str) -> None:
    if not isinstance(text, str):
        raise _wrong(field, "must be text", text)
    if not canonical.portable(text):
        raise _wrong(field, UNPORTABLE, text)
    if not text.strip():
        raise _wrong(field, "must not be blank", text)


def _check_prompt(field: str, text: str) -> None:
    _check_text(field, text)
    if text[-1].isspace():
        raise _wrong(field, "must not end with white space: the answer brings its own", text)


def _check_answer(field: str, text: str) -> None:
    _check_text(field, text)
    if text != text.strip():
        raise _wrong(field, "must not begin or end with white space: PatchHub adds the space", text)


def _wrong(field: str, what: str, found: object) -> InvalidInputError:
    shown = None if found is None else describe(found)
    return InvalidInputError("E131", f"{field}: {what}", found=shown, field=field)
