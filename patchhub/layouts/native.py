"""PatchHub's own layout: the fields of `EditRequest`, with ``{}`` for the subject in any prompt."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from patchhub.fields import Fields
from patchhub.request import EditRequest, Format, Probe, ProbeKind, Query

NAME = "PatchHub"
MARKS = ("target",)


def read(record: Fields) -> tuple[EditRequest]:
    """The request in a record written by hand; its subject must stand in the prompt once."""
    subject = record.optional(record.text, "subject")
    prompt = fill(record, "prompt", record.text("prompt"), subject)
    request = _build(
        record, prompt, subject, lambda row: fill(row, "prompt", row.text("prompt"), subject)
    )
    if subject is not None:
        record.make(request.subject_span)
    return (request,)


def read_exact(record: Fields) -> EditRequest:
    """A request as `EditRequest.to_json` writes it: braces are text and nothing is filled in."""
    subject = record.optional(record.text, "subject")
    request = _build(record, record.text("prompt"), subject, lambda row: row.text("prompt"))
    record.end()
    return request


def fill(record: Fields, field: str, template: str, subject: str | None) -> str:
    """The template with the subject in place of ``{}``; a text without ``{}`` stays as it is."""
    count = template.count("{}")
    if count == 0:
        return template
    if subject is None:
        raise record.error(field, "holds {} but the record has no subject", found=template)
    if count > 1:
        raise record.error(field, "holds {} more than once", expected="{} once", found=template)
    return template.replace("{}", subject)


def _build(
    record: Fields, prompt: str, subject: str | None, worded: Callable[[Fields], str]
) -> EditRequest:
    """The request; ``worded`` reads the prompt of a probe."""
    target = record.text("target")
    target_old = record.optional(record.text, "target_old")
    relation = record.optional(record.text, "relation")
    name = record.optional(record.text, "id")
    rows = record.optional(record.inners, "probes") or ()
    probes = tuple(_probe(row, worded) for row in rows)
    form = Format(_word(record, "format", Format)) if "format" in record else Format.PLAIN
    return record.make(
        lambda: EditRequest(prompt, target, subject, target_old, relation, name or "", probes, form)
    )


def _probe(row: Fields, worded: Callable[[Fields], str]) -> Probe:
    kind = _word(row, "kind", ProbeKind)
    prompt = worded(row)
    answers = row.optional(row.texts, "answers") or ()
    given, also = (_queries(row, name, worded) for name in ("given", "also"))
    every = row.optional(lambda name: row.value(name, bool, "true or false"), "every")
    needs = row.optional(row.texts, "needs") or ()
    rival = row.optional(row.text, "rival")
    row.end()
    return row.make(
        lambda: Probe(
            ProbeKind(kind), prompt, answers, given, also, bool(every), needs, rival or ""
        )
    )


def _word(row: Fields, name: str, words: type[StrEnum]) -> str:
    found = row.text(name)
    if found not in set(words):
        known = ", ".join(words)
        raise row.error(name, f"is no {name}", expected=f"one of {known}", found=found)
    return found


def _queries(row: Fields, name: str, worded: Callable[[Fields], str]) -> tuple[Query, ...]:
    return tuple(_query(each, worded) for each in row.optional(row.inners, name) or ())


def _query(row: Fields, worded: Callable[[Fields], str]) -> Query:
    prompt = worded(row)
    answers = row.optional(row.texts, "answers") or ()
    row.end()
    return row.make(lambda: Query(prompt, answers))
