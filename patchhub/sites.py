"""Where things lie in a model, and which way matrices are stored.

A model family is one file in ``architectures/``; no code asks for a family by name. GPT-2's Conv1D
keeps its weight transposed; it is turned here, once, decided by module type and never by shape.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.manifest import Orientation, Site
from patchhub.tensornames import loaded_names, parameter_name, stored_name

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from patchhub.fingerprint import Fingerprint

_DATA = Path(__file__).parent / "architectures"
ENCODER, DECODER = "encoder", "decoder"
"""Names of stacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Module paths of one stack of blocks; ``{}`` stands for the block's number.

    Lists name every module that a model of the family may have; `Architecture.paths` tells which of
    them a given model has (T5's first version has ``wi``, the later ones ``wi_0`` and ``wi_1``).

    Attributes:
        block: A block.
        attention: Its attention module.
        attention_in: The attention's input projections (one where queries, keys and values are
            fused).
        attention_out: The attention's output projection.
        cross_attention: A decoder's attention to the encoder, where it has one.
        cross_attention_in: Its input projections.
        cross_attention_out: Its output projection.
        mlp: Its MLP; where the family has no such module, the down-projection, which puts out the
            same.
        mlp_in: The MLP's input projections (two for gated ones, unless they are fused).
        mlp_out: The MLP's down-projection; its input is the *key*, its output the *value*.
        norms: The block's norms.
        final_norm: The norm after the last block.
    """

    block: str
    attention: str
    attention_in: tuple[str, ...]
    attention_out: str
    cross_attention: str | None = None
    cross_attention_in: tuple[str, ...] = ()
    cross_attention_out: str | None = None
    mlp: str
    mlp_in: tuple[str, ...]
    mlp_out: str
    norms: tuple[str, ...]
    final_norm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Where things lie in one model family.

    Attributes:
        model_type: The ``model_type`` of ``config.json``.
        embedding: Input embedding.
        head: Output projection.
        parallel_block: Whether MLP and attention read the same residual stream.
        stacks: Stacks of blocks by name: every family has a ``decoder``, some an ``encoder``.
        ties: Parameters that are another name for the owner's tensor where the configuration ties
            them.
        edit_layers: Per purpose (``insert`` a fact in one block, ``spread`` facts over several,
            ``finetune`` some, ``minibatch`` one) and number of blocks the published ones to edit.
        experimental: Needs of methods (`patchhub.editing.editor.NEEDS`) that mark those of which
            nothing is published for models of this family.
    """

    model_type: str
    embedding: str
    head: str
    parallel_block: bool
    stacks: Mapping[str, Stack]
    ties: Mapping[str, str]
    edit_layers: Mapping[str, Mapping[str, tuple[int, ...]]]
    experimental: tuple[str, ...] = ()

    @property
    def reading(self) -> str:
        """Name of the stack that reads prompts, and with them subjects."""
        return ENCODER if ENCODER in self.stacks else DECODER

    @property
    def decoder(self) -> Stack:
        """The stack that puts out text; the only one in most families."""
        return self.stacks[DECODER]

    def block_count(self, model: nn.Module, stack: str = DECODER) -> int:
        """Number of blocks of a stack of ``model``."""
        path = self.stacks[stack].block.removesuffix(".{}")
        blocks = module_of(model, path)
        if not isinstance(blocks, nn.ModuleList):
            raise NotFoundError("E144", f"{path} is not a list of blocks", found=type(blocks))
        return len(blocks)

    def path(self, part: str, layer: int, model: nn.Module, stack: str = DECODER) -> str:
        """Path of ``part`` (``block``, ``mlp``, ``mlp_out``, …) in block ``layer``.

        Raises:
            NotFoundError: E144, the model has no such block.
        """
        count = self.block_count(model, stack)
        if not 0 <= layer < count:
            raise NotFoundError(
                "E144",
                f"there is no block {layer}",
                expected=f"0 to {count - 1}",
                found=layer,
                hint="blocks count from 0",
            )
        template: str = getattr(self.stacks[stack], part)
        return template.format(layer)

    def paths(
        self, part: str, layer: int, model: nn.Module, stack: str = DECODER
    ) -> tuple[str, ...]:
        """Paths of a part of several modules (``mlp_in``, ``norms``, …) in block ``layer``.

        Raises:
            NotFoundError: E144, the model has no such block.
        """
        self.path("block", layer, model, stack)
        every = [template.format(layer) for template in getattr(self.stacks[stack], part)]
        there = dict(model.named_modules(remove_duplicate=False))
        return tuple(path for path in every if path in there)


