"""What a process keeps between jobs: the base, the data, the methods' contexts, patches read.

Nothing here changes a result; it saves loading the same thing again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import torch

from patchhub import canonical
from patchhub.composer.composer import Composer
from patchhub.durable import swap_in
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import EditContext
from patchhub.editing.prepare import prepare_context
from patchhub.evaluation import observation
from patchhub.guard.check import Case
from patchhub.guard.probes import BaseProbes
from patchhub.loading import LoadedBase, load_base
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.scoring.consistency import References


@dataclass(frozen=True, eq=False)
class Place:
    """A base in memory and what works on it.

    Attributes:
        base: The base.
        composer: Puts patches on it.
        contexts: Of methods, by what they depend on.
    """

    base: LoadedBase
    composer: Composer
    contexts: dict[str, EditContext] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """What an experiment asks about.

    Attributes:
        requests: With their probes.
        probes: The base's own.
        texts: For key statistics; empty for the model's own samples.
        references: Texts about things of which the new facts are true, for consistency.
    """

    requests: tuple[EditRequest, ...]
    probes: BaseProbes
    texts: tuple[str, ...] = ()
    references: References | None = None

    def case(self, *requests: EditRequest, beside: Sequence[EditRequest] = ()) -> Case:
        """Some requests as a case of the guard's checks."""
        others = tuple(beside)
        return Case(requests, self.probes, beside=others, references=self.references)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of requests, probes and texts."""
        return canonical.digest(self._json())

    def write(self, directory: Path) -> Path:
        """Put the data into a directory, under its digest."""
        path = directory / f"{self.digest}.json"
        if not path.exists():
            swap_in(path, json.dumps(self._json()).encode())
        return path

    @cached_property
    def by_digest(self) -> Mapping[str, EditRequest]:
        """The requests by what they ask for."""
        return {request.digest(): request for request in self.requests}

    @cached_property
    def corpus(self) -> str:
        """SHA-256 of the texts."""
        return canonical.digest(list(self.texts))

    @classmethod
    def read(cls, path: Path) -> Data:
        """What `write` wrote."""
        value = json.loads(path.read_bytes())
        requests = tuple(EditRequest.from_json(one, what=str(path)) for one in value["requests"])
        probes = BaseProbes.from_json(value["probes"], str(path))
        passages = {(rel, target): tuple(texts) for rel, target, texts in value["references"]}
        texts, references = tuple(value["texts"]), References(passages) if passages else None
        return cls(requests, probes, texts, references)

    def _json(self) -> dict[str, canonical.Json]:
        passages = {} if self.references is None else self.references.passages
        return {
            "requests": [request.to_json() for request in self.requests],
            "probes": self.probes.to_json(),
            "texts": list(self.texts),
            "references": [[*key, list(texts)] for key, texts in passages.items()],
        }


def place(directory: str, dtype: str, device: str) -> Place:
    """The base in a directory; the one before is let go first, since two may not fit."""
    key = (directory, dtype, device)
    if key not in _places:
        _places.clear()
        base = load_base(Path(directory), dtype=getattr(torch, dtype), device=device)
        _places[key] = Place(base, Composer.over(base))
    return _places[key]


def forget() -> None:
    """Let the base go: other processes will work on it."""
    _places.clear()


_places: dict[tuple[str, str, str], Place] = {}


@lru_cache(maxsize=2)
def data(path: str) -> Data:
    """The data in a file."""
    return Data.read(Path(path))


class _Patches:
    """Patches read, the longest unused let go when together they take much memory."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._kept: dict[str, Patch] = {}

    def __call__(self, directory: str) -> Patch:
        """The patch in a directory."""
        found = self._kept.pop(directory, None)
        if found is None:
            found = Patch.read(Path(directory))
            self._size += _bytes(found)
        self._kept[directory] = found
        while self._size > self._limit and len(self._kept) > 1:
            self._size -= _bytes(self._kept.pop(next(iter(self._kept))))
        return found


def _bytes(patch: Patch) -> int:
    return sum(file.size for file in patch.manifest.files.values())


patch = _Patches(2**28)
"""The patch in a directory."""


@lru_cache(maxsize=2)
def observed(directory: str) -> observation.Observation:
    """The observation in a directory."""
    return observation.load(Path(directory))


def context(
    here: Place,
    data: Data,
    method: str,
    seed: int,
    settings: object,
    requests: Sequence[EditRequest],
    moments: Path,
    memory: int | None = None,
) -> EditContext:
    """What a method needs, prepared once in a process."""
    depends: list[canonical.Json] = [
        method,
        seed,
        repr(settings),
        data.corpus,
        str(moments),
        memory,
    ]
    key = canonical.digest(depends)
    if key not in here.contexts:
        here.contexts[key] = prepare_context(
            here.base,
            load_editor(method),
            requests,
            seed=seed,
            settings=settings,
            moments_cache=moments,
            corpus=data.texts or None,
            memory=memory,
        )
    return here.contexts[key]
