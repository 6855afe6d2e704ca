"""LRE's relations: templates and pairs, in one object per relation.

Source: Hernandez et al. 2024, arXiv:2308.09124. The facts are true; a request writes one into a
model that may not know it.
"""

from __future__ import annotations

from collections.abc import Iterator

from patchhub.fields import Fields
from patchhub.layouts.native import fill
from patchhub.layouts.part import Part
from patchhub.request import EditRequest, Probe, ProbeKind

NAME = "LRE relation"
HOLDS = (("prompt_templates", "samples"),)


def parts(record: Fields) -> Iterator[Part]:
    """One for each pair; the first template is the prompt, the others are paraphrases."""
    relation = record.filled("name", strip=True)
    templates = record.flat("prompt_templates", depth=1)
    templates += record.optional(record.flat, "prompt_templates_zs") or ()
    if not templates:
        raise record.error("prompt_templates", "must not be empty", expected="a list of templates")
    record.ignore("properties")
    pairs = record.inners("samples")
    record.end()

    def read(row: Fields) -> tuple[EditRequest]:
        subject, target = (row.filled(name, strip=True) for name in ("subject", "object"))
        row.end()
        prompt, *others = dict.fromkeys(fill(row, "subject", t, subject) for t in templates)
        probes = tuple(Probe(ProbeKind.PARAPHRASE, other, (target,)) for other in others)
        return (
            row.make(lambda: EditRequest(prompt, target, subject, None, relation, probes=probes)),
        )

    yield from (Part(row, read) for row in pairs)
