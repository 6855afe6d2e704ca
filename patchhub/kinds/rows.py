"""What kinds that act while the model runs share: one file of rows, and words stored as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from patchhub.errors import IntegrityError, InvalidInputError
from patchhub.kinds import storage
from patchhub.kinds.protocol import Payload, Roles, one_file
from patchhub.manifest import Orientation, Site

FILE: Final = "patch.safetensors"

ACTIVATIONS: Final = ("relu", "gelu", "gelu_tanh", "silu", "identity")
"""A tensor ``activation`` holds a place in this list; the list only ever grows at its end."""

POSITIONS: Final = ("last", "prompt", "all")
"""Where a row acts, as a place in this list: at the prompt's last token, at the prompt's tokens
before it, or at every token from the prompt's first on."""


def code(words: Sequence[str], word: str) -> Tensor:
    """How a patch stores a word of a list: int32 of shape (1,).

    Raises:
        InvalidInputError: E112, it is not in the list.
    """
    if word not in words:
        raise InvalidInputError("E112", f"{word} cannot be stored", expected=", ".join(words))
    return torch.tensor([words.index(word)], dtype=torch.int32)


def check_code(site: Site, role: str, tensor: Tensor, words: Sequence[str]) -> None:
    """Refuse numbers that stand for no word.

    Raises:
        InvalidInputError: E112.
    """
    if tensor.numel() and not (int(tensor.min()) >= 0 and int(tensor.max()) < len(words)):
        raise InvalidInputError(
            "E112",
            f"{site.tensor}: {role} is not known",
            expected=", ".join(f"{i} {word}" for i, word in enumerate(words)),
            found=tensor.tolist()[:8],
            hint="a newer PatchHub may have made this patch; update",
        )


def check_matrix(site: Site) -> tuple[int, int]:
    """The site's (d_out, d_in).

    Raises:
        InvalidInputError: E112, it is not the weight matrix of a module.
    """
    if site.orientation is Orientation.VECTOR or not site.tensor.endswith(".weight"):
        raise InvalidInputError(
            "E112", f"{site.tensor} is not the weight matrix of a module", found=list(site.shape)
        )
    d_out, d_in = site.matrix_shape
    return d_out, d_in


def count(site: Site, role: str, roles: Roles) -> int:
    """How many rows a tensor has: one or more, and as many as the site says.

    Raises:
        InvalidInputError: E112.
    """
    found = roles[role].shape[0] if roles[role].ndim else 0
    if found < 1 or site.rank not in (None, found):
        raise InvalidInputError(
            "E112",
            f"{site.tensor}: {role} has the wrong number of rows",
            expected=site.rank or "1 or more",
            found=found,
        )
    return found


def to_files(sites: Sequence[Site], payload: Payload) -> dict[str, bytes]:
    """One file that holds every tensor as ``<site>/<role>``."""
    tensors = {f"{s.tensor}/{role}": t for s in sites for role, t in payload[s.tensor].items()}
    return {FILE: storage.encode(tensors)}


def from_files(sites: Sequence[Site], files: Mapping[str, bytes]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each site; whether they are what the kind needs is not looked at.

    Raises:
        IntegrityError: E110, E111, E117; E118, a tensor of no site.
    """
    payload: dict[str, dict[str, Tensor]] = {site.tensor: {} for site in sites}
    for name, tensor in storage.decode(one_file(files, FILE), what=FILE).items():
        site, _, role = name.rpartition("/")
        if site not in payload:
            raise IntegrityError(
                "E118",
                f"{FILE}: holds other tensors than the manifest says",
                found=f"{name} is foreign",
            )
        payload[site][role] = tensor
    return payload
