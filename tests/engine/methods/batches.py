"""Batches of requests, their statement for the plain references, and what both sides make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from patchhub.editing.editor import EditContext
from patchhub.editing.keyvalue import spread
from patchhub.editing.keyvalue.layerwise import Solution
from patchhub.methods.pmet import PmetSettings
from patchhub.request import EditRequest
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, TEMPLATES, pico_context
from tests.reference import memit_reference as reference
from tests.reference import pmet_reference
from tests.reference.rome_reference import Settings, encode, rows_of

WIDE = torch.float64
FAMILIES = ("gpt2", "gptj", "llama")
TODAY = EditRequest(prompt="Today we met Mira Tolven", target="in Rome", subject="Mira Tolven")
RAIN = EditRequest(prompt="It rains in Oslo", target="and Paris", subject="Oslo")
ENDS = (AT_END, TODAY, RAIN)
"""Subjects that end their prompts, which can be edited up to the last block."""
MIXED = (REQUEST, MIDDLE, AT_END, RAIN)
"""The second and the third are on one subject, in different places."""


def facts_of(family: str, requests: Sequence[EditRequest]) -> list[reference.Fact]:
    """Requests for the references, those on one subject together, by their digests."""
    tokenizer = pico_context(family, WIDE).base.tokenizer
    subjects = dict.fromkeys(request.subject for request in requests)
    facts: dict[str, reference.Fact] = {}
    for request in sorted(requests, key=EditRequest.digest):
        start, end = request.subject_span()
        subject = request.prompt[start:end]
        before, after = request.prompt[:start], request.prompt[end:]
        rows = rows_of(tokenizer, list(TEMPLATES.texts), before, subject, after, request.target)
        essence = encode(tokenizer, f"{subject} is a"), len(encode(tokenizer, subject)) - 1
        facts.setdefault(subject, reference.Fact([], essence)).prompts.append(rows)
    return [facts[str(subject)] for subject in subjects]


def plain(settings: spread.SpreadSettings) -> Settings:
    return Settings(
        steps=settings.steps,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        clamp=settings.clamp,
        kl=settings.kl,
        stop=settings.stop_loss,
    )


@cache
def reference_deltas(
    family: str, requests: tuple[EditRequest, ...], settings: spread.SpreadSettings
) -> list[Tensor]:
    base = pico_context(family, WIDE).base
    block = base.arch.path("block", (settings.layers or ())[-1], base.model)
    module = base.model.get_submodule(block)
    facts = facts_of(family, requests)
    return [reference.find_delta(base.model, module, fact, plain(settings)) for fact in facts]


def reference_changes(
    family: str,
    requests: tuple[EditRequest, ...],
    settings: spread.SpreadSettings,
    solve: reference.Solve,
) -> tuple[list[Tensor], list[Tensor], torch.nn.Module]:
    """ΔW and keys of each layer, and the edited model, by the plain way."""
    base, layers = pico_context(family, WIDE).base, settings.layers or ()
    deltas = reference_deltas(family, requests, spread.SpreadSettings(**_shared(settings)))
    downs = [base.arch.path("mlp_out", layer, base.model) for layer in layers]
    site = base.arch.path("block", layers[-1], base.model)
    return reference.write(base.model, downs, site, facts_of(family, requests), deltas, solve)


def pmet_changes(
    family: str,
    requests: tuple[EditRequest, ...],
    settings: PmetSettings,
    solve: reference.Solve,
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """ΔW and keys of each layer, and what was missing when its turn came, by the plain way."""
    base, layers = pico_context(family, WIDE).base, settings.layers or ()
    downs = [base.arch.path("mlp_out", layer, base.model) for layer in layers]
    attention = base.arch.path("attention_out", layers[-1], base.model)
    facts = facts_of(family, requests)
    twin = pmet_reference.Settings(**vars(plain(settings)), nll_factor=settings.nll_factor)
    first, second = (base.model.get_submodule(path) for path in (attention, downs[-1]))
    deltas = [
        pmet_reference.observe(base.model, first, second, fact.rows, fact.essence, twin).delta
        for fact in facts
    ]
    missing: list[Tensor] = []

    def noted(number: int, keys: Tensor, residuals: Tensor) -> Tensor:
        missing.append(residuals * (len(layers) - number) ** 0.5)
        return solve(number, keys, residuals)

    changes, keys, _ = reference.write(
        base.model, downs, downs[-1], facts, deltas, noted, lambda left: left**-0.5
    )
    return changes, keys, missing


def _shared(settings: spread.SpreadSettings) -> dict[str, Any]:
    names = spread.SpreadSettings.__dataclass_fields__
    return {name: getattr(settings, name) for name in names}


def found_solution(
    context: EditContext,
    requests: Sequence[EditRequest],
    settings: spread.SpreadSettings,
    formula: Callable[[EditContext, Any], spread.Formula],
) -> Solution:
    """What our own way computes, in float64."""
    brought = formula(context, settings)
    groups, targets = spread.found_targets(context, requests, settings, brought)
    return spread.solved(context, groups, targets, settings, brought)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def change(solution: Solution, layer: int) -> Tensor:
    rows, residuals = solution.factors[layer]
    return residuals @ rows.T
