"""RippleEdits: what an edit should change besides itself, and what not, with conditions.

Source: Cohen et al. 2024, arXiv:2307.12976. A test has one or more questions, of which one or all
must be answered rightly, and conditions that the unedited model must meet. The edit is stored as a
sentence with Wikidata ids; its question, its answer and its subject are read off the sentence and
the tests. A question without an accepted answer (a few have none) asks nothing and is left out, and
so is a test with a condition that nothing can meet.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from patchhub.fields import Fields
from patchhub.request import LOCALITY, EditRequest, Probe, ProbeKind, Query

NAME = "RippleEdits"
MARKS = ("edit",)

_GROUPS = {
    "Logical_Generalization": ProbeKind.LOGICAL,
    "Subject_Aliasing": ProbeKind.ALIAS,
    "Compositionality_I": ProbeKind.ONE_HOP,
    "Compositionality_II": ProbeKind.ONE_HOP,
    "Relation_Specificity": ProbeKind.OTHER_RELATION,
    "Relation_Specifity": ProbeKind.OTHER_RELATION,  # so spelt in the authors' README
    "Forgetfulness": ProbeKind.FORGETFULNESS,
}
_UNUSED = ("phrase", "query_type", "second_relation", "second_hop_target_ids")
_SMALL = frozenset(
    {"a", "the", "of", "which", "in", "is", "are", "was", "has", "won", "name", "names", "with"}
    | {"associated", "member", "part", "plays"}
)
_VERBS = frozenset({"is", "are", "by", "follows"})
_COMPARED = 12
"""Questions about the subject that its name is looked for in."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question of a test.

    Attributes:
        query: The question and what is accepted.
        subject: Wikidata's id of what it is about.
        relation: Wikidata's relation, as RippleEdits calls it.
        labels: Names of its answers by Wikidata's ids.
    """

    query: Query
    subject: str
    relation: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Test:
    kind: ProbeKind
    asked: tuple[_Asked, ...]
    given: tuple[_Asked, ...]
    every: bool


def read(record: Fields) -> tuple[EditRequest]:
    """The request in one entry; surrounding white space in texts is dropped."""
    record.optional(record.text, "example_type")
    tests = [
        _read_test(row, kind)
        for group, kind in _GROUPS.items()
        for row in record.optional(record.inners, group) or ()
    ]
    edit = record.inner("edit")
    about, relation = edit.filled("subject_id"), edit.filled("relation")
    sentence = _sentence(edit)
    new = edit.name("target_id")
    names = [asked.labels.get(new) for asked in _all(tests)]
    old = next(
        (
            _old(edit, name)
            for name in ("original_fact", "previous_fact")
            if edit.optional(edit.inner, name) is not None
        ),
        None,
    )
    edit.end()
    prompt, target = _split(edit, sentence, [name for name in names if name], old)
    gone = old.removeprefix(prompt).strip() if old and old.startswith(f"{prompt} ") else None
    # Tests of other kinds may call the subject by another name.
    plain = [asked for asked in _all(tests, LOCALITY) if asked.subject == about]
    others = dict.fromkeys(asked.query.prompt for asked in plain if asked.relation != relation)
    subject = _subject(prompt, relation, list(others)[:_COMPARED])
    probes = tuple(probe for test in tests for probe in _probe(test))
    return (
        record.make(
            lambda: EditRequest(
                prompt, target, subject, gone, relation, f"{about}/{relation}", probes
            )
        ),
    )


def _read_test(row: Fields, kind: ProbeKind) -> _Test:
    asked = tuple(_read_query(each) for each in row.inners("test_queries"))
    given = tuple(_read_query(each) for each in row.optional(row.inners, "condition_queries") or ())
    rule = row.optional(row.text, "test_condition") or "OR"
    if rule not in ("OR", "AND"):
        raise row.error("test_condition", "is no rule", expected="OR or AND", found=rule)
    row.end()
    return _Test(kind, asked, given, rule == "AND")


def _read_query(row: Fields) -> _Asked:
    prompt = row.filled("prompt", strip=True)
    about, relation = (row.optional(row.text, name) or "" for name in ("subject_id", "relation"))
    ids = row.optional(lambda name: row.value(name, list, "a list of ids"), "target_ids") or []
    accepted: list[str] = []
    values: list[str] = []
    for answer in row.inners("answers"):
        value = answer.text("value", strip=True)
        aliases = answer.optional(answer.flat, "aliases") or ()
        answer.end()
        values.append(value)
        # As the authors do: of single characters only digits are answers.
        accepted += [text for text in (value, *aliases) if len(text) > 1 or text.isdigit()]
    row.ignore(*_UNUSED)
    row.end()
    labels: dict[str, str] = {
        one: value
        for one, value in zip(ids, values, strict=False)
        if isinstance(one, str) and value
    }
    return _Asked(Query(prompt, tuple(dict.fromkeys(accepted))), about, relation, labels)


def _probe(test: _Test) -> Iterator[Probe]:
    stays = test.kind in LOCALITY
    asked = [one.query for one in test.asked if one.query.answers]
    given = [one.query for one in test.given]
    if stays:  # counts only what was known before, whether it is said or not
        given = [query for query in given if query not in asked]
    if asked and all(query.answers for query in given):
        first, *also = asked
        yield Probe(test.kind, first.prompt, first.answers, tuple(given), tuple(also), test.every)


def _all(
    tests: Sequence[_Test], kinds: Collection[ProbeKind] = frozenset(ProbeKind)
) -> list[_Asked]:
    return [asked for test in tests if test.kind in kinds for asked in (*test.asked, *test.given)]


def _sentence(fact: Fields) -> str:
    return fact.filled("prompt", strip=True).removesuffix(".").rstrip()


def _old(edit: Fields, name: str) -> str:
    fact = edit.inner(name)
    sentence = _sentence(fact)
    fact.ignore("subject_id", "relation", "target_id")
    fact.end()
    return sentence


def _split(edit: Fields, sentence: str, names: Sequence[str], old: str | None) -> tuple[str, str]:
    """Question and answer in a sentence: by the answer's name, the old fact, or the last verb."""
    for name in names:
        if sentence.endswith(f" {name}"):
            return sentence.removesuffix(name).rstrip(), name
    if old is not None:
        shared = []
        for new_word, old_word in zip(sentence.split(" "), old.split(" "), strict=False):
            if new_word != old_word:
                break
            shared.append(new_word)
        while shared and shared[-1] not in _VERBS:  # both answers may begin alike
            shared.pop()
        prompt = " ".join(shared)
        if prompt and len(prompt) < len(sentence):
            return prompt, sentence[len(prompt) :].strip()
    found = re.match(rf"(.*(?:\b(?:{'|'.join(sorted(_VERBS))})|\?)) (.+)", sentence, re.DOTALL)
    if found is None:
        raise edit.error(
            "prompt",
            "its question cannot be told from its answer",
            expected="a sentence such as 'The mother of X is Y.'",
            found=sentence,
        )
    return found[1], found[2].strip()


def _subject(prompt: str, relation: str, others: Sequence[str]) -> str | None:
    """What stands behind the relation's name: "The name of the mother of X is".

    Where the question is worded in another way: the longest run of words, but for small ones, that
    most questions about the subject's other relations share.
    """
    named = re.escape(relation.replace("_", " "))
    found = re.search(rf"\b{named}s? of (.+) (?:is|are)$", prompt, re.IGNORECASE)
    if found is not None:
        return found[1].strip()
    words = prompt.split()
    padded = [f" {other} " for other in others]
    best: list[str] = []
    for start in range(1 if words[0] in ("The", "Is") else 0, len(words)):
        for end in range(start + len(best) + 1, len(words) + 1):
            run = _trimmed(words[start:end])
            name = f" {' '.join(run)} "
            if len(run) > len(best) and 2 * sum(name in other for other in padded) > len(padded):
                best = run
    return " ".join(best) if best and padded else None


def _trimmed(words: list[str]) -> list[str]:
    start, end = 0, len(words)
    while start < end and words[start] in _SMALL:
        start += 1
    while start < end and words[end - 1] in _SMALL:
        end -= 1
    return words[start:end]
