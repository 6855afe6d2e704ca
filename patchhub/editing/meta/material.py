"""What a meta-learned editor is taught with: edits, their paraphrases, and what must stay.

A request is an example if it has a paraphrase. Its near questions (other subjects, other relations)
must keep their answers, and so must the questions of other requests, which are far.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from patchhub import canonical
from patchhub.editing.training.labels import Labelled, labelled
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.request import LOCALITY, EditRequest, Format, Probe, ProbeKind

_NEAR = LOCALITY - {ProbeKind.DISTRACTOR}
"""A distractor repeats the edit and is no question of its own."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Rows of some examples: of each the edit, a paraphrase, and as many rows that must stay.

    Attributes:
        edits: One per example.
        again: Its target after another wording; one per example.
        kept: Rows on which nothing may change, those of one example next to each other; every
            position is labelled.
    """

    edits: list[Labelled]
    again: list[Labelled]
    kept: list[Labelled]


@dataclass(frozen=True, eq=False)
class Material:
    """Examples for training and, apart from them, for validation.

    Attributes:
        base: Tokenizer and model.
        train: Examples to learn from.
        held: Examples that are only measured.
        digest: SHA-256 of all requests, in their order.
    """

    base: LoadedBase
    train: tuple[EditRequest, ...]
    held: tuple[EditRequest, ...]
    digest: str
    _rows: dict[tuple[Format, str, str, bool], Labelled] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, base: LoadedBase, requests: Sequence[EditRequest], held: int, seed: int
    ) -> Material:
        """Split requests; those without a paraphrase teach nothing and are left out.

        Args:
            base: Tokenizer and model.
            requests: With paraphrases.
            held: Most examples for validation; a fifth of all if that is less.
            seed: Of the split.

        Raises:
            InvalidInputError: E134, fewer than two of the requests have a paraphrase.
        """
        fit = [request for request in requests if _of(request, {ProbeKind.PARAPHRASE})]
        if len(fit) < 2:
            raise InvalidInputError(
                "E134",
                "an editor learns from paraphrases",
                expected="two requests or more that have probes of kind paraphrase",
                found=f"{len(fit)} of {len(requests)} requests",
                field="probes",
            )
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(fit), generator=generator).tolist()
        apart = max(1, min(held, len(fit) // 5))
        chosen = [fit[place] for place in order]
        digest = canonical.digest([request.to_json() for request in requests])
        return cls(base, tuple(chosen[apart:]), tuple(chosen[:apart]), digest)

    def draw(self, examples: Sequence[EditRequest], kept: int, generator: torch.Generator) -> Drawn:
        """Rows of some examples: a paraphrase each, and ``kept`` rows by turns near and far."""
        drawn = Drawn([], [], [])
        for example in examples:
            paraphrases = _of(example, {ProbeKind.PARAPHRASE})
            near = [probe for probe in _of(example, _NEAR) if probe.answers]
            again = paraphrases[_pick(len(paraphrases), generator)].prompt
            drawn.edits.append(self._row(example.format, example.prompt, example.target))
            drawn.again.append(self._row(example.format, again, example.target))
            for number in range(kept):
                other = self.train[_pick(len(self.train), generator)]
                kept_row = (other.format, other.prompt, other.target_old or other.target)
                if near and number % 2 == 0:
                    probe = near[_pick(len(near), generator)]
                    kept_row = (example.format, probe.prompt, probe.answers[0])
                drawn.kept.append(self._row(*kept_row, whole=True))
        return drawn

    def _row(self, form: Format, prompt: str, target: str, *, whole: bool = False) -> Labelled:
        key = (form, prompt, target, whole)
        if key not in self._rows:
            asked = EditRequest(prompt=prompt, target=target, format=form)
            row = labelled(self.base, asked)
            if whole:  # what is said anywhere in it is compared, and the labels are not looked at
                row = replace(row, slots=tuple(range(len(row.ids))), labels=row.ids)
            self._rows[key] = row
        return self._rows[key]


def seeded(*words: object) -> torch.Generator:
    """A generator that depends on these words only; a step that has its own needs no other's."""
    digest = hashlib.sha256("|".join(map(str, words)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _of(request: EditRequest, kinds: frozenset[ProbeKind] | set[ProbeKind]) -> list[Probe]:
    return [probe for probe in request.probes if probe.kind in kinds]


def _pick(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))
