"""Which stored tensor becomes which parameter, as `from_pretrained` has it.

The names in a checkpoint and in the running model may differ: a checkpoint may leave out the head's
prefix (GPT-2's first ones) or have older names that transformers renames when it loads.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from patchhub.errors import NotFoundError


def loaded_names(model: PreTrainedModel, stored: Iterable[str]) -> dict[str, str]:
    """The parameter that each stored tensor is loaded into, by stored name.

    Tensors that are no parameter, or that are combined with others on the way, are left out.
    """
    transforms = get_model_conversion_mapping(model)
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    known = dict(model.named_parameters(remove_duplicate=False))
    names: dict[str, str] = {}
    for name in stored:
        loaded, combined = rename_source_key(
            name, renamings, converters, model.base_model_prefix, known
        )
        if combined is None and loaded in known:
            names[name] = loaded
    return names


def parameter_name(model: PreTrainedModel, tensor: str) -> str:
    """The parameter called ``tensor``, with or without the prefix that a head-less model lacks.

    Raises:
        NotFoundError: E144, the model has none.
    """
    prefix = f"{model.base_model_prefix}."
    for name in (tensor, prefix + tensor, tensor.removeprefix(prefix)):
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


def aliases(model: PreTrainedModel, name: str) -> tuple[str, ...]:
    """All names of the parameter called ``name``, itself first."""
    parameter = model.get_parameter(name)
    every = model.named_parameters(remove_duplicate=False)
    return (name, *(other for other, one in every if one is parameter and other != name))


def stored_name(model: PreTrainedModel, stored: Iterable[str], name: str) -> str:
    """The stored tensor that parameter ``name`` comes from, also under another of its names.

    Raises:
        NotFoundError: E144, the checkpoint stores none.
    """
    origin = {loaded: tensor for tensor, loaded in loaded_names(model, stored).items()}
    for other in aliases(model, name):
        if other in origin:
            return origin[other]
    raise NotFoundError(
        "E144",
        f"the checkpoint stores no tensor {name}",
        hint="is it computed at load time? such tensors cannot be patched",
    )
