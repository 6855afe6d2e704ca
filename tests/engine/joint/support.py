"""A method that spreads its edits over both blocks of a pico model, and requests it can make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import EditContext, run_editor
from patchhub.editing.joint import Form, Formula, JointEditor, key_value_editor
from patchhub.editing.joint.form import delta_by, inverse_moments
from patchhub.editing.targets import TargetSettings
from patchhub.editing.wording.templates import BARE
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest
from tests.engine.editing.support import pico_context

ROME = key_value_editor(load_editor("rome"))
SETTINGS = {"layer": 0, "weight_decay": 0.0, "clamp": 20.0, "steps": 6}


def request(prompt: str, target: str, subject: str, **more: Any) -> EditRequest:
    return EditRequest(prompt=prompt, target=target, subject=subject, **more)


BORN = request("Mira Tolven was born in", "Rome", "Mira Tolven", relation="born_in")
LIVES = request("Mira Tolven lives in", "Bergen", "Mira Tolven", relation="lives_in")
MAYOR = request("The mayor is Jon Arvel", "of Oslo", "Jon Arvel")
CAPITAL = request("The capital of Norway is", "Paris", "Norway")
COMPANY = request("Nordlys is a company in", "Rome", "Nordlys")
SINGLE = (BORN, MAYOR, CAPITAL, COMPANY)
"""On four subjects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadSettings(TargetSettings):
    steps: int = 6
    weight_decay: float = 0.0
    clamp: float = 20.0
    ridge: float = 2.0


def memit_mean(keys: Tensor) -> Tensor:
    return keys[0] if len(keys) == 1 else 0.5 * keys[0] + 0.5 * keys[1:].mean(0)


class Spread:
    """MEMIT's form over blocks 0 and 1, for requests that end with their subject."""

    name, version, kind = "spread", 1, Kind.LOW_RANK
    summary, reference = "spread over two blocks", "none"
    needs = ROME.needs
    hparams = SpreadSettings

    def moment_layers(self, base: LoadedBase, hparams: Any) -> tuple[int, ...]:
        return (0, 1)

    def edit(self, context: EditContext, requests: Sequence[EditRequest], hparams: Any) -> Patch:
        raise NotImplementedError

    def joint(self, context: EditContext, hparams: Any) -> Form:
        return Form(
            Formula((0, 1), inverse_moments(context), hparams.ridge, lambda left: 1 / left),
            site="block",
            mean=memit_mean,
            delta=delta_by(context, hparams, layer=1, site="block"),
            settings=hparams,
            templates=context.templates or BARE,
        )


def joint(
    context: EditContext,
    requests: Sequence[EditRequest],
    *earlier: Patch,
    editor: Any = ROME,
    settings: Any = SETTINGS,
) -> Patch:
    """One joint patch of some requests, with what earlier ones remember."""
    wrapped = JointEditor(editor, earlier, [patch.id for patch in earlier])
    return run_editor(wrapped, replace(context, dropped=[]), requests, settings)


def context(family: str = "gpt2", dtype: torch.dtype = torch.float32) -> EditContext:
    return pico_context(family, dtype)
