"""MEND against the plain reference in float64: gradients, transform, update, losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from patchhub.composer.composer import Composer
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import EditContext, run_editor
from patchhub.editing.meta.material import Drawn
from patchhub.editing.meta.outer import outer_losses
from patchhub.editing.meta.slopes import Factors, gradients
from patchhub.editing.meta.train import train_editor
from patchhub.editing.meta.trained import Trained
from patchhub.editing.meta.transform import Statistics, Transforms
from patchhub.editing.training.labels import Labelled, labelled
from patchhub.editing.training.projections import projections
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.sites import is_in_out, module_of
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, pico_base
from tests.engine.meta import LESSONS, TINY
from tests.reference.mend_reference import (
    delta,
    divergence,
    full_gradients,
    nll,
    statistics,
)

EDITOR = load_editor("mend")
REQUESTS = [REQUEST, MIDDLE, AT_END]
PARTS = ("mlp_in", "mlp_out")
PATHS = ["transformer.h.1.mlp.c_fc", "transformer.h.1.mlp.c_proj"]


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-9) -> bool:
    return float((found - wanted).detach().abs().max()) <= tolerance * float(wanted.abs().max())


def plain(base: LoadedBase, row: Labelled) -> dict[str, Any]:
    inputs = {"input_ids": torch.tensor([row.ids])}
    if row.given:
        inputs = {"input_ids": torch.tensor([row.given]), "decoder_input_ids": inputs["input_ids"]}
    return {"inputs": inputs, "slots": row.slots, "labels": row.labels}


def upright(base: LoadedBase, path: str, stored: Tensor) -> Tensor:
    return stored.T if is_in_out(module_of(base.model, path)) else stored


def stirred(base: LoadedBase, paths: list[str]) -> Transforms:
    """Networks in which every parameter does something."""
    generator = torch.Generator().manual_seed(1)
    network = Transforms.over(base, paths, 5, 0.1, True, generator)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data += 0.1 * noise
    return network


def layers_of(network: Transforms, path: str) -> list[Mapping[str, Tensor]]:
    name = next(n for n, members in network.members.items() if path in members)
    number = network.members[name].index(path)
    return [
        {
            "A": layer.up, "B": layer.down, "b": layer.bias,
            "s": layer.scale[number], "t": layer.shift[number],
        }
        for layer in every(network, name)
    ]  # fmt: skip


def every(network: Transforms, name: str) -> list[Any]:
    return list(network.network(name).layers)


@pytest.mark.parametrize("family", ["gpt2", "gptj", "t5", "llama", "opt"])
def test_factors_multiply_to_the_full_gradient(family: str) -> None:
    base = pico_base(family, torch.float64)
    rows = [labelled(base, request) for request in REQUESTS]
    paths = projections(base, (0, 1), PARTS)
    found = gradients(base, rows, paths)
    for number, row in enumerate(rows):
        names = [f"{path}.weight" for path in paths]
        wanted = full_gradients(base.model, plain(base, row), names)
        for path, full in zip(paths, wanted, strict=True):
            product = found[path].slopes[number].T @ found[path].inputs[number]
            assert close(product, upright(base, path, full)), (family, path)
    top = found[paths[-1]].used
    assert top.sum(1).tolist() == [len(row.labels) for row in rows]  # nothing above mixes positions


def test_updates_equal_the_reference_also_with_a_network_that_projections_share() -> None:
    base = pico_base("gpt2", torch.float64)
    paths = projections(base, (0, 1), PARTS)
    rows = [labelled(base, request) for request in REQUESTS]
    found = gradients(base, rows, paths)
    network = stirred(base, paths)
    with torch.no_grad():
        made = network(found, learn=True)
    assert len(network.members) == 2
    for members in network.members.values():
        seen = torch.cat(
            [
                torch.cat([f.inputs[f.used], f.slopes[f.used]], 1)
                for f in map(found.get, members)
                if f
            ]
        )
        mean, deviation = statistics(seen)
        for path in members:
            rate = network.rates[network.order.index(path)].detach()
            for number in range(len(rows)):
                one = found[path]
                wanted = delta(
                    one.inputs[number], one.slopes[number], mean, deviation,
                    layers_of(network, path), rate,
                )  # fmt: skip
                product = made[path].slopes[number].T @ made[path].inputs[number]
                assert close(product, wanted.detach())


def test_statistics_are_those_of_all_rows_however_they_came() -> None:
    rows = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3
    seen = Statistics(4)
    for some in torch.split(rows, [0, 1, 7, 2, 0, 10]):
        seen.see(some)
    mean, deviation = statistics(rows)
    assert close(seen.normalised(rows), (rows - mean) / (deviation + 1e-7), 1e-12)
    network = Transforms.over(pico_base("gpt2"), PATHS, 4, 0.1, True, torch.Generator())
    assert {one.dtype for one in network.parameters()} == {torch.float32}
    assert network.network("32x128").seen.mean.dtype == torch.float64
    held = {name: one.clone() for name, one in seen.state_dict().items()}
    seen.normalised(rows + 1)
    assert all(torch.equal(one, held[name]) for name, one in seen.state_dict().items())


def test_a_new_network_changes_nothing_and_learns_at_once() -> None:
    base = pico_base("gpt2", torch.float64)
    paths = projections(base, (1,), PARTS)
    found = gradients(base, [labelled(base, MIDDLE)], paths)
    network = Transforms.over(base, paths, None, 1e-4, True, torch.Generator().manual_seed(0))
    made = network(found, learn=True)
    for name, (path,) in network.members.items():
        one = found[path]
        rows = torch.cat([one.inputs[one.used], one.slopes[one.used]], 1)
        plain_rows = network.network(name).seen.normalised(rows)
        width = one.inputs.shape[-1]
        rates = torch.tensor(-1e-4, dtype=torch.float32).double()
        assert torch.equal(made[path].inputs[one.used], plain_rows[:, :width])
        assert close(made[path].slopes[one.used], rates * plain_rows[:, width:], 1e-12)
    sum(factors.slopes.sum() for factors in made.values()).backward()
    for name in network.members:
        assert all(bool(layer.up.grad.any()) for layer in every(network, name))


def test_losses_equal_dense_weights_of_each_edits_own() -> None:
    base = pico_base("gpt2", torch.float64)
    paths = projections(base, (0, 1), PARTS)
    edits = [labelled(base, request) for request in REQUESTS]
    kept = [
        replace(row, slots=tuple(range(len(row.ids))), labels=row.ids)
        for row in (edits[1], edits[2], edits[0], edits[2], edits[0], edits[1])
    ]
    drawn = Drawn(edits, [edits[2], edits[0], edits[1]], kept)
    generator = torch.Generator().manual_seed(0)
    made = {
        path: Factors(
            one.inputs.clone(),
            torch.randn(one.slopes.shape, generator=generator, dtype=torch.float64) * 1e-3,
        )
        for path, one in gradients(base, edits, paths).items()
    }
    edited, stayed = outer_losses(base, drawn, made)
    wanted, lost = [], []
    for number in range(3):
        weights = {}
        for path, one in made.items():
            change = one.slopes[number].T @ one.inputs[number]
            name = f"{path}.weight"
            weights[name] = base.model.get_parameter(name) + upright(base, path, change)
        wanted.append(nll(base.model, plain(base, drawn.again[number]), weights))
        for row in kept[2 * number : 2 * number + 2]:
            lost.append(divergence(base.model, plain(base, row), weights))
    assert close(edited, torch.stack(wanted).mean())
    assert close(stayed, torch.stack(lost).mean())
    assert float(stayed) > 1e-3
    # All three on the model together: the sum of their updates.
    joined = {path: one.joined(3) for path, one in made.items()}
    total = {path: one.slopes[0].T @ one.inputs[0] for path, one in joined.items()}
    weights = {
        f"{p}.weight": base.model.get_parameter(f"{p}.weight") + upright(base, p, change)
        for p, change in total.items()
    }
    edited, stayed = outer_losses(base, drawn, joined, 3)
    rows = [nll(base.model, plain(base, row), weights) for row in drawn.again]
    assert close(edited, torch.stack(rows).mean())


@cache
def tiny(**settings: Any) -> Trained:
    return train_editor(pico_base("gpt2"), EDITOR, LESSONS, settings={**TINY, **settings})


def context(trained: Trained | None) -> EditContext:
    return EditContext(pico_base("gpt2"), torch.Generator(), 0, trained=trained)


def test_a_patch_of_several_is_the_sum_of_theirs_and_names_the_trained_editor() -> None:
    trained = tiny(layers=(1,))
    batch = run_editor(EDITOR, context(trained), REQUESTS)
    assert batch.manifest.method.trained == trained.digest
    assert batch.manifest.method.hparams == {"trained": trained.digest}
    singles = [run_editor(EDITOR, context(trained), [request]) for request in REQUESTS]
    for site, roles in batch.payload.items():
        for role, dim in (("A", 0), ("B", 1)):
            parts = torch.cat([single.payload[site][role] for single in singles], dim)
            assert torch.equal(roles[role], parts)
    many = run_editor(EDITOR, context(trained), REQUESTS * 6)
    assert many.kind == "dense"
    site = next(iter(batch.payload))
    product = batch.payload[site]["B"].double() @ batch.payload[site]["A"].double()
    assert torch.allclose(many.payload[site]["delta"].double(), 6 * product, atol=1e-6)


def test_the_sign_goes_down_the_slope_unless_the_released_code_is_meant() -> None:
    base = pico_base("gpt2")
    row = plain(base, labelled(base, AT_END))
    found = {}
    for descent in (True, False):
        patch = run_editor(EDITOR, context(tiny(descent=descent, rate=1e-3)), [AT_END])
        with Composer.over(base).applied(patch):
            found[descent] = float(nll(base.model, row))
    before = float(nll(base.model, row))
    assert found[True] < before - 0.01 < before + 0.01 < found[False]


def test_rates_of_zero_leave_every_bit(tmp_path: Path) -> None:
    trained = tiny()
    still = {**trained.tensors, "rates": torch.zeros_like(trained.tensors["rates"])}
    patch = run_editor(EDITOR, context(Trained.of(trained.content, {}, still)), [REQUEST])
    base, ids = pico_base("gpt2"), torch.tensor([[1, 2, 3]])
    before = base.model(input_ids=ids).logits
    with Composer.over(base).applied(patch):
        assert torch.equal(base.model(input_ids=ids).logits, before)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 0},
        {"batch_size": 3, "n_edits": 2},
        {"layers": ()},
        {"lr": 0.0},
        {"every": 5, "patience": 4},
    ],
)
def test_settings_that_cannot_be_trained_with_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as error:
        train_editor(pico_base("gpt2"), EDITOR, LESSONS, settings=wrong)
    assert error.value.code == "E142"
