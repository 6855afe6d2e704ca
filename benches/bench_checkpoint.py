"""Patching a checkpoint of 500 MB on the disk, beside writing the same bytes plainly.

Wall time, the least of several rounds taken in turn: most of it is waiting for the disk.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benches.models import load_model, modules_of, patch_of, save_model
from benches.paired import least_seconds
from patchhub.checkpoint import Generation, materialise
from patchhub.checkpoint.place import place_of
from patchhub.fingerprint import Fingerprint, fingerprint
from patchhub.patch import Patch

FIRST, SECOND = 1.2, 3.0
"""Ratios above which the bench fails: to a rewrite of the shard, to a write of the tensor."""
AGAIN = 0.005
"""Seconds in which a directory must go back to a generation that was kept."""


@dataclass(frozen=True)
class Checkpoint:
    """A base, patches of one tensor, and a place for model directories."""

    base: Path
    identity: Fingerprint
    patches: Sequence[Patch]

    def put(self, target: Path, *numbers: int) -> Generation:
        """Make a directory hold the patches with these numbers."""
        stack = [self.patches[i] for i in numbers]
        return materialise(target, self.base, self.identity, stack)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkpoint]:
    root = tmp_path_factory.mktemp("checkpoint")
    base = save_model("gpt2", torch.float32, root / "base")
    model, identity = load_model(base, torch.float32), fingerprint(base)
    (module,) = modules_of("gpt2", 1)
    patches = [patch_of(model, identity, [module], 1, seed=seed) for seed in range(40)]
    del model
    yield Checkpoint(base, identity, patches)
    shutil.rmtree(root)


def bench_first_apply(
    benchmark: BenchmarkFixture, figure: Callable[[str], None], checkpoint: Checkpoint
) -> None:
    target = checkpoint.base.with_name("first")
    shard = checkpoint.base / "model.safetensors"

    def first() -> None:
        checkpoint.put(target, 0)

    steps = {
        "rewrite": lambda: _rewrite(shard, shard.with_name("plain.tmp")),
        "apply": first,
    }
    least = least_seconds(steps, 4, before_each=lambda: _clear(target, shard))
    ratio = least["apply"] / least["rewrite"]
    figure(
        f"first apply {least['apply'] * 1e3:.0f} ms = {ratio:.2f} x a rewrite of the shard of "
        f"{shard.stat().st_size / 1e6:.0f} MB ({least['rewrite'] * 1e3:.0f} ms)"
    )
    benchmark.pedantic(first, setup=lambda: _clear(target, shard), rounds=2)  # type: ignore[no-untyped-call]
    _clear(target, shard)
    assert ratio <= FIRST


def bench_second_apply(
    benchmark: BenchmarkFixture, figure: Callable[[str], None], checkpoint: Checkpoint
) -> None:
    target = checkpoint.base.with_name("second")
    checkpoint.put(target, 0)
    tensor = checkpoint.patches[0].manifest.sites[0]
    data = bytes(4 * tensor.shape[0] * tensor.shape[1])
    numbers = iter(range(1, len(checkpoint.patches)))

    def second() -> None:
        checkpoint.put(target, next(numbers))

    plain = target.with_name("plain.tmp")
    least = least_seconds({"write": lambda: _write(plain, data), "apply": second}, 20)
    ratio = least["apply"] / least["write"]
    figure(
        f"second apply {least['apply'] * 1e3:.1f} ms = {ratio:.2f} x write and fsync of the "
        f"tensor's {len(data) / 1e6:.1f} MB ({least['write'] * 1e3:.1f} ms)"
    )
    benchmark.pedantic(second, rounds=5)  # type: ignore[no-untyped-call]
    assert ratio <= SECOND


def bench_revert_to_a_kept_generation(
    benchmark: BenchmarkFixture, figure: Callable[[str], None], checkpoint: Checkpoint
) -> None:
    target = checkpoint.base.with_name("again")
    one, two = checkpoint.put(target, 0), checkpoint.put(target, 0, 1)

    def back() -> None:
        checkpoint.put(target, 0, 1)

    steps: dict[str, Callable[[], object]] = {
        "revert": lambda: checkpoint.put(target, 0),
        "apply": back,
        "syncs": lambda: _syncs(target.parent, 6),
    }
    least = least_seconds(steps, 20)
    assert place_of(target).generations() == [one.number, two.number]
    figure(
        f"revert to a kept generation {least['revert'] * 1e3:.1f} ms, "
        f"of which 6 bare fsyncs take {least['syncs'] * 1e3:.1f} ms"
    )
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        steps["revert"], setup=back, rounds=5
    )
    assert least["revert"] <= AGAIN


def _clear(target: Path, shard: Path) -> None:
    """As before the first apply; the shard stays in the page cache for both sides."""
    target.unlink(missing_ok=True)
    shutil.rmtree(place_of(target).store, ignore_errors=True)
    shard.with_name("plain.tmp").unlink(missing_ok=True)


def _rewrite(source: Path, destination: Path) -> None:
    """Read a file and write it again, a few megabytes at a time, until it is on the disk."""
    with source.open("rb") as old, destination.open("wb") as new:
        while block := old.read(1 << 22):
            new.write(block)
        os.fsync(new.fileno())


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with path.open("wb", buffering=0) as stream:
        stream.write(data)
        os.fsync(stream.fileno())


def _syncs(directory: Path, count: int) -> None:
    for number in range(count):
        path = directory / f"sync-{number}.tmp"
        _write(path, b"{}")
        path.unlink()
