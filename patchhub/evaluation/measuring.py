"""Jobs that ask: the unedited model, a collapsed one, and a model with edits on it."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchhub.evaluation import observation, place
from patchhub.evaluation.cases import standing
from patchhub.evaluation.measures import Measure, measures_of, numbers
from patchhub.evaluation.observation import Observation
from patchhub.evaluation.place import Data, Place
from patchhub.evaluation.work import OBSERVED, at, patches_in
from patchhub.guard.check import Case, Wants
from patchhub.guard.questions import question
from patchhub.guard.session import Wanted
from patchhub.jobs.job import Work
from patchhub.request import EditRequest
from patchhub.scoring.asking import asking
from patchhub.scoring.collapse import collapsed
from patchhub.scoring.generate import decode
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question

ROWS, KNOWN = "rows.json", "known.json"
WHOLE = -1
"""The place of a number that is about no single case."""

_ROUNDS, _LATENCY_PROMPTS, _LATENCY_TOKENS = 9, 8, 16

Written = tuple[int, str, str, str, int, float, float]
"""Case, measure, protocol, figure, n, value, before."""


@dataclass(frozen=True)
class State:
    """What is asked of a model, and by which numbers.

    Attributes:
        cases: Places of the requests that are asked about, in order.
        single: A case of the checks for each.
        together: All of them as one.
        each: Every case is a state of its own.
        apart: Places of the cases by which whole-model measures are then taken.
        measures: The numbers.
        protocols: How questions are asked.
    """

    cases: tuple[int, ...]
    single: tuple[Case, ...]
    together: Case
    each: bool
    apart: frozenset[int]
    measures: tuple[Measure, ...]
    protocols: tuple[Protocol, ...]
    max_new_tokens: int

    @classmethod
    def of(cls, work: Work, data: Data) -> State:
        """The state that a job is about."""
        given: Any = work.inputs
        cases = tuple(given["cases"])
        together = tuple(dict.fromkeys([*given["carried"], *cases]))
        each = given["each"]
        all_ = [data.requests[i] for i in together]
        clear = dict(zip(together, all_ if each else standing(all_), strict=True))
        carried = () if each else [data.requests[i] for i in given["carried"]]
        return cls(
            cases,
            tuple(data.case(clear[i], beside=carried) for i in cases),
            data.case(*(clear[i] for i in cases), beside=carried),
            each,
            frozenset(given["apart"]),
            measures_of(data.case(*data.requests), tuple(given["measures"])),
            tuple(map(Protocol, given["protocols"])),
            given["max_new_tokens"],
        )

    @property
    def whole(self) -> list[tuple[int, Case]]:
        """The states as wholes, each with the place its numbers are written under."""
        if not self.each:
            return [(WHOLE, self.together)]
        single = zip(self.cases, self.single, strict=True)
        return [(at_case, case) for at_case, case in single if at_case in self.apart]

    def asked(self) -> Iterator[tuple[Measure, int, Case, tuple[Protocol, ...]]]:
        """Each measure of each case, with its place and the protocols it is asked by.

        The base's own questions are many and say little of one case; they are put once, by the
        first protocol that can put them.
        """
        single = list(zip(self.cases, self.single, strict=True))
        for measure in self.measures:
            for at_case, case in self.whole if measure.whole else single:
                protocols = self.protocols
                if measure.whole:
                    protocols = (_first(protocols, measure.wants(case).questions),)
                yield measure, at_case, case, protocols

    def wanted(self) -> list[tuple[Protocol, Wants]]:
        """All that has to be asked."""
        return [
            (protocol, measure.wants(case))
            for measure, _, case, protocols in self.asked()
            for protocol in protocols
        ]

    def ask(self, here: Place, wanted: Wanted) -> Observation:
        """Ask the model as it is."""
        return observation.observe(here.base, wanted, max_new_tokens=self.max_new_tokens)

    def rows(self, before: Observation, after: Observation) -> Iterator[Written]:
        """The numbers of every measure, case and protocol."""
        for measure, at_case, case, protocols in self.asked():
            asks = bool(measure.wants(case).questions)
            for protocol in protocols:
                found = measure.check.find(case, measure.part, before[protocol], after[protocol])
                name = protocol.value if asks else ""
                for one in numbers(found):
                    yield at_case, measure.name, name, one.figure, one.n, one.value, one.before


def _first(protocols: Sequence[Protocol], questions: Sequence[Question]) -> Protocol:
    """The first protocol by which any of the questions can be put."""
    fitting = (p for p in protocols if any(question.fits(p) for question in questions))
    return next(fitting, protocols[0])


def unedited(work: Work) -> None:
    """Ask the base everything once; all other states are compared with it."""
    with at(work) as (here, data):
        state = State.of(work, data)
        requests = [data.requests[i] for i in state.cases]
        facts = tuple(q for r in requests for q in (_new(r), _old(r)) if q is not None)
        extra = [(protocol, Wants(facts)) for protocol in state.protocols]
        # Those about edited subjects too: other states leave out fewer of them.
        own = data.probes
        first = _first(state.protocols, own.questions)
        extra.append((first, Wants(own.questions, own.texts, choices=own.tasks)))
        seen = state.ask(here, [*state.wanted(), *extra])
    observation.save(seen, work.out)
    _write(work.out / ROWS, list(state.rows(seen, seen)))
    known = [
        [case, protocol.value, *_knew(seen, protocol, request)]
        for case, request in zip(state.cases, requests, strict=True)
        for protocol in state.protocols
    ]
    _write(work.out / KNOWN, known)


def collapse(work: Work) -> None:
    """Ask a model whose next tokens are drawn at random: what no edit should look like."""
    with at(work) as (here, data):
        state = State.of(work, data)
        before = _before(work, here, state)
        with collapsed(here.base.model, seed=0):
            after = state.ask(here, state.wanted())
    _write(work.out / ROWS, list(state.rows(before, after)))


def measure(work: Work) -> None:
    """Ask the base with the patches of earlier jobs on it."""
    _, *edits = work.needed.values()
    patches = [place.patch(str(path)) for path in patches_in(edits)]
    with at(work) as (here, data):
        state = State.of(work, data)
        after = before = _before(work, here, state)
        if patches:
            here.composer.set_stack(patches)
            after = state.ask(here, state.wanted())
    _write(work.out / ROWS, list(state.rows(before, after)))


def _before(work: Work, here: Place, state: State) -> Observation:
    """What the base said, asked now where it has not been asked before."""
    known = place.observed(str(next(iter(work.needed.values()))))
    left = observation.missing(known, state.wanted())
    return observation.joined(known, state.ask(here, left)) if left else known


def latency(work: Work) -> None:
    """Compare the time of greedy answers with and without the first patch there is, in pairs."""
    paths = patches_in(list(work.needed.values()))[:1]
    patches = [place.patch(str(path)) for path in paths]
    ratios = []
    with at(work) as (here, data):
        prompts = [request.prompt for request in data.requests[:_LATENCY_PROMPTS]]
        rows = [row.ids for row in asking(here.base.model).prompts(here.base.tokenizer, prompts)]
        for _ in range(_ROUNDS if patches else 0):
            here.composer.set_stack([])
            plain = _seconds(here, rows)
            here.composer.set_stack(patches)
            ratios.append(_seconds(here, rows) / plain)
    found = statistics.median(ratios) if ratios else None
    _write(work.out / OBSERVED, {"latency": found})


def _seconds(here: Place, rows: Sequence[Sequence[int]]) -> float:
    began = time.perf_counter()
    decode(here.base.model, rows, max_new_tokens=_LATENCY_TOKENS)
    return time.perf_counter() - began


def _new(request: EditRequest) -> Question:
    return question(request, request.prompt, (request.target,), request.target_old)


def _old(request: EditRequest) -> Question | None:
    if request.target_old is None:
        return None
    return question(request, request.prompt, (request.target_old,))


def _knew(seen: Observation, protocol: Protocol, request: EditRequest) -> tuple[bool, bool]:
    """Whether the unedited model gives the new answer, and whether it gives the old one."""
    new = seen[protocol].answer(_new(request))
    right = new is not None and new.correct is True
    if protocol is Protocol.LIKELIHOOD:  # the old answer is what the new one is held against
        return right, new is not None and new.correct is False
    question = _old(request)
    old = None if question is None else seen[protocol].answer(question)
    return right, old is not None and old.correct is True


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))
