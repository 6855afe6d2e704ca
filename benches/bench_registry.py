"""Adding a patch to a registry: one commit, whatever the size of the model."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from tests.registry.support import new_registry, observed, patch_files

PATCHES = 200
"""Patches that lie in the registry already."""


def bench_add_patch(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    with new_registry(tmp_path / "registry") as registry:
        for i in range(PATCHES):
            registry.add_patch(patch_files(f"old {i}"), f"old-{i}", observed())
        numbers = count()

        def add() -> None:
            i = next(numbers)
            registry.add_patch(patch_files(f"new {i}"), f"new-{i}", observed())

        benchmark.pedantic(  # type: ignore[no-untyped-call]
            add, rounds=20, iterations=1, warmup_rounds=2
        )
        assert len(registry.patches()) == PATCHES + next(numbers)
