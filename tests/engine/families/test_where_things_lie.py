"""The data of every family against its models: paths, shapes, orientation, ties, names."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from patchhub.editing.passes.trace import seen_inputs
from patchhub.loading import LoadedBase
from patchhub.manifest import Orientation
from patchhub.sites import (
    known_architectures,
    module_of,
    parameter_for,
    site_for,
    weight_matrix,
)
from tests.engine.families.support import CASES, base_of, logits
from tests.pico import ARCHITECTURES, WIDTH

ATTENTION = ("attention_in", "attention_out", "cross_attention_in", "cross_attention_out")
MATRICES = (*ATTENTION, "mlp_in", "mlp_out")
HEAD = "lm_head.weight"


def listed(base: LoadedBase, stack: str, layer: int) -> dict[str, tuple[str, ...]]:
    """Paths of the modules with weights in a block, by part."""
    arch, found = base.arch, {}
    for part in (*MATRICES, "norms"):
        value = getattr(arch.stacks[stack], part)
        if isinstance(value, tuple):
            found[part] = arch.paths(part, layer, base.model, stack)
        else:
            found[part] = () if value is None else (arch.path(part, layer, base.model, stack),)
    return found


def test_every_file_has_a_pico_model() -> None:
    assert set(known_architectures()) == set(ARCHITECTURES)


@pytest.mark.parametrize(("family", "tied"), CASES)
def test_a_block_consists_of_what_is_listed(family: str, tied: bool) -> None:
    base = base_of(family, tied)
    for name, stack in base.arch.stacks.items():
        assert base.arch.block_count(base.model, name) == 2
        for layer in range(2):
            block = base.arch.path("block", layer, base.model, name)
            owners = {
                f"{block}.{path}"
                for path, module in module_of(base.model, block).named_modules()
                if list(module.parameters(recurse=False)) and not isinstance(module, nn.Embedding)
            }
            parts = listed(base, name, layer)
            assert {path for paths in parts.values() for path in paths} == owners
            assert sum(len(paths) for paths in parts.values()) == len(owners)
            assert all(parts[part] for part in ("attention_in", "mlp_in", "norms"))
            inner = module_of(base.model, base.arch.path("mlp", layer, base.model, name))
            assert module_of(base.model, parts["mlp_out"][0]) in set(inner.modules())
        assert list(module_of(base.model, stack.final_norm).parameters(recurse=False))


@pytest.mark.parametrize(("family", "tied"), CASES)
def test_sites_are_the_stored_tensors(family: str, tied: bool) -> None:
    base = base_of(family, tied)
    for path, module in matrices(base).items():
        for tensor in [f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)]:
            site = site_for(base.model, base.fingerprint, tensor)
            parameter = base.model.get_parameter(tensor)
            stored = base.fingerprint.tensors[site.tensor]
            assert site.shape == stored.shape == tuple(parameter.shape)
            assert (site.dtype, site.pre) == (stored.dtype, stored.sha256)
            assert site.module == path
            assert parameter_for(base.model, site) is parameter
            assert site_for(base.model, base.fingerprint, site.tensor) == site
            turned = Orientation.IN_OUT if isinstance(module, Conv1D) else Orientation.OUT_IN
            assert site.orientation is (Orientation.VECTOR if parameter.ndim == 1 else turned)
            if parameter.ndim == 2:
                assert site.matrix_shape == tuple(weight_matrix(module).shape)


def matrices(base: LoadedBase) -> dict[str, nn.Module]:
    """Every projection of every block, by path."""
    return {
        path: module_of(base.model, path)
        for name in base.arch.stacks
        for layer in range(2)
        for part, paths in listed(base, name, layer).items()
        if part in MATRICES
        for path in paths
    }


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_a_projection_multiplies_what_its_hook_sees(family: str) -> None:
    base = base_of(family)
    seen, found = matrices(base), {}

    def keep(path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
            found[path] = output

        return hook

    handles = [module.register_forward_hook(keep(path)) for path, module in seen.items()]
    with seen_inputs(seen) as into:
        logits(base.model)
    for handle in handles:
        handle.remove()
    for path, module in seen.items():
        matrix, bias = weight_matrix(module), getattr(module, "bias", None)
        assert into[path].shape[-1] == matrix.shape[1]
        wanted = into[path] @ matrix.T + (0 if bias is None else bias)
        assert torch.allclose(found[path], wanted, atol=1e-5)
    for stack in base.arch.stacks.values():
        assert weight_matrix(seen[stack.mlp_out.format(1)]).shape[0] == WIDTH
        assert weight_matrix(seen[stack.attention_out.format(0)]).shape[0] == WIDTH


@pytest.mark.parametrize(("family", "tied"), CASES)
def test_ties_are_those_of_the_model(family: str, tied: bool) -> None:
    base = base_of(family, tied)
    model, arch = base.model, base.arch
    assert module_of(model, arch.embedding) is model.get_input_embeddings()
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert module_of(model, arch.head) is head
    groups: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), set()).add(name)
    shared = [group for group in groups.values() if len(group) > 1]
    claimed = {alias: owner for alias, owner in arch.ties.items() if tied or alias != HEAD}
    assert shared == ([{*claimed, *claimed.values()}] if claimed else [])
    for alias, owner in arch.ties.items():
        site, own = (site_for(model, base.fingerprint, name) for name in (alias, owner))
        assert (site.tensor == own.tensor) == (alias in claimed)
        assert parameter_for(model, site) is model.get_parameter(alias)
        assert base.fingerprint.tensors.keys() >= {site.tensor, own.tensor}


def test_modules_that_only_some_models_of_a_family_have() -> None:
    """T5's first version has one input projection; the later ones, which gate, have two."""
    base = base_of("t5")
    config = copy.deepcopy(base.model.config)
    config.is_gated_act = False
    for model, wanted in ((base.model, ["wi_0", "wi_1"]), (type(base.model)(config), ["wi"])):
        for stack in base.arch.stacks:
            paths = base.arch.paths("mlp_in", 1, model, stack)
            assert [path.rpartition(".")[2] for path in paths] == wanted