def known_architectures() -> tuple[str, ...]:
    """The model types that have a data file."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.json")))


@cache
def architecture(model_type: str) -> Architecture:
    """Data of one model family.

    Raises:
        InvalidInputError: E140, no such family.
    """
    known = known_architectures()
    if model_type not in known:
        near = get_close_matches(model_type, known, n=1)
        raise InvalidInputError(
            "E140",
            f"models of type {model_type!r} are not known",
            expected=", ".join(known),
            found=model_type,
            hint=f"did you mean {near[0]}?" if near else "add a file to patchhub/architectures/",
        )
    data: dict[str, Any] = json.loads((_DATA / f"{model_type}.json").read_text("utf-8"))
    data["stacks"] = {name: _stack(stack) for name, stack in data["stacks"].items()}
    data["experimental"] = tuple(data.get("experimental", ()))
    data["edit_layers"] = {
        purpose: {count: tuple(blocks) for count, blocks in published.items()}
        for purpose, published in data["edit_layers"].items()
    }
    return Architecture(**data)


def _stack(data: dict[str, Any]) -> Stack:
    for part in (name for name, paths in data.items() if isinstance(paths, list)):
        data[part] = tuple(data[part])
    return Stack(**data)


def module_of(model: nn.Module, path: str) -> nn.Module:
    """The module at a dotted path.

    Raises:
        NotFoundError: E144, there is none.
    """
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise NotFoundError("E144", f"the model has no module {path}", found=str(error)) from error


def is_in_out(module: nn.Module) -> bool:
    """Whether the module stores its weight as ``(d_in, d_out)``."""
    return isinstance(module, Conv1D)


def weight_matrix(module: nn.Module) -> Tensor:
    """The module's weight as a view of shape ``(d_out, d_in)``; writing to it writes the weight.

    Raises:
        NotFoundError: E144, the module has no two-dimensional weight.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise NotFoundError(
            "E144",
            f"{type(module).__name__} has no weight matrix",
            expected="a two-dimensional weight",
            found=None if weight is None else tuple(getattr(weight, "shape", ())),
        )
    return weight.T if is_in_out(module) else weight


def parameter_for(model: PreTrainedModel, site: Site) -> nn.Parameter:
    """The runtime parameter that holds a checkpoint tensor.

    Raises:
        NotFoundError: E144, the model has no such parameter.
        InvalidInputError: E112, it has another shape.
    """
    name = site.tensor
    if site.runtime is not None:
        name = f"{site.runtime}.{name.rpartition('.')[2]}"
    parameter = model.get_parameter(parameter_name(model, name))
    if tuple(parameter.shape) != tuple(site.shape):
        raise InvalidInputError(
            "E112",
            f"{site.tensor} has another shape in this model",
            expected=tuple(site.shape),
            found=tuple(parameter.shape),
        )
    return parameter


def site_for(model: PreTrainedModel, fingerprint: Fingerprint, tensor: str) -> Site:
    """Describe a tensor as a site: stored dtype, shape and digest, and orientation.

    Args:
        model: The loaded model; only its module types and ties are asked.
        fingerprint: Of the checkpoint the model came from.
        tensor: Runtime or checkpoint name; an alias of a tied tensor leads to its owner.

    Raises:
        NotFoundError: E144, the checkpoint stores no such tensor.
    """
    named = loaded_names(model, [tensor]) if tensor in fingerprint.tensors else {}
    name = named.get(tensor) or parameter_name(model, tensor)
    stored = stored_name(model, fingerprint.tensors, name)
    entry = fingerprint.tensors[stored]
    module = name.rpartition(".")[0]
    if len(entry.shape) == 1:
        orientation = Orientation.VECTOR
    else:
        in_out = is_in_out(module_of(model, module))
        orientation = Orientation.IN_OUT if in_out else Orientation.OUT_IN
    return Site(
        tensor=stored,
        orientation=orientation,
        shape=tuple(entry.shape),
        dtype=entry.dtype,
        pre=entry.sha256,
        runtime=module if module != stored.rpartition(".")[0] else None,
    )
