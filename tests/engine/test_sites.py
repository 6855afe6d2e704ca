from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from patchhub.editing.blocks import SPREAD, edit_layer, edit_layers
from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.fingerprint import Fingerprint, fingerprint
from patchhub.manifest import Orientation
from patchhub.sites import (
    architecture,
    is_in_out,
    known_architectures,
    module_of,
    parameter_for,
    site_for,
    weight_matrix,
)
from tests.engine.editing.support import pico_base
from tests.pico import FAMILIES, WIDTH, pico_directory, pico_model

PARTS = ("block", "attention", "attention_out", "mlp", "mlp_out")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_path_of_a_family_exists(family: str) -> None:
    model, arch = pico_model(family), architecture(family)
    assert arch.block_count(model) == 2
    for part in PARTS:
        module_of(model, arch.path(part, 1, model))
    for path in (arch.embedding, arch.decoder.final_norm, arch.head):
        module_of(model, path)
    for alias, owner in arch.ties.items():
        model.get_parameter(alias)
        model.get_parameter(owner)


def test_files_are_named_by_model_type() -> None:
    assert set(FAMILIES) | {"mistral", "qwen2"} <= set(known_architectures())
    for name in known_architectures():
        assert architecture(name).model_type == name


@pytest.mark.parametrize("family", FAMILIES)
def test_matrices_are_out_by_in_whatever_the_storage(family: str) -> None:
    base = pico_base(family)
    module = module_of(base.model, base.arch.path("mlp_out", 0, base.model))
    matrix = weight_matrix(module)
    assert matrix.shape[0] == WIDTH
    assert is_in_out(module) == isinstance(module, Conv1D) == (family == "gpt2")
    site = site_for(
        base.model, base.fingerprint, base.arch.path("mlp_out", 0, base.model) + ".weight"
    )
    assert site.matrix_shape == tuple(matrix.shape)
    key = torch.randn(matrix.shape[1], generator=torch.Generator().manual_seed(0))
    bias = getattr(module, "bias", None)
    wanted = matrix @ key + (0 if bias is None else bias)
    assert torch.allclose(module(key), wanted, atol=1e-5)


def test_square_matrices_are_turned_by_type_not_shape() -> None:
    base = pico_base("gpt2")
    module = module_of(base.model, "transformer.h.0.attn.c_proj")
    weight = module.get_parameter("weight")
    assert weight.shape == (WIDTH, WIDTH)
    assert torch.equal(weight_matrix(module), weight.T)
    site = site_for(base.model, base.fingerprint, "transformer.h.0.attn.c_proj.weight")
    assert site.orientation is Orientation.IN_OUT


def test_writing_to_the_matrix_writes_the_weight() -> None:
    model = pico_model("gpt2")
    module = module_of(model, "transformer.h.0.mlp.c_proj")
    weight_matrix(module)[3, 5] = 7.0
    assert float(module.get_parameter("weight")[5, 3]) == 7.0


def test_site_and_parameter_lead_to_each_other() -> None:
    base = pico_base("gpt2")
    for name in base.fingerprint.tensors:
        site = site_for(base.model, base.fingerprint, name)
        assert site.tensor == name
        assert site.pre == base.fingerprint.tensors[name].sha256
        assert parameter_for(base.model, site) is base.model.get_parameter(name)
        assert site.runtime is None
    bias = site_for(base.model, base.fingerprint, "transformer.h.0.mlp.c_proj.bias")
    assert bias.orientation is Orientation.VECTOR


def test_an_alias_leads_to_the_tensor_that_is_stored() -> None:
    base = pico_base("gpt2")
    site = site_for(base.model, base.fingerprint, "lm_head.weight")
    assert site.tensor == "transformer.wte.weight"
    assert parameter_for(base.model, site) is base.model.get_input_embeddings().weight
    own = pico_base("llama")
    assert site_for(own.model, own.fingerprint, "lm_head.weight").tensor == "lm_head.weight"


def test_checkpoints_without_the_prefix_are_understood() -> None:
    base = pico_base("gpt2")
    short = {n.removeprefix("transformer."): e for n, e in base.fingerprint.tensors.items()}
    old = Fingerprint(short, base.fingerprint.config, base.fingerprint.tokenizer)
    site = site_for(base.model, old, "transformer.h.1.mlp.c_proj.weight")
    assert site.tensor == "h.1.mlp.c_proj.weight"
    assert site.module == "transformer.h.1.mlp.c_proj"
    wanted = base.model.get_parameter("transformer.h.1.mlp.c_proj.weight")
    assert parameter_for(base.model, site) is wanted


def test_a_stored_dtype_is_the_files_not_the_models(tmp_path: Path) -> None:
    directory = pico_directory(tmp_path, "llama", dtype=torch.bfloat16)
    name = "model.layers.0.mlp.down_proj.weight"
    assert site_for(pico_model("llama"), fingerprint(directory), name).dtype == "BF16"


def test_errors_are_typed() -> None:
    base = pico_base("gpt2")
    model, site = base.model, site_for(base.model, base.fingerprint, "lm_head.weight")
    for code, call in (
        ("E140", lambda: architecture("gpt3")),
        ("E142", lambda: edit_layer(model, base.arch, "insert")),
        ("E142", lambda: edit_layers(model, base.arch, SPREAD)),
    ):
        with pytest.raises(InvalidInputError) as wrong:
            call()
        assert wrong.value.code == code
    with pytest.raises(InvalidInputError) as shape:
        parameter_for(model, replace(site, shape=(9, WIDTH)))
    assert shape.value.code == "E112"
    for missing in (
        lambda: module_of(model, "transformer.x"),
        lambda: base.arch.path("mlp", 2, model),
        lambda: base.arch.path("mlp", -1, model),
        lambda: weight_matrix(module_of(model, "transformer.drop")),
        lambda: site_for(model, base.fingerprint, "transformer.h.9.mlp.c_proj.weight"),
        lambda: site_for(model, replace(base.fingerprint, tensors={}), "lm_head.weight"),
    ):
        with pytest.raises(NotFoundError) as error:
            missing()
        assert error.value.code == "E144"


def test_the_block_to_edit_comes_from_the_checkpoint_or_the_literature() -> None:
    base = pico_base("gpt2")
    config = base.model.config
    config.patchhub = {"edit_layer": 1}
    try:
        assert edit_layer(base.model, base.arch, "insert") == 1
        assert edit_layers(base.model, base.arch, SPREAD) == (0, 1)
    finally:
        del config.patchhub
    xl = architecture("gpt2").edit_layers
    assert (xl["insert"]["48"], xl["finetune"]["48"]) == ((17,), (0,))
    assert xl["spread"]["48"] == (13, 14, 15, 16, 17)
    assert architecture("gptj").edit_layers["insert"]["28"] == (5,)


def test_the_example_in_the_hint_can_be_given_to_the_method_and_the_model() -> None:
    base = pico_base("gpt2")  # of two blocks
    for find, purpose, example in (
        (edit_layer, "insert", "layer=0;"),
        (edit_layers, "insert", "layers=0;"),
        (edit_layers, SPREAD, "layers=0,1;"),
        (edit_layers, "finetune", "layers=0,1;"),
    ):
        with pytest.raises(InvalidInputError) as unknown:
            find(base.model, base.arch, purpose)
        assert f"--set {example}" in str(unknown.value.hint)
        assert unknown.value.expected == f"{example.partition('=')[0]} between 0 and 1"
