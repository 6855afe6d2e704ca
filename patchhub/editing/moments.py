"""Second moments of keys, C = E[k kᵀ] (uncentred): what a layer's MLP usually sees.

All wanted blocks in one pass over a corpus, streamed: each batch's product in the model's dtype,
the sum over batches in float64. Statistics are named by what they follow from (weights, corpus,
length cap, threads), so a cache can never hand out those of another model.

Source: Meng et al. 2022, arXiv:2202.05262, section 3.1 (C is estimated over text, every token
    once).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from patchhub import canonical
from patchhub.durable import swap_in
from patchhub.editing.solver import factorise
from patchhub.editing.tokens import encode, filler_id, pad
from patchhub.editing.trace import by_row, seen_inputs, stopped_after
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.sites import module_of

LENGTH_CAP = 2048
"""Tokens kept per text; the references' cap is the model's context, which can be 131,072."""
_BATCH_TOKENS = 4096
_WINDOW = 512


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums of ``k kᵀ`` per block.

    Attributes:
        key: Content key, see `content_key`.
        base: Digest of the weights of the base they were summed on.
        sums: Block → ``(f, f)`` float64 on the CPU.
        count: Tokens summed.
    """

    key: str
    base: str
    sums: Mapping[int, Tensor]
    count: int
    _factors: dict[int, Tensor] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[int, ...]:
        """The blocks there are sums of."""
        return tuple(sorted(self.sums))

    def second(self, layer: int) -> Tensor:
        """C of one block, ``(f, f)`` float64."""
        return self.sums[layer] / self.count

    def factor(self, layer: int) -> Tensor:
        """Lower Cholesky factor of C; computed once.

        Raises:
            InvalidInputError: E145, C is singular (too little text).
        """
        if layer not in self._factors:
            width = self.sums[layer].shape[0]
            if self.count < width:
                raise InvalidInputError(
                    "E145",
                    f"the corpus is too small for the keys of block {layer}",
                    expected=f"at least {width} tokens, better ten times as many",
                    found=self.count,
                    hint="pass more text",
                )
            self._factors[layer] = factorise(self.second(layer))
        return self._factors[layer]

    def digest(self, layers: Sequence[int]) -> str:
        """SHA-256 over the very values of some blocks, for the manifest."""
        values = {str(n): canonical.sha256(_bytes(self.sums[n])) for n in sorted(layers)}
        return canonical.digest({"count": self.count, "sums": values})


def content_of(base: LoadedBase, corpus: str, *, cap: int) -> dict[str, canonical.Json]:
    """All that decides the bits of the statistics of ``corpus`` (a digest) under a base.

    The thread count does on a CPU, and a patch records both: a hit must not change its id.
    """
    device = base.model.device.type
    return {
        "base": base.fingerprint.weights,
        "corpus": corpus,
        "cap": cap,
        "device": device,
        "dtype": str(base.model.dtype),
        "threads": torch.get_num_threads() if device == "cpu" else 0,
        "site": base.arch.decoder.mlp_out,
    }


def content_key(base: LoadedBase, corpus: str, *, cap: int) -> str:
    """Name of such statistics."""
    return canonical.digest(content_of(base, corpus, cap=cap))


def cache_file(cache: Path, key: str) -> Path:
    """Where a cache keeps the statistics of a name."""
    return cache / f"moments-{key[:32]}.safetensors"


def corpus_digest(texts: Sequence[str]) -> str:
    """SHA-256 over texts in their order."""
    return canonical.digest(list(texts))


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
    corpus: str,
    layers: Sequence[int],
    cache: Path | None,
    elsewhere: Mapping[str, Sequence[int]] | None = None,
) -> tuple[int, ...]:
    """Blocks whose statistics `moments_of` would have to compute.

    Args:
        base: As for `moments_of`.
        corpus: As for `moments_of`.
        layers: Wanted blocks.
        cache: As for `moments_of`; only looked at.
        elsewhere: Content key to blocks that could be brought into the cache.
    """
    key = content_key(base, corpus, cap=_cap(base))
    found = None if cache is None else described(cache_file(cache, key))
    known = {*(found[1] if found else ()), *(elsewhere or {}).get(key, ())}
    return tuple(sorted(set(layers) - known))


