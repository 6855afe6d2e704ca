"""Applying and reverting in memory, beside PEFT's merge and unmerge of the same patch.

Both work on a model of their own, loaded from the same checkpoint, with the same factors, in turn.
PEFT adds the product to the weight, and takes it away again; PatchHub writes the correctly rounded
exact sum, and the base's own bytes. One thread each: threads that wait for each other on a machine
that is not quiet would be all that is measured.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from transformers import PreTrainedModel

from benches.models import load_model, modules_of, patch_of, save_model
from benches.paired import least_seconds
from patchhub.composer.composer import Composer
from patchhub.composer.pristine import CheckpointPristine
from patchhub.fingerprint import fingerprint
from patchhub.patch import Patch
from patchhub.tensorfile import open_checkpoint

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
FLOORS = {"fp32": 5.0, "bf16": 3.0}
"""Ratio to PEFT's merge above which the bench fails; the goals are 2 and 1."""
REVERT_FLOOR = 1.0
ROUNDS = 15


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["gpt2-fp32", "gpt2-bf16", "llama-fp32", "llama-bf16"])
def checkpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, Path]]:
    family, form = request.param.split("-")
    directory = tmp_path_factory.mktemp("model")
    yield family, form, save_model(family, DTYPES[form], directory)
    shutil.rmtree(directory)


@pytest.mark.parametrize(("rank", "layers"), [(1, 1), (8, 3), (16, 12)])
def bench_against_merge_and_unmerge(
    benchmark: BenchmarkFixture,
    figure: Callable[[str], None],
    checkpoint: tuple[str, str, Path],
    rank: int,
    layers: int,
) -> None:
    family, form, directory = checkpoint
    ours, theirs = (load_model(directory, DTYPES[form]) for _ in range(2))
    modules = modules_of(family, layers)
    identity = fingerprint(directory)
    patch = patch_of(ours, identity, modules, rank)
    composer = Composer(ours, identity, CheckpointPristine(open_checkpoint(directory)))
    adapter = _adapter(theirs, patch, modules, rank, turned=family == "gpt2")
    before = [weight.clone() for weight in _weights(ours, modules)]
    least = least_seconds(
        {
            "merge": adapter.merge_adapter,
            "unmerge": adapter.unmerge_adapter,
            "apply": lambda: composer.apply(patch),
            "revert": lambda: composer.revert(patch.id),
        },
        ROUNDS,
    )
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: composer.apply(patch), teardown=lambda: composer.revert(patch.id), rounds=5
    )
    apply, revert = least["apply"] / least["merge"], least["revert"] / least["unmerge"]
    drift = _drift(_weights(theirs, [f"{module}.base_layer" for module in modules]), before)
    own = _drift(_weights(ours, modules), before)
    benchmark.extra_info.update({f"{k}_ms": round(v * 1e3, 3) for k, v in least.items()})
    figure(
        f"apply {least['apply'] * 1e3:.2f} ms = {apply:.2f} x merge, revert "
        f"{least['revert'] * 1e3:.2f} ms = {revert:.2f} x unmerge; weights changed after "
        f"{ROUNDS + 1} cycles: PEFT {drift:.1%}, here {own:.1%}"
    )
    assert own == 0
    assert apply <= FLOORS[form]
    assert revert <= REVERT_FLOOR


def _adapter(
    model: PreTrainedModel, patch: Patch, modules: list[str], rank: int, *, turned: bool
) -> PeftModel:
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=modules, fan_in_fan_out=turned)
    with warnings.catch_warnings():
        # PEFT asks transformers for a property that is going away.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        adapter = get_peft_model(model, config)
    assert isinstance(adapter, PeftModel)
    for module in modules:
        layer: Any = adapter.get_submodule(f"base_model.model.{module}")
        roles = patch.payload[f"{module}.weight"]
        layer.lora_A["default"].weight.data = roles["A"].clone()
        layer.lora_B["default"].weight.data = roles["B"].clone()
    return adapter


def _weights(model: PreTrainedModel, modules: list[str]) -> list[Tensor]:
    return [model.get_parameter(f"{module}.weight").detach() for module in modules]


def _drift(weights: list[Tensor], before: list[Tensor]) -> float:
    """Share of the weights that are not what they were."""
    changed = sum(int((a != b).sum()) for a, b in zip(weights, before, strict=True))
    return changed / sum(weight.numel() for weight in before)
