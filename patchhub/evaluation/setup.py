"""What an experiment is run with: models, methods, sizes, protocols, and where they compute."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from patchhub import canonical
from patchhub.errors import InvalidInputError
from patchhub.evaluation.place import Data
from patchhub.evaluation.ways import Way
from patchhub.guard.probes import BaseProbes
from patchhub.request import EditRequest, ProbeKind
from patchhub.scoring.protocols import Protocol

T = TypeVar("T")

DTYPES = ("float32", "float64")
SEQUENTIAL = "sequential"
EXPERIMENTS = ("single", "batch", SEQUENTIAL)
_SAME_FACT = (ProbeKind.PARAPHRASE, ProbeKind.ALIAS)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How an experiment is run.

    Attributes:
        models: Directories of bases.
        methods: Names of editing methods.
        joint: Of methods that write values at keys, those of which a sequence is also made in which
            all edits are solved together.
        settings: By method, values that differ from its defaults.
        sizes: Requests per edit, for ``batch``.
        checkpoints: Points of a sequence at which everything is asked.
        again: In a sequence: edits taken back from its middle, edited anew with other targets, and
            repeated, each that many.
        orders: Shuffles of the requests (the first is the data's own order).
        seeds: Of the methods.
        protocols: How questions are asked; the base's own questions by the first one only.
        measures: Names of measures or checks to take instead of all.
        whole_every: Of edits that are measured one by one, every how many-th the whole model is
            measured too: the base's own questions, texts and tasks, and long texts.
        base_questions: Of the base's own questions, how many are asked of each state.
        base_texts: Of its texts.
        base_tasks: Of its questions with choices.
        max_new_tokens: Longest answer under generation.
        dtype: Models compute in it.
        device: Models lie there.
        threads: Of each process that works.
        memory: Bytes that a method may use beside the model.
        trained: Directory of trained editors, for methods that need one.
    """

    models: tuple[Path, ...]
    methods: tuple[str, ...]
    joint: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    sizes: tuple[int, ...] = (1, 10, 100)
    checkpoints: int = 10
    again: int = 10
    orders: int = 1
    seeds: tuple[int, ...] = (0,)
    protocols: tuple[Protocol, ...] = tuple(Protocol)
    measures: tuple[str, ...] = ()
    whole_every: int = 4
    base_questions: int = 100
    base_texts: int = 32
    base_tasks: int = 100
    max_new_tokens: int = 12
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 1
    memory: int | None = None
    trained: Path | None = None

    def __post_init__(self) -> None:
        for what, expected, found in self._faults():
            shown = ", ".join(map(str, found))
            raise InvalidInputError("E142", what, expected=expected, found=shown)

    def _faults(self) -> Iterator[tuple[str, str, Iterable[object]]]:
        """What is wrong, what would be right, and what there is."""
        least = {
            "checkpoints": self.checkpoints,
            "orders": self.orders,
            "whole_every": self.whole_every,
            "max_new_tokens": self.max_new_tokens,
            "threads": self.threads,
            "memory": 1 if self.memory is None else self.memory,
            **{f"size {size}": size for size in self.sizes},
            # None of these may be asked for.
            "again": self.again + 1,
            "base_questions": self.base_questions + 1,
            "base_texts": self.base_texts + 1,
            "base_tasks": self.base_tasks + 1,
        }
        small = [name for name, number in least.items() if number < 1]
        if small:
            yield "a number of the experiment is out of range", "larger ones", small
        for name in ("models", "methods", "joint", "sizes", "seeds", "protocols", "measures"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                # A case that is counted twice makes intervals narrower.
                yield f"one of the {name} is named twice", "each once", given
        if self.dtype not in DTYPES:
            yield "edits are not computed in this dtype", ", ".join(DTYPES), [self.dtype]
        unknown = sorted(set(self.settings) - {*self.methods, *self.joint})
        if unknown:
            run = ", ".join(dict.fromkeys((*self.methods, *self.joint)))
            yield "settings for methods that are not run", run, unknown

    def ways(self, experiment: str) -> tuple[Way, ...]:
        """The ways to edit that an experiment compares."""
        joint = self.joint if experiment == SEQUENTIAL else ()
        return (*map(Way, self.methods), *(Way(method, joint=True) for method in joint))

    def order(self, number: int, count: int) -> list[int]:
        """The places of ``count`` requests in a shuffle."""
        places = list(range(count))
        if number:
            random.Random(f"order|{number}").shuffle(places)
        return places

    def spread(self, probes: BaseProbes) -> BaseProbes:
        """The base's probes that are asked of each state, evenly spaced."""
        return BaseProbes(
            tuple(_spaced(probes.questions, self.base_questions)),
            tuple(_spaced(probes.texts, self.base_texts)),
            tuple(_spaced(probes.tasks, self.base_tasks)),
        )

    def to_json(self) -> dict[str, canonical.Json]:
        """What the numbers depend on, beside models, methods and data."""
        return {
            "settings": {
                method: {name: str(value) for name, value in values.items()}
                for method, values in self.settings.items()
            },
            "sizes": list(self.sizes),
            "checkpoints": self.checkpoints,
            "again": self.again,
            "orders": self.orders,
            "seeds": list(self.seeds),
            "protocols": [protocol.value for protocol in self.protocols],
            "measures": list(self.measures),
            "whole_every": self.whole_every,
            "base_questions": self.base_questions,
            "base_texts": self.base_texts,
            "base_tasks": self.base_tasks,
            "max_new_tokens": self.max_new_tokens,
            "dtype": self.dtype,
            "device": self.device,
            "threads": self.threads,
            "memory": self.memory,
            "methods": list(self.methods),
            "joint": list(self.joint),
        }


def contradicted(data: Data, count: int) -> dict[int, EditRequest]:
    """For evenly spaced requests, the same question with another answer, by place.

    The other answer is that of another request of the same relation, else the old one; requests
    that have neither are passed over.
    """
    found: dict[int, EditRequest] = {}
    places = range(len(data.requests))
    for place in _spaced(places, count):
        request = data.requests[place]
        target = _other_target(data.requests, request)
        if target is not None:
            found[place] = _changed(request, target)
    return found


def _changed(request: EditRequest, target: str) -> EditRequest:
    probes = tuple(
        replace(probe, answers=(target,)) for probe in request.probes if probe.kind in _SAME_FACT
    )
    return replace(
        request, target=target, target_old=request.target, id=f"{request.id}*", probes=probes
    )


def _other_target(requests: Sequence[EditRequest], request: EditRequest) -> str | None:
    taken = {request.target, request.target_old}
    others = (
        other.target
        for other in requests
        if other.relation is not None and other.relation == request.relation
    )
    return next((target for target in others if target not in taken), request.target_old)


def _spaced(items: Sequence[T], count: int) -> list[T]:
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]
