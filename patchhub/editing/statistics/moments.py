"""Second moments of keys, C = E[k kᵀ] (uncentred): what a layer's MLP usually sees.

All wanted blocks in one pass over a corpus (`patchhub.editing.statistics.summing`). Statistics are
named by what they follow from (weights, corpus, amount, length cap, threads), so a cache can never
hand out those of another model.

Source: Meng et al. 2022, arXiv:2202.05262, section 3.1 (C is estimated over text, every token
    once).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from patchhub import canonical
from patchhub.durable import swapped_in
from patchhub.editing.keyvalue.solver import factorise, spectrum
from patchhub.editing.statistics.corpus import Corpus
from patchhub.editing.statistics.summing import Checkpoint, grouped, length_cap, summed
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.provenance import CorpusRecord

Progress = Callable[[str, int, int], None]
"""Told a phase with its unit, units done and units in all."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums of ``k kᵀ`` per block.

    Attributes:
        key: Content key, see `content_key`.
        base: Digest of the weights of the base they were summed on.
        sums: Block → ``(f, f)`` float64 on the CPU.
        count: Tokens summed.
        corpus: What text they were summed over, for the manifest.
    """

    key: str
    base: str
    sums: Mapping[int, Tensor]
    count: int
    corpus: CorpusRecord | None = None
    _factors: dict[int, Tensor] = field(default_factory=dict)
    _spectra: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[int, ...]:
        """The blocks there are sums of."""
        return tuple(sorted(self.sums))

    def second(self, layer: int) -> Tensor:
        """C of one block, ``(f, f)`` float64.

        Raises:
            InvalidInputError: E145, C has no full rank: it is of fewer tokens than dimensions.
        """
        width = self.sums[layer].shape[0]
        if self.count < width:
            raise InvalidInputError(
                "E145",
                f"the corpus is too small for the keys of block {layer}",
                expected=f"at least {width} tokens, better ten times as many",
                found=self.count,
                hint="pass more text",
            )
        return self.sums[layer] / self.count

    def factor(self, layer: int) -> Tensor:
        """Lower Cholesky factor of C; computed once.

        Raises:
            InvalidInputError: E145, C is singular (too little text).
        """
        if layer not in self._factors:
            self._factors[layer] = factorise(self.second(layer))
        return self._factors[layer]

    def spectrum(self, layer: int) -> tuple[Tensor, Tensor]:
        """Eigenvalues of C, ascending, and its eigenvectors; computed once (E145 as `second`)."""
        if layer not in self._spectra:
            self._spectra[layer] = spectrum(self.second(layer))
        return self._spectra[layer]

    def digest(self, layers: Sequence[int]) -> str:
        """SHA-256 over the very values of some blocks, for the manifest."""
        values = {str(n): canonical.sha256(_bytes(self.sums[n])) for n in sorted(layers)}
        return canonical.digest({"count": self.count, "sums": values})


def content_of(base: LoadedBase, corpus: CorpusRecord) -> dict[str, canonical.Json]:
    """All that decides the bits of the statistics of a corpus under a base.

    The thread count does on a CPU, and a patch records both: a hit must not change its id.
    """
    device = base.model.device.type
    return {
        "base": base.fingerprint.weights,
        "corpus": corpus.to_json(),
        "cap": length_cap(base),
        "device": device,
        "dtype": str(base.model.dtype),
        "threads": torch.get_num_threads() if device == "cpu" else 0,
        "site": base.arch.stacks[base.arch.reading].mlp_out,
    }


def content_key(base: LoadedBase, corpus: CorpusRecord) -> str:
    """Name of such statistics."""
    return canonical.digest(content_of(base, corpus))


def cache_file(cache: Path, key: str) -> Path:
    """Where a cache keeps the statistics of a name."""
    return cache / f"moments-{key[:32]}.safetensors"


def described(file: Path) -> tuple[Mapping[str, canonical.Json], tuple[int, ...]] | None:
    """What a cache file holds: what decides its content, and which blocks; None without one."""
    try:
        with safetensors.safe_open(file, framework="pt") as stored:
            content = json.loads((stored.metadata() or {})["content"])
            names = set(stored.keys()) - {"count"}
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return content, tuple(sorted(map(int, names)))


def missing_layers(
    base: LoadedBase,
    corpus: CorpusRecord,
    layers: Sequence[int],
    cache: Path | None,
    elsewhere: Mapping[str, Sequence[int]] | None = None,
) -> tuple[int, ...]:
    """Blocks whose statistics `moments_of` would have to compute.

    Args:
        base: As for `moments_of`.
        corpus: Of the corpus.
        layers: Wanted blocks.
        cache: As for `moments_of`; only looked at.
        elsewhere: Content key to blocks that could be brought into the cache.
    """
    key = content_key(base, corpus)
    found = None if cache is None else described(cache_file(cache, key))
    known = {*(found[1] if found else ()), *(elsewhere or {}).get(key, ())}
    return tuple(sorted(set(layers) - known))


def moments_of(
    base: LoadedBase,
    corpus: Corpus,
    layers: Sequence[int],
    *,
    cache: Path | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
) -> Moments:
    """Statistics from the cache, or computed and put there; blocks the cache lacks are added.

    A computation that was killed is taken up where it last wrote a checkpoint into the cache; the
    bits are those of one that was not.

    Args:
        base: The unpatched base.
        corpus: The text; it is read, or written, only when something has to be computed.
        layers: Wanted blocks.
        cache: Directory for one file per content key; ``None`` keeps nothing.
        memory: Bytes for the sums; what does not fit together takes a pass of its own.
        progress: Told how far the writing and the reading of the text are.

    Raises:
        InvalidInputError: E145, the corpus holds no token.
    """
    content = content_of(base, corpus.record)
    key = canonical.digest(content)
    file = None if cache is None else cache_file(cache, key)
    known = None if file is None else _load(file, key, base.fingerprint.weights, corpus.record)
    missing = sorted(set(layers) - set(known.layers if known else ()))
    if known is not None and not missing:
        return known
    written = None if file is None else file.with_suffix(".samples")
    texts = corpus.texts(written, _phase(progress, "own texts"))
    unit = "texts" if corpus.limit is None else "tokens"
    fresh = compute_moments(
        base,
        texts,
        missing,
        key=key,
        corpus=corpus,
        unfinished=None if file is None else file.with_suffix(".part"),
        memory=memory,
        progress=_phase(progress, f"statistics, {unit}"),
    )
    sums = {**(known.sums if known else {}), **fresh.sums}
    both = Moments(key, fresh.base, sums, fresh.count, corpus.record)
    if file is not None:
        _save(both, file, content)
    if written is not None:
        written.unlink(missing_ok=True)
    return both


def compute_moments(
    base: LoadedBase,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    key: str = "",
    corpus: Corpus | None = None,
    unfinished: Path | None = None,
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Moments:
    """One pass over ``texts`` for all ``layers``, or as few as fit into ``memory``.

    Args:
        base: The base.
        texts: In the order in which they are read.
        layers: The blocks.
        key: Names the statistics, and with the blocks the pass.
        corpus: Says how much is read; without it everything.
        unfinished: File that keeps what is done until all is.
        memory: As for `moments_of`.
        progress: Told texts, or tokens where they are limited, done and in all.

    Raises:
        InvalidInputError: E145, the corpus holds no token.
    """
    limit = None if corpus is None else corpus.limit
    sums: dict[int, Tensor] = {}
    count = 0
    for group in grouped(base, layers, memory):
        checkpoint = Checkpoint(unfinished, {"key": key, "blocks": list(group)})
        found = summed(base, texts, group, checkpoint, limit=limit, progress=progress)
        sums |= {layer: one.cpu() for layer, one in found.sums.items()}
        count = found.count
        checkpoint.done()
    if count == 0:
        raise InvalidInputError("E145", "the corpus is empty", hint="pass some text")
    record = None if corpus is None else corpus.record
    return Moments(key, base.fingerprint.weights, sums, count, record)


def _phase(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    tell = progress
    return lambda done, total: tell(name, done, total)


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.contiguous().numpy().data).cast("B")


def _save(moments: Moments, file: Path, content: canonical.Json) -> None:
    tensors = {str(n): t.contiguous() for n, t in moments.sums.items()}
    tensors["count"] = torch.tensor(moments.count)
    metadata = {"content": canonical.dumps(content).decode()}
    with swapped_in(file) as beside:
        safetensors.torch.save_file(tensors, beside, metadata=metadata)


def _load(file: Path, key: str, base: str, corpus: CorpusRecord) -> Moments | None:
    """The cached statistics; an unreadable file or one of another key is as good as none."""
    with suppress(OSError, SafetensorError):
        with safetensors.safe_open(file, framework="pt") as stored:
            content = (stored.metadata() or {}).get("content", "")
            if canonical.sha256(content.encode()) != key:
                return None
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        count = int(tensors.pop("count"))
        sums = {int(name): one for name, one in tensors.items()}
        return Moments(key, base, sums, count, corpus)
    return None
