"""A registry of 10,000 patches, and a stack of 10,000 entries: adding, listing, looking up.

CPU seconds of the process and its children, the least of several runs, so that a busy machine does
not count; they must stay below the floors.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from patchhub.canonical import sha256
from patchhub.fingerprint import Fingerprint, TensorEntry
from patchhub_registry import Registry
from tests.registry import bulk
from tests.registry.support import new_registry, observed, patch_files

PATCHES = 10_000
RUNS = 7
START = "import sys; from patchhub_cli.main import main; main(sys.argv[1:])"
ADD, LOOK, COMMIT = 0.15, 0.2, 0.1
"""Floors in seconds: one add, one look (interpreter included), one commit beside a large model."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    root = tmp_path_factory.mktemp("large") / "registry"
    with bulk.build(root, PATCHES, PATCHES) as registry:
        assert registry.count() == PATCHES
        yield registry


def _cpu(call: Callable[[], object]) -> float:
    """CPU seconds of a call and of the processes it waited for."""
    before = os.times()
    call()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def _require(benchmark: BenchmarkFixture, call: Callable[[], object], floor: float) -> None:
    seconds = min(_cpu(call) for _ in range(RUNS))
    benchmark.extra_info["cpu_seconds"] = round(seconds, 3)
    assert seconds <= floor


def _adder(registry: Registry, prefix: str) -> Callable[[], object]:
    numbers = count()

    def add() -> object:
        text = f"{prefix}-{next(numbers)}-{time.time_ns()}"
        files = patch_files(text)
        registry.add_patch(files, text, observed())
        registry.close()  # children count once they have ended
        return files

    return add


def bench_add_to_many(benchmark: BenchmarkFixture, large: Registry) -> None:
    add = _adder(large, "new")
    benchmark.pedantic(add, rounds=5, warmup_rounds=1)  # type: ignore[no-untyped-call]
    _require(benchmark, add, ADD)


@pytest.mark.parametrize("command", ["list", "log", "log --limit 20", "status", "show fact-77"])
def bench_look(benchmark: BenchmarkFixture, large: Registry, command: str) -> None:
    arguments = [sys.executable, "-c", START, "-C", str(large.root), *command.split()]

    def run() -> object:
        return subprocess.run(arguments, check=True, capture_output=True)

    run()  # warm: the index is there
    benchmark.pedantic(run, rounds=5)  # type: ignore[no-untyped-call]
    _require(benchmark, run, LOOK)


def bench_index_follows_one_commit(benchmark: BenchmarkFixture, large: Registry) -> None:
    add = _adder(large, "followed")
    large.count()

    def follow() -> object:
        return large.count()

    benchmark.pedantic(follow, setup=lambda: add() and None, rounds=5)  # type: ignore[no-untyped-call]


def bench_index_from_nothing(benchmark: BenchmarkFixture, large: Registry) -> None:
    def build() -> object:
        large.close()
        (large.root / ".patchhub/index.sqlite").unlink(missing_ok=True)
        return large.count()

    benchmark.pedantic(build, rounds=1)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("question", ["subject", "part", "id"])
def bench_lookup(benchmark: BenchmarkFixture, large: Registry, question: str) -> None:
    one = large.resolve("fact-77")
    asked: dict[str, Callable[[], object]] = {
        "subject": lambda: large.facts("land-77", exact=True),
        "part": lambda: large.facts("land-77"),
        "id": lambda: large.resolve(one.short),
    }
    assert asked[question]()
    benchmark(asked[question])


def bench_verify_many(benchmark: BenchmarkFixture, large: Registry) -> None:
    def audit() -> None:
        assert large.audit().ok

    benchmark.pedantic(audit, rounds=1)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("tensors", [100, 10_000])
def bench_commit_beside_a_model(benchmark: BenchmarkFixture, tmp_path: Path, tensors: int) -> None:
    """A patch for a model of so many tensors; the payload is a rank-1 edit of 4,096 × 11,008."""
    entry = TensorEntry("BF16", (4096, 11008), sha256(b"tensor"))
    table = {f"model.layers.{i}.weight": entry for i in range(tensors)}
    fingerprint = Fingerprint(table, sha256(b"config"), {})
    weights = fingerprint.weights  # a digest over the whole table: known before a patch comes
    with new_registry(tmp_path / "registry") as registry:
        registry.add_base("large", fingerprint)
        numbers = count()

        def commit() -> None:
            text = sha256(str(next(numbers)).encode()) * 47  # × 20: 60 kB
            files = patch_files(text, base=weights)
            registry.add_patch(files, f"patch-{next(numbers)}", observed(base="large"))
            registry.close()

        benchmark.pedantic(commit, rounds=5, warmup_rounds=1)  # type: ignore[no-untyped-call]
        _require(benchmark, commit, COMMIT)
