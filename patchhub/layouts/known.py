"""The facts that ROME's causal tracing was shown on.

Source: Meng et al. 2022, arXiv:2202.05262. They are true and known to GPT-2 XL; a request writes
one into a model that may not know it.
"""

from __future__ import annotations

from patchhub.fields import Fields
from patchhub.request import EditRequest

NAME = "known facts of ROME"
MARKS = ("known_id",)


def read(record: Fields) -> tuple[EditRequest]:
    """The request in one record; the template and GPT-2 XL's own continuation are not used."""
    name = str(record.integer("known_id"))
    prompt, target, subject = (
        record.filled(field, strip=True) for field in ("prompt", "attribute", "subject")
    )
    relation = record.optional(record.filled, "relation_id")
    for unused in ("template", "prediction"):
        record.optional(record.text, unused)
    return (record.make(lambda: EditRequest(prompt, target, subject, None, relation, name)),)
