"""What a model in memory says about the patches on it.

The mark is the model's own ``save_pretrained``: it saves as always and writes beside the weights
which model they are. As an attribute of the model it goes with its copies and pickles.
"""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from weakref import ref

from transformers import PreTrainedModel

from patchhub.composer.identity import composed_identity
from patchhub.errors import PatchHubError
from patchhub.identityfile import IDENTITY, Identity, StackItem
from patchhub.kinds.storage import DTYPES, digest_of
from patchhub.manifest import Site
from patchhub.sites import parameter_for

_NAME = "save_pretrained"


class Mark:
    """Saves a model and says in ``patchhub.json`` which base and patches it is made of.

    It refers to its model weakly, so that a model nobody uses leaves memory at once. Uploads by
    ``push_to_hub()`` have the file; ``save_pretrained(..., push_to_hub=True)`` uploads before it is
    written. Patches that act while the model runs are no part of what is saved.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        base: str,
        ids: tuple[str, ...],
        sites: tuple[Site, ...],
        live: frozenset[str] = frozenset(),
    ) -> None:
        self._model = ref(model)
        self.base, self.ids, self.sites, self.live = base, ids, sites, live

    def __call__(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """`PreTrainedModel.save_pretrained`, and the identity."""
        model = self._model()
        if model is None:
            raise ReferenceError("the model is gone")
        usual = getattr(type(model), _NAME)
        asked = inspect.signature(usual).bind(model, save_directory, *args, **kwargs).arguments
        result = usual(model, save_directory, *args, **kwargs)
        directory = Path(save_directory)
        if asked.get("is_main_process", True) and directory.is_dir():
            (directory / IDENTITY).write_bytes(self.identity(model).to_bytes())
        return result

    def identity(self, model: PreTrainedModel) -> Identity:
        """What the model is made of; digests of touched tensors are those of its weights now."""
        ids = [one for one in self.ids if one not in self.live]
        return Identity(
            lineage=secrets.token_hex(16),
            serial=1,
            base=self.base,
            stack=tuple(StackItem(one, "") for one in ids),
            identity=composed_identity(self.base, ids),
            touched={site.tensor: d for site in self.sites if (d := _digest(model, site))},
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Mark:
        model = self._model()
        copied: Any = memo.get(id(model), model)
        return Mark(copied, self.base, self.ids, self.sites, self.live)

    def __reduce__(self) -> tuple[Any, ...]:
        return Mark, (self._model(), self.base, self.ids, self.sites, self.live)


def carried_by(model: PreTrainedModel) -> tuple[str, ...]:
    """Ids of the patches in the model's weights and slots, also in those of a copy."""
    found = model.__dict__.get(_NAME)
    return found.ids if isinstance(found, Mark) else ()


def mark(
    model: PreTrainedModel,
    base: str,
    ids: tuple[str, ...],
    sites: Iterable[Site],
    live: Iterable[str] = (),
) -> None:
    """Let the model say that it is a base with some patches, or with none.

    Args:
        model: The model.
        base: Digest of the base's weights.
        ids: Of all patches, bottom first.
        sites: That patches in the weights touch.
        live: Ids of those that are not in the weights.
    """
    model.__dict__[_NAME] = Mark(model, base, ids, tuple(sites), frozenset(live))


def _digest(model: PreTrainedModel, site: Site) -> str | None:
    """Of a composed tensor in its stored dtype; none where the model was rebuilt since."""
    try:
        return digest_of(parameter_for(model, site).to(DTYPES[site.dtype]))
    except PatchHubError:
        return None
