"""Requests to an encoder-decoder as the plain references read them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from torch import nn

from patchhub.editing.passes.encoder import start_token
from patchhub.loading import LoadedBase
from patchhub.request import EditRequest
from tests.engine.editing.support import TEMPLATES, pico_base
from tests.engine.methods.batches import WIDE
from tests.reference import encoder_decoder_reference as joined
from tests.reference.memit_reference import Fact


@cache
def base() -> LoadedBase:
    return pico_base("t5", WIDE)


def model() -> joined.Joined:
    return joined.Joined(base().model, int(base().tokenizer.eos_token_id))


def path(part: str, layer: int) -> str:
    """Of a module in the reference's model."""
    return "model." + base().arch.path(part, layer, base().model, "encoder")


def module(part: str, layer: int) -> nn.Module:
    return model().get_submodule(path(part, layer))


def rows_of(request: EditRequest) -> list[joined.Row]:
    start, end = request.subject_span()
    prompt = request.prompt[:start], request.prompt[start:end], request.prompt[end:]
    first, texts = start_token(base().model), list(TEMPLATES.texts)
    return joined.rows_of(base().tokenizer, first, texts, *prompt, request.target)


def essence_of(request: EditRequest) -> tuple[list[int], int]:
    first = start_token(base().model)
    return joined.essence_of(base().tokenizer, first, str(request.subject))


def facts_of(requests: Sequence[EditRequest]) -> list[Fact]:
    """Requests on one subject together, in the order of their digests."""
    facts: dict[str, Fact] = {}
    for request in sorted(requests, key=EditRequest.digest):
        fact = facts.setdefault(str(request.subject), Fact([], essence_of(request)))
        fact.prompts.append(rows_of(request))
    return [facts[str(subject)] for subject in dict.fromkeys(r.subject for r in requests)]
