"""What live patches cost while a model runs, beside the same model without slots.

A codebook of 10,000 rows at one layer, and 16 low-rank patches that one request of a batch may have
and others not, at five layers; random models of 97 million parameters, one thread. The models take
turns, so that all of them meet the same weather.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from benches.models import load_model, modules_of, patch_of, save_model
from benches.paired import least_seconds
from patchhub.composer.composer import Composer
from patchhub.composer.pristine import CheckpointPristine
from patchhub.fingerprint import Fingerprint, fingerprint
from patchhub.manifest import Kind, MethodRecord
from patchhub.patch import Patch
from patchhub.sites import site_for
from patchhub.tensorfile import open_checkpoint

PROMPT, ROWS, PATCHES, LAYERS, ROUNDS = 64, 10_000, 16, 5, (8, 60)
FIRST_TOKEN, LATER_TOKENS, RANKS = 1.20, 1.03, 1.08
"""Ratios to the plain model that may not be passed: of a codebook, and of low-rank patches."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield save_model("gpt2", torch.float32, tmp_path_factory.mktemp("slots") / "base")
    torch.set_num_threads(threads)


def codebook(model: PreTrainedModel, base: Fingerprint) -> Patch:
    """Rows that no prompt passes; what a look-up costs does not hang on that."""
    site = site_for(model, base, f"{modules_of('gpt2', 9)[-1]}.weight")
    make = torch.Generator().manual_seed(0)
    roles = {
        "keys": torch.randn(ROWS, site.matrix_shape[1], generator=make),
        "radius": torch.zeros(ROWS),
        "group": torch.zeros(ROWS, dtype=torch.int32),
        "values": torch.randn(ROWS, site.matrix_shape[0], generator=make),
        "position": torch.zeros(ROWS, dtype=torch.int32),
    }
    return Patch.build(
        Kind.CODEBOOK,
        {site.tensor: roles},
        sites=[site],
        base=base.weights,
        method=MethodRecord("bench", 1),
        requests=(),
    )


def steps(models: dict[str, PreTrainedModel]) -> list[dict[str, Callable[[], object]]]:
    """Reading a prompt by each model, and saying one more token."""
    ids = torch.randint(0, 1000, (1, PROMPT), generator=torch.Generator().manual_seed(0))
    caches: dict[str, Any] = {}

    def first(name: str) -> Callable[[], object]:
        def run() -> None:
            model: Any = models[name]
            caches[name] = model(ids, use_cache=True, logits_to_keep=1).past_key_values

        return run

    def later(name: str) -> Callable[[], object]:
        def run() -> Tensor:
            model: Any = models[name]
            logits: Tensor = model(ids[:, :1], past_key_values=caches[name], use_cache=True).logits
            return logits

        return run

    words = {"first": first, "later": later}
    return [{f"{word} {name}": step(name) for name in models} for word, step in words.items()]


def bench_slots(directory: Path, figure: Callable[[str], None]) -> None:
    base = fingerprint(directory)
    plain = load_model(directory, torch.float32)
    files = open_checkpoint(directory)
    models = {"plain": plain, "rows": deepcopy(plain), "ranks": deepcopy(plain)}
    patches = [
        patch_of(plain, base, modules_of("gpt2", LAYERS), 1, seed) for seed in range(PATCHES)
    ]
    Composer(models["rows"], base, CheckpointPristine(files)).apply(codebook(plain, base))
    ranks = Composer(models["ranks"], base, CheckpointPristine(files))
    with ranks.rows(patches), torch.no_grad():
        least: dict[str, float] = {}
        for part, rounds in zip(steps(models), ROUNDS, strict=True):
            least |= least_seconds(part, rounds)
    ratios = {name: least[name] / least[f"{name.split()[0]} plain"] for name in least}
    figure(
        f"{ROWS:,} rows: first token {ratios['first rows']:.3f}, later {ratios['later rows']:.3f}; "
        f"{PATCHES} low-rank patches: {ratios['first ranks']:.3f}, {ratios['later ranks']:.3f}"
    )
    assert ratios["first rows"] <= FIRST_TOKEN
    assert ratios["later rows"] <= LATER_TOKENS
    assert ratios["later ranks"] <= RANKS
