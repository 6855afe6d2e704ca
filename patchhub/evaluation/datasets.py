"""Where an experiment's requests come from: a file of any known layout, or the sandbox's world."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from patchhub import canonical
from patchhub.errors import InvalidInputError
from patchhub.guard.probes import QUESTIONS, TEXTS, BaseProbes
from patchhub.layouts import read_file
from patchhub.request import EditRequest
from patchhub.scoring.consistency import References
from patchhub.scoring.questions import Question

STATISTICS_TEXTS = 2500
"""Documents of the sandbox's world that key statistics are taken from."""


@dataclass(frozen=True)
class Dataset:
    """Requests, and what the data set knows about the base.

    Attributes:
        name: As tables call it.
        requests: What is to be edited, in an order that the seed fixes.
        skipped: Of every record left out, where it stands and why.
        probes: Of the base: what must stay whatever is edited.
        corpus: Makes the `texts`.
        references: Texts about things of which the new facts are true.
    """

    name: str
    requests: tuple[EditRequest, ...]
    skipped: tuple[str, ...] = ()
    probes: BaseProbes = field(default_factory=BaseProbes)
    corpus: Callable[[], tuple[str, ...]] = field(default=tuple, repr=False, compare=False)
    references: References | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the requests with their probes, in order."""
        return canonical.digest([request.to_json() for request in self.requests])

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Texts for key statistics; empty where the base has to write its own."""
        return self.corpus()


def load_dataset(
    source: str | Path, *, limit: int | None = None, seed: int = 0, skip_bad: bool = False
) -> Dataset:
    """The requests of a source, all or a sample.

    Args:
        source: A file of records, or ``sandbox``, ``sandbox:large``, ``sandbox:pico``: facts of a
            fictional world, each with a new object and probes.
        limit: Size of a sample without replacement; a larger one with the same seed begins with
            the smaller one. Requests of one record stay next to each other. None for all: a file's
            in its own order.
        seed: Of the sample; for a world also of new objects and probes.
        skip_bad: Whether wrong records are left out (and named) instead of ending the reading.

    Raises:
        NotFoundError: E109, there is no such file or world.
        InvalidInputError: E130 to E133, E135, as `patchhub.request.load_requests`; E131, a limit
            below one.
    """
    if limit is not None and limit < 1:
        raise InvalidInputError("E131", "a limit is the size of a sample", found=limit)
    name, _, profile = str(source).partition(":")
    if name == "sandbox":
        return _of_world(profile or "default", limit, seed)
    return _of_file(Path(source), limit, seed, skip_bad=skip_bad)


def rest_of(source: str | Path, skip: int = 0, seed: int = 0) -> tuple[EditRequest, ...]:
    """The requests of a source without a sample of ``skip`` with this seed; see `load_dataset`."""
    return load_dataset(source, limit=sys.maxsize if skip else None, seed=seed).requests[skip:]


def _of_world(profile: str, limit: int | None, seed: int) -> Dataset:
    from patchhub.sandbox import choice_items, load_world, request_for, texts
    from patchhub.sandbox.questions import recall

    world = load_world(profile)
    order = random.Random(f"data|{seed}").sample(world.facts, len(world.facts))
    # A generator for each fact: what one request looks like does not depend on those before it.
    requests = tuple(
        request_for(world, fact, random.Random(f"data|{seed}|{fact.id}")) for fact in order[:limit]
    )
    known = recall(world, held_out=False)
    questions = random.Random(0).sample(known, min(QUESTIONS, len(known)))
    # The texts for drift follow those for statistics, so that neither are the other.
    drift = texts(world, STATISTICS_TEXTS + TEXTS)[STATISTICS_TEXTS:]
    tasks = choice_items(world, min(QUESTIONS, len(world.facts)))
    return Dataset(
        "sandbox" if profile == "default" else f"sandbox:{profile}",
        requests,
        probes=BaseProbes(tuple(questions), tuple(drift), tuple(tasks)),
        corpus=lambda: tuple(texts(world, STATISTICS_TEXTS)),
    )


def _of_file(path: Path, limit: int | None, seed: int, *, skip_bad: bool) -> Dataset:
    file = read_file(path, skip_bad=skip_bad)
    records = list(file.records)
    if limit is not None:
        # Records are drawn, not requests: those of one record belong together.
        records = random.Random(f"data|{seed}").sample(records, len(records))
    requests = tuple(request for record in records for request in record)
    kept = tuple(Question(probe.prompt, probe.answers) for probe in file.kept)
    skipped = tuple(f"[{error.code}] {error.what}" for error in file.skipped)
    return Dataset(path.stem, requests[:limit], skipped, BaseProbes(kept))
