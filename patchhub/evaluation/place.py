"""What a process keeps between jobs: the base, the data, the methods' contexts, patches read.

Nothing here changes a result; it saves loading the same thing again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
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
    """A base in memory and the composer that puts patches on it."""

    base: LoadedBase
    composer: Composer


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


@lru_cache(maxsize=1)
def place(directory: str, dtype: str, device: str) -> Place:
    """The base in a directory."""
    base = load_base(Path(directory), dtype=getattr(torch, dtype), device=device)
    return Place(base, Composer.over(base))


@lru_cache(maxsize=2)
def data(path: str) -> Data:
    """The data in a file."""
    return Data.read(Path(path))


@lru_cache(maxsize=512)
def patch(directory: str) -> Patch:
    """The patch in a directory."""
    return Patch.read(Path(directory))


@lru_cache(maxsize=2)
def observed(directory: str) -> observation.Observation:
    """The observation in a directory."""
    return observation.load(Path(directory))


def context(
    base: LoadedBase,
    method: str,
    seed: int,
    settings: object,
    requests: Sequence[EditRequest],
    texts: tuple[str, ...],
    moments: Path,
) -> EditContext:
    """What a method needs, prepared once in a process."""
    key = canonical.digest({"method": method, "seed": seed, "settings": repr(settings)})
    kept = _contexts(base)
    if key not in kept:
        kept[key] = prepare_context(
            base,
            load_editor(method),
            requests,
            seed=seed,
            settings=settings,
            moments_cache=moments,
            corpus=texts or None,
        )
    return kept[key]


@cache
def _contexts(base: LoadedBase) -> dict[str, EditContext]:
    return {}
