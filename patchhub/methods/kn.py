"""KN: the neurons that an answer hangs on, and another vector written into what they put out.

Source: Dai et al. 2022, arXiv:2104.08696. A neuron is found by integrated gradients of the old
answer's probability (eq. 2 to 3); neurons above a share of the largest score are kept. Each one's
value, a column of the down-projection, loses the embedding of what the model says now and gains
that of the new answer (section 5.1). Paraphrases do not refine the choice, as in the surveys.

With o the model's own greedy tokens, g the new answer's, E the input embeddings, all columns get

    easyedit   −2 E[o₁] + E[g₁] for one token, −Σ E[oᵢ] + Σ E[gᵢ] for several
    rome_code  −2 E[o₁] + Σ E[gᵢ]
    eleuther   −2 Σ E[oᵢ] + 2 Σ E[gᵢ]
    balanced   −Σ E[oᵢ] + Σ E[gᵢ]
    original   ‖value‖ (−ô + 8 ĝ), hats for means of embeddings of length 1: a vector per neuron

``easyedit`` is what the surveys report (Yao et al. 2023, arXiv:2305.13172); that it takes away
twice what it gives, for single tokens only, is an accident of its code. Where the output
projection is not the input embedding (GPT-J, Llama), E[g] need not make g likelier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from patchhub.editing.dropping import each_or_dropped
from patchhub.editing.editor import Cost, EditContext, method_record
from patchhub.editing.neurons.attribution import attributions
from patchhub.editing.neurons.selection import (
    NeuronEdit,
    Variant,
    embeddings,
    kept,
    patch_tensors,
    told,
    weighed,
)
from patchhub.editing.passes.recall import Tokens, answers, greedy, places
from patchhub.editing.settings import require
from patchhub.editing.wording.prompts import prompt_of
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class KnSettings:
    """Published values for GPT-2 XL; EasyEdit has threshold 0.1 for GPT-J, 1 step for Llama.

    Attributes:
        steps: α's of the integral.
        threshold: Share of the largest score that a neuron must exceed.
        endpoints: Whether the α's go from 0 to 1, as in the port; else they end before 1.
        continued: Whether the old answer's later tokens are looked for after the model's own
            earlier ones, as EasyEdit does for Llama; else all right after the prompt, as for GPT-2.
        tokens: ``natural``, or as the ``reference`` tokenises (see `recall.Tokens`).
        variant: Which vector is written.
    """

    steps: int = 20
    threshold: float = 0.2
    endpoints: bool = True
    continued: bool = False
    tokens: Tokens = "natural"
    variant: Variant = "easyedit"

    def __post_init__(self) -> None:
        require(self.steps > 0, "steps", "a positive number", self.steps)
        inside = 0 <= self.threshold < 1
        require(inside, "threshold", "a share from 0 to below 1", self.threshold)

    @property
    def grid(self) -> list[float]:
        """The α's; a single one is 0."""
        last = max(self.steps - 1, 1) if self.endpoints else self.steps
        return [step / last for step in range(self.steps)]


class Kn:
    """Knowledge neurons."""

    name = "kn"
    version = 1
    summary = "finds the neurons an old answer hangs on and writes the new one into their values"
    reference = "Dai et al. 2022, arXiv:2104.08696"
    kind = Kind.SPARSE
    needs = frozenset({"target_old"})
    hparams = KnSettings
    cost = Cost(each=True)

    def moment_layers(self, base: LoadedBase, hparams: KnSettings) -> tuple[int, ...]:
        """None: no statistics are used."""
        return ()

    def edit(
        self, context: EditContext, requests: Sequence[EditRequest], hparams: KnSettings
    ) -> Patch:
        """Each request on the model as it is; what they add to one column is added up.

        A request that is made twice adds what it adds once.
        """
        done = 0

        def one(request: EditRequest) -> NeuronEdit:
            nonlocal done
            context.report("edit", done, len(requests))
            done += 1
            return neuron_edit(context, request, hparams)

        fit, edits = each_or_dropped(context, requests, one)
        context.report("edit", len(requests), len(requests))
        asked = ((request.question, request.target, request.target_old) for request in fit)
        once = dict(zip(asked, edits, strict=True))
        sites, payload = patch_tensors(context.base, list(once.values()))
        return Patch.build(
            self.kind,
            payload,
            sites=sites,
            base=context.base.fingerprint.weights,
            method=method_record(self, context, fit, hparams),
            requests=fit,
            onto=context.onto,
            state=told(edits),
        )


def neuron_edit(context: EditContext, request: EditRequest, settings: KnSettings) -> NeuronEdit:
    """Neurons, tokens and coefficients of one request.

    Raises:
        InvalidInputError: E143, tokens do not line up; E150, longer than the model's context; E158,
            no neuron stands out.
    """
    base, words = context.base, embeddings(context.base)
    old = request.target_old or ""
    prompt = prompt_of(base.tokenizer, request).text
    asked = answers(base, prompt, old, request.target, settings.tokens)
    where = places(base, asked, settings.tokens, continued=settings.continued)
    found = [attributions(base, place, settings.grid, memory=context.memory) for place in where]
    said = greedy(base, asked, len(asked.new), settings.tokens)
    tokens, coefficients = weighed(settings.variant, said, asked.new, words)
    scaled = settings.variant == "original"
    scores = torch.stack(found).mean(0)
    return NeuronEdit(kept(scores, settings.threshold), tokens, coefficients, scaled)


EDITOR = Kn()
