"""Where things lie in a model, and which way matrices are stored.

A model family is one file in ``architectures/``; no code asks for a family by name. GPT-2's Conv1D
keeps its weight transposed; it is turned here, once, decided by module type and never by shape.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.manifest import Orientation, Site

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from patchhub.fingerprint import Fingerprint

_DATA = Path(__file__).parent / "architectures"


@dataclass(frozen=True, slots=True)
class Architecture:
    """Module paths of one model family; ``{}`` stands for the block's number.

    Attributes:
        model_type: The ``model_type`` of ``config.json``.
        block: A decoder block.
        attention: Its attention module.
        attention_out: The attention's output projection.
        mlp: Its MLP module.
        mlp_in: The MLP's input projections (two for gated ones).
        mlp_out: The MLP's down-projection; its input is the *key*, its output the *value*.
        embedding: Input embedding.
        final_norm: Norm in front of the head.
        head: Output projection.
        parallel_block: Whether MLP and attention read the same residual stream.
        ties: Parameters that are another name for the owner's tensor where the configuration ties
            them.
        edit_layers: Per purpose (``insert`` a fact, ``finetune``) the published block for a depth.
    """

    model_type: str
    block: str
    attention: str
    attention_out: str
    mlp: str
    mlp_in: tuple[str, ...]
    mlp_out: str
    embedding: str
    final_norm: str
    head: str
    parallel_block: bool
    ties: Mapping[str, str]
    edit_layers: Mapping[str, Mapping[str, int]]

    def block_count(self, model: nn.Module) -> int:
        """Number of decoder blocks of ``model``."""
        blocks = module_of(model, self.block.removesuffix(".{}"))
        if not isinstance(blocks, nn.ModuleList):
            raise NotFoundError("E144", f"{self.block} is not a list of blocks", found=type(blocks))
        return len(blocks)

    def path(self, part: str, layer: int, model: nn.Module) -> str:
        """Path of ``part`` (``block``, ``mlp``, ``mlp_out``, …) in block ``layer``.

        Raises:
            NotFoundError: E144, the model has no such block.
        """
        count = self.block_count(model)
        if not 0 <= layer < count:
            raise NotFoundError(
                "E144",
                f"there is no block {layer}",
                expected=f"0 to {count - 1}",
                found=layer,
                hint="blocks count from 0",
            )
        template: str = getattr(self, part)
        return template.format(layer)


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
    data["mlp_in"] = tuple(data["mlp_in"])
    return Architecture(**{field.name: data.pop(field.name) for field in fields(Architecture)})


def edit_layer(model: PreTrainedModel, arch: Architecture, purpose: str) -> int:
    """The block to edit when nobody names one.

    A checkpoint may say it itself (``"patchhub": {"edit_layer": 2}`` in ``config.json``); otherwise
    the published choice for a model of this family and depth is taken.

    Raises:
        InvalidInputError: E142, nothing is known for this model.
    """
    own = getattr(model.config, "patchhub", None)
    if isinstance(own, Mapping) and isinstance(own.get("edit_layer"), int):
        return int(own["edit_layer"])
    count = arch.block_count(model)
    layer = arch.edit_layers.get(purpose, {}).get(str(count))
    if layer is None:
        raise InvalidInputError(
            "E142",
            f"no published block to edit for {arch.model_type} models with {count} blocks",
            expected=f"layer between 0 and {count - 1}",
            hint="name one, for example --set layer=5; early middle blocks are the usual choice",
        )
    return layer


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
    parameter = model.get_parameter(_runtime_name(model, name))
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
    name = _runtime_name(model, tensor)
    stored = _stored_name(model, fingerprint, name)
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


def _candidates(model: PreTrainedModel, name: str) -> tuple[str, ...]:
    """Spellings of a name with and without the prefix that a head-less checkpoint leaves out."""
    prefix = f"{model.base_model_prefix}."
    return (name, prefix + name, name.removeprefix(prefix))


def _runtime_name(model: PreTrainedModel, tensor: str) -> str:
    for name in _candidates(model, tensor):
        try:
            model.get_parameter(name)
        except AttributeError:
            continue
        return name
    near = get_close_matches(tensor, [name for name, _ in model.named_parameters()], n=1)
    raise NotFoundError(
        "E144",
        f"the model has no parameter {tensor}",
        found=tensor,
        hint=f"did you mean {near[0]}?" if near else None,
    )


def _stored_name(model: PreTrainedModel, fingerprint: Fingerprint, name: str) -> str:
    parameter = model.get_parameter(name)
    owner = architecture(model.config.model_type).ties.get(name)
    names = [name]
    if owner is not None and model.get_parameter(owner) is parameter:
        names.append(owner)
    for spelling in (s for n in names for s in _candidates(model, n)):
        if spelling in fingerprint.tensors:
            return spelling
    raise NotFoundError(
        "E144",
        f"the checkpoint stores no tensor {name}",
        hint="is it computed at load time? such tensors cannot be patched",
    )
