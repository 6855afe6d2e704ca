"""Settings as published for the models they were published for, as data in ``profiles/``.

A file per method holds its profiles, named after their source; `models.json` says how to know the
models again: by family, depth and widths, never by a name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from patchhub.editing.settings import require
from patchhub.editing.wording.tokens import context_length
from patchhub.errors import NotFoundError
from patchhub.loading import LoadedBase
from patchhub.sites import module_of, weight_matrix

PROFILE = "profile"
"""Stands among the settings for the values of the profile it names."""

_DATA = Path(__file__).parent.parent / "profiles"


@dataclass(frozen=True, slots=True)
class Profile:
    """Settings of one source.

    Attributes:
        name: Of the profile.
        source: Where the values were read.
        comment: What the source has and the method has not, and the like.
        models: Settings by model.
    """

    name: str
    source: str
    comment: str
    models: Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model is known by.

    Attributes:
        model_type: Family.
        blocks: Number of blocks of the stack that puts out text.
        width: Of the residual stream.
        inner: Of its MLPs.
        context: Tokens it can read; tells apart what is alike otherwise.
    """

    model_type: str
    blocks: int
    width: int
    inner: int
    context: int | None = None

    @classmethod
    def of(cls, base: LoadedBase) -> Shape:
        """Of a loaded model."""
        down = module_of(base.model, base.arch.path("mlp_out", 0, base.model))
        width, inner = weight_matrix(down).shape
        blocks = base.arch.block_count(base.model)
        return cls(base.arch.model_type, blocks, width, inner, context_length(base.model))

    def like(self, other: Shape) -> bool:
        """Whether all but the context agrees."""
        return (self.model_type, self.blocks, self.width, self.inner) == (
            other.model_type,
            other.blocks,
            other.width,
            other.inner,
        )


@cache
def known_models() -> Mapping[str, Shape]:
    """The models of the profiles."""
    return {name: Shape(**shape) for name, shape in _read("models").items()}


@cache
def profiles(method: str) -> tuple[Profile, ...]:
    """The profiles of a method, sorted; none for a method that has no file."""
    if method not in {path.stem for path in _DATA.glob("*.json")} - {"models"}:
        return ()
    return tuple(Profile(name=name, **data) for name, data in sorted(_read(method).items()))


def profile_values(method: str, name: str, base: LoadedBase) -> Mapping[str, object]:
    """The settings that a profile has for a model.

    Args:
        method: Name of the method.
        name: Name of the profile.
        base: The model.

    Raises:
        NotFoundError: E160, the method has no such profile, or it says nothing of this model.
    """
    every = {profile.name: profile for profile in profiles(method)}
    if name not in every:
        near = get_close_matches(name, every, n=1)
        raise NotFoundError(
            "E160",
            f"{method} has no profile {name!r}",
            expected=", ".join(every) or "none: it has no profiles",
            found=name,
            hint=f"did you mean {near[0]}?" if near else f"patchhub methods {method} lists them",
        )
    models, shape = every[name].models, Shape.of(base)
    alike = [model for model in models if known_models()[model].like(shape)]
    exact = [model for model in alike if known_models()[model].context == shape.context]
    if not alike:
        raise NotFoundError(
            "E160",
            f"profile {name} says nothing of this model",
            expected=", ".join(f"{model} ({_said(known_models()[model])})" for model in models),
            found=_said(shape),
            hint="name the settings: --set KEY=VALUE; `patchhub locate` proposes blocks",
        )
    return models[(exact or alike)[0]]


def with_profile(settings: Mapping[str, object] | None, profile: str | None) -> dict[str, object]:
    """Settings behind which a profile stands, if one is named.

    Raises:
        InvalidInputError: E142, the settings name one, too.
    """
    given = dict(settings or {})
    require(
        profile is None or PROFILE not in given, PROFILE, "it to be named once", given.get(PROFILE)
    )
    return given if profile is None else {PROFILE: profile, **given}


def _said(shape: Shape) -> str:
    return f"{shape.model_type}, {shape.blocks} blocks, {shape.width} and {shape.inner} wide"


def _read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((_DATA / f"{name}.json").read_text(encoding="utf-8"))
    return data
