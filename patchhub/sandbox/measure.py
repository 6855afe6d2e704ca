"""How well a sandbox model knows its world, and whether editing it works as the papers say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from patchhub.composer.composer import Composer
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.prepare import prepare_context
from patchhub.loading import LoadedBase
from patchhub.locating.interchange import Moved, interchange
from patchhub.request import LOCALITY, EditRequest, ProbeKind
from patchhub.sandbox import questions
from patchhub.sandbox.pairs import interchange_pairs
from patchhub.sandbox.probes import edit_requests
from patchhub.sandbox.text import texts
from patchhub.sandbox.world import World
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question
from patchhub.scoring.scorer import Scorer

Progress = Callable[[str, int, int], None]
"""Called with what is being measured, units done and units in all."""

MOMENT_TEXTS = 2500


@dataclass(frozen=True, slots=True)
class Figure:
    """A share of right answers and the number of questions it is from."""

    name: str
    share: float
    n: int


def knowledge(base: LoadedBase, world: World, progress: Progress | None = None) -> list[Figure]:
    """Ask for every fact in trained and held-out wordings, in context, by alias and by chain.

    Args:
        base: The model.
        world: What it should know.
        progress: Told after each set of questions.

    Returns:
        Shares of right answers under free greedy generation from bare prompts.
    """
    sets = {
        "recall, trained wording": questions.recall(world, held_out=False),
        "recall, held-out wording": questions.recall(world, held_out=True),
        "in-context override of unseen facts": questions.overrides(world, len(world.facts)),
        "recall by alias": questions.aliases(world),
        "one-hop chain, trained": questions.chains(world, held_out=False),
        "one-hop chain, held out": questions.chains(world, held_out=True),
    }
    scorer = Scorer(base.model, base.tokenizer)
    result = []
    for done, (name, asked) in enumerate(sets.items()):
        if progress is not None:
            progress(name, done, len(sets))
        result.append(_figure(name, _right(scorer, asked)))
    return result


def location(base: LoadedBase, world: World, n: int = 300, seed: int = 0) -> list[Moved]:
    """Run the interchange test on `n` pairs of subjects, at every block."""
    return interchange(
        base.model, base.tokenizer, interchange_pairs(world, base.tokenizer, n, seed)
    )


def editing(
    base: LoadedBase,
    world: World,
    method: str,
    settings: Mapping[str, object],
    *,
    n: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Figure]:
    """Make `n` single edits, each on the untouched model, and ask each edit's probes.

    What must stay counts only where the untouched model knew it. All other figures are over all
    probes of their kind.

    Args:
        base: The model; afterwards as it was.
        world: Where facts and new objects come from.
        method: Name of an editing method.
        settings: Hyper-parameters that differ from the method's defaults.
        n: Number of facts.
        seed: Of facts, new objects, probes and the method.
        progress: Told after each edit.
    """
    requests = edit_requests(world, n, seed)
    editor = load_editor(method)
    context = prepare_context(
        base, editor, requests, seed=seed, settings=settings, corpus=texts(world, MOMENT_TEXTS)
    )
    scorer, composer = Scorer(base.model, base.tokenizer), Composer.over(base)
    known = _known(scorer, requests)
    hits: dict[str, list[bool]] = {"reliability": [], **{str(kind): [] for kind in ProbeKind}}
    for done, request in enumerate(requests):
        patch = run_editor(editor, context, [request], settings)
        with composer.applied(patch):
            asked = [Question(p.prompt, p.answers) for p in request.probes]
            target = Question(request.prompt, (request.target,))
            first, *rest = _right(scorer, [target, *asked])
        hits["reliability"].append(first)
        for probe, right in zip(request.probes, rest, strict=True):
            if probe.kind not in LOCALITY or probe.prompt in known:
                hits[str(probe.kind)].append(right)
        if progress is not None:
            progress(method, done + 1, n)
    return [_figure(name, right) for name, right in hits.items() if right]


def _known(scorer: Scorer, requests: Sequence[EditRequest]) -> set[str]:
    """Prompts of locality probes that the untouched model answers rightly."""
    probes = [p for request in requests for p in request.probes if p.kind in LOCALITY]
    right = _right(scorer, [Question(p.prompt, p.answers) for p in probes])
    return {probe.prompt for probe, ok in zip(probes, right, strict=True) if ok}


def _right(scorer: Scorer, asked: Sequence[Question]) -> list[bool]:
    return [bool(answer.correct) for answer in scorer.ask(asked, Protocol.GENERATION)]


def _figure(name: str, right: Sequence[bool]) -> Figure:
    return Figure(name, sum(right) / max(1, len(right)), len(right))
