"""From scores of neurons to a patch: which are kept, and what is written into their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from patchhub.errors import InvalidInputError
from patchhub.kinds import sparse
from patchhub.loading import LoadedBase
from patchhub.manifest import Site
from patchhub.sites import module_of, site_for, weight_matrix

Variant: TypeAlias = Literal["easyedit", "rome_code", "eleuther", "balanced", "original"]
"""How tokens said and tokens wanted are weighed; the method says whose is which."""
_AWAY, _TOWARDS = 1.0, 8.0
"""λ₁ and λ₂ of the original (Dai et al. 2022, section 5.1)."""


@dataclass(frozen=True, eq=False)
class NeuronEdit:
    """One request's edit.

    Attributes:
        kept: Which neurons, ``(blocks, neurons)``.
        tokens: Ids whose embeddings are added to the value of each of them.
        coefficients: Of each token.
        scaled: Whether the sum is multiplied by the length of the value it is added to.
    """

    kept: Tensor
    tokens: tuple[int, ...]
    coefficients: tuple[float, ...]
    scaled: bool

    def vectors(self, embedding: Tensor, values: Tensor) -> Tensor:
        """What is added: one vector ``(1, d)``, or one for each of the values ``(d, n)``."""
        weights = torch.tensor(self.coefficients, dtype=torch.float64, device=embedding.device)
        vector = weights @ embedding[list(self.tokens)].double()
        lengths = values.double().norm(dim=0) if self.scaled else vector.new_ones(1)
        return (lengths[:, None] * vector).cpu()


def kept(scores: Tensor, threshold: float) -> Tensor:
    """The neurons whose score at any position exceeds a share of the largest of all.

    Args:
        scores: ``(blocks, positions, neurons)``.
        threshold: The share.

    Returns:
        ``(blocks, neurons)``, boolean.

    Raises:
        InvalidInputError: E158, no score is positive.
    """
    largest = float(scores.max())
    if not largest > 0:
        raise InvalidInputError(
            "E158",
            "no neuron makes the old answer likelier",
            expected="a positive attribution",
            found=f"{largest:.3g} at most",
            hint="does the model give the old answer at all? is one step enough?",
            field="target_old",
        )
    return (scores > threshold * largest).any(1)


def weighed(
    variant: Variant, said: Sequence[int], wanted: Sequence[int], embedding: Tensor
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Tokens and the coefficients of their embeddings ``(v, d)``."""
    away, towards = [-1.0] * len(said), [1.0] * len(wanted)
    if variant == "rome_code" or (variant == "easyedit" and len(wanted) == 1):
        said, away = said[:1], [-2.0]
    elif variant == "eleuther":
        away, towards = [-2.0] * len(said), [2.0] * len(wanted)
    elif variant == "original":
        away = [-_AWAY / (len(said) * float(embedding[i].double().norm())) for i in said]
        towards = [_TOWARDS / (len(wanted) * float(embedding[i].double().norm())) for i in wanted]
    return (*said, *wanted), (*away, *towards)


def embeddings(base: LoadedBase) -> Tensor:
    """The input embeddings ``(v, d)``.

    Raises:
        InvalidInputError: E142, they do not have the width of what MLPs put out.
    """
    found = module_of(base.model, base.arch.embedding).get_parameter("weight").detach()
    width = len(_values(base, 0))
    if found.shape[1] != width:
        raise InvalidInputError(
            "E142",
            "embeddings cannot be added to the values of neurons in this model",
            expected=f"embeddings of width {width}",
            found=found.shape[1],
        )
    return found


def patch_tensors(
    base: LoadedBase, edits: Sequence[NeuronEdit]
) -> tuple[list[Site], dict[str, dict[str, Tensor]]]:
    """Sites and tensors of a `sparse` patch that makes all of the edits."""
    words = embeddings(base)
    sites: list[Site] = []
    payload: dict[str, dict[str, Tensor]] = {}
    for layer in range(base.arch.block_count(base.model)):
        values, parts = _values(base, layer), []
        for edit in edits:
            columns = edit.kept[layer].nonzero()[:, 0]
            if len(columns):
                parts.append((columns, edit.vectors(words, values[:, columns])))
        if parts:
            path = base.arch.path("mlp_out", layer, base.model)
            sites.append(site_for(base.model, base.fingerprint, f"{path}.weight"))
            payload[sites[-1].tensor] = sparse.columns(parts)
    return sites, payload


def told(edits: Sequence[NeuronEdit]) -> dict[str, Tensor]:
    """What a reader of the patch may want to know: tokens, coefficients, and of which request."""
    rows = [
        (number, token, weight)
        for number, edit in enumerate(edits)
        for token, weight in zip(edit.tokens, edit.coefficients, strict=True)
    ]
    requests, tokens, coefficients = zip(*rows, strict=True)
    return {
        "requests": torch.tensor(requests, dtype=torch.int32),
        "tokens": torch.tensor(tokens, dtype=torch.int32),
        "coefficients": torch.tensor(coefficients, dtype=torch.float32),
    }


def _values(base: LoadedBase, layer: int) -> Tensor:
    """The down-projection ``(d, neurons)``."""
    return weight_matrix(
        module_of(base.model, base.arch.path("mlp_out", layer, base.model))
    ).detach()
