"""Which parameters of a model may be written."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from transformers import PreTrainedModel

from patchhub.errors import InvalidInputError
from patchhub.manifest import Site
from patchhub.sites import parameter_for


def parameters_at(
    model: PreTrainedModel, loaded: Mapping[str, str], sites: Mapping[str, Site]
) -> dict[str, nn.Parameter]:
    """The parameter of each site; one that several stored tensors share cannot be written.

    Args:
        model: The running model.
        loaded: Parameter by stored name (`patchhub.tensornames.loaded_names`).
        sites: By stored name.

    Raises:
        InvalidInputError: E112, it cannot be written.
        NotFoundError: E144, the model has no such parameter.
    """
    stored: dict[int, set[str]] = {}
    held = dict(model.named_parameters(remove_duplicate=False))
    for name, parameter in loaded.items():
        stored.setdefault(id(held.get(parameter)), set()).add(name)
    parameters: dict[str, nn.Parameter] = {}
    for name, site in sites.items():
        found = parameter_for(model, site)
        names = stored.setdefault(id(found), set())
        names.add(name)
        if len(names) > 1 or found.is_meta:
            raise InvalidInputError(
                "E112",
                f"{name} cannot be written in this model",
                expected="a parameter in memory that holds one stored tensor",
                found="on the meta device" if found.is_meta else f"tied: {sorted(names)}",
            )
        parameters[name] = found
    return parameters