def moments_of(
    base: LoadedBase,
    corpus: str,
    texts: Callable[[], Sequence[str]],
    layers: Sequence[int],
    *,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Moments:
    """Statistics from the cache, or computed and put there; blocks the cache lacks are added.

    Args:
        base: The unpatched base.
        corpus: Digest that determines the texts.
        texts: Called for the texts only when something has to be computed.
        layers: Wanted blocks.
        cache: Directory for one file per content key; ``None`` keeps nothing.
        progress: Told texts done and texts in all.
    """
    content = content_of(base, corpus, cap=_cap(base))
    key = canonical.digest(content)
    file = None if cache is None else cache_file(cache, key)
    known = None if file is None else _load(file, key, base.fingerprint.weights)
    missing = sorted(set(layers) - set(known.layers if known else ()))
    if known is not None and not missing:
        return known
    fresh = compute_moments(base, texts(), missing, key=key, progress=progress)
    both = Moments(key, fresh.base, {**(known.sums if known else {}), **fresh.sums}, fresh.count)
    if file is not None:
        _save(both, file, content)
    return both


@torch.no_grad()
def compute_moments(
    base: LoadedBase,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    key: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Moments:
    """One pass over ``texts`` for all ``layers``.

    Raises:
        InvalidInputError: E145, the corpus holds no token.
    """
    names = {str(n): n for n in layers}
    modules = {
        s: module_of(base.model, base.arch.path("mlp_out", n, base.model)) for s, n in names.items()
    }
    last = modules[str(max(layers))]
    sums: dict[int, Tensor] = {}
    count = done = 0
    for rows in _batches(base, texts):
        batch = pad(rows, filler=filler_id(base.tokenizer), device=base.model.device)
        with seen_inputs(modules) as seen, stopped_after(last):
            base.model.base_model(input_ids=batch.ids, attention_mask=batch.mask)
        real = batch.mask.bool()
        for name, layer in names.items():
            keys = by_row(seen[name], len(rows))[real]
            product = (keys.T @ keys).double().cpu()
            sums[layer] = sums[layer].add_(product) if layer in sums else product
        count += int(real.sum())
        done += len(rows)
        if progress is not None:
            progress(done, len(texts))
    if count == 0:
        raise InvalidInputError("E145", "the corpus is empty", hint="pass some text")
    return Moments(key, base.fingerprint.weights, sums, count)


def _cap(base: LoadedBase) -> int:
    context = getattr(base.model.config, "max_position_embeddings", LENGTH_CAP)
    return min(int(context), LENGTH_CAP)


def _batches(base: LoadedBase, texts: Sequence[str]) -> Iterator[list[tuple[int, ...]]]:
    """Token rows packed by length, so that little is padding; the texts alone fix the order."""
    cap = _cap(base)
    for start in range(0, len(texts), _WINDOW):
        window = [encode(base.tokenizer, text).ids[:cap] for text in texts[start : start + _WINDOW]]
        rows = sorted((ids for ids in window if ids), key=len, reverse=True)
        batch: list[tuple[int, ...]] = []
        for ids in rows:
            if batch and len(batch[0]) * (len(batch) + 1) > _BATCH_TOKENS:
                yield batch
                batch = []
            batch.append(ids)
        if batch:
            yield batch


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.contiguous().numpy().data).cast("B")


def _save(moments: Moments, file: Path, content: canonical.Json) -> None:
    tensors = {str(n): t.contiguous() for n, t in moments.sums.items()}
    tensors["count"] = torch.tensor(moments.count)
    data = safetensors.torch.save(tensors, metadata={"content": canonical.dumps(content).decode()})
    swap_in(file, data)


def _load(file: Path, key: str, base: str) -> Moments | None:
    """The cached statistics; an unreadable file or one of another key is as good as none."""
    try:
        with safetensors.safe_open(file, framework="pt") as stored:
            content = (stored.metadata() or {}).get("content", "")
            if canonical.sha256(content.encode()) != key:
                return None
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    count = int(tensors.pop("count"))
    return Moments(key, base, {int(name): one for name, one in tensors.items()}, count)
