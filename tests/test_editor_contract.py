"""What every editing method, ours or a plugin's, owes to the rest of the house."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from patchhub.composer.composer import Composer
from patchhub.editing.catalog import METHODS as CATALOG
from patchhub.editing.catalog import editor_names, load_editor
from patchhub.editing.editor import TRAINED, EditContext, Editor, run_editor
from patchhub.editing.meta.train import train_editor
from patchhub.editing.prepare import prepare_context
from patchhub.editing.wording.tokens import target_row
from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.patch import Patch
from patchhub.request import EditRequest, Probe, ProbeKind
from tests.engine.editing.support import AT_END, REQUEST, TEXTS, pico_base
from tests.engine.editing.test_isolation import numpy_state
from tests.engine.meta import LESSONS, TINY

METHODS = editor_names()
FAMILIES = ("gpt2", "gptj", "llama")
WRITE_EMBEDDINGS = {"kn"}
"""Methods that add input embeddings: of use only where these are the output projection too."""


SMALL = {"covariance_weight": 1.0, "null_share": 0.3, "eta": 0.01}
"""What published settings mean depends on the size of keys; these suit pico models."""


def block(editor: Editor, number: object) -> dict[str, object]:
    """Settings that name one block, where the method has such a setting."""
    known = {field.name for field in fields(editor.hparams)}
    if "layer" in known:
        return {"layer": number}
    if "layers" not in known:
        return {}
    return {"layers": (number,)} | {name: v for name, v in SMALL.items() if name in known}


def complete(editor: Editor, request: EditRequest) -> EditRequest:
    """The request with what the method needs to know of the old answer."""
    return replace(request, target_old="Oslo") if "target_old" in editor.needs else request


def first(editor: Editor) -> dict[str, object]:
    return block(editor, 0)


@cache
def trained_in(name: str, family: str) -> Path | None:
    """A directory with the editor that the method needs for a family, tinily trained."""
    editor = load_editor(name)
    if TRAINED not in editor.needs:
        return None
    cache = Path(tempfile.mkdtemp(prefix="patchhub-trained-"))
    train_editor(pico_base(family), editor, LESSONS, settings=TINY, cache=cache)
    return cache


def context_for(editor: Editor, family: str, seed: int = 0) -> EditContext:
    base, requests = pico_base(family), [complete(editor, REQUEST)]
    return prepare_context(
        base,
        editor,
        requests,
        seed=seed,
        settings=first(editor),
        moments_cache=trained_in(editor.name, family),
        corpus=TEXTS,
    )


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything an editor might leave changed; compared by equality."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "bytes": {n: t.detach().contiguous().numpy().tobytes() for n, t in tensors},
        "identity": {n: id(t) for n, t in tensors},
        "storage": {n: t.data_ptr() for n, t in tensors},
        "gradients": {n: (p.requires_grad, p.grad is None) for n, p in model.named_parameters()},
        "modes": {n: m.training for n, m in model.named_modules()},
        "hooks": {
            n: [
                list(getattr(m, table))
                for table in (
                    "_forward_hooks",
                    "_forward_pre_hooks",
                    "_backward_hooks",
                    "_backward_pre_hooks",
                )
            ]
            for n, m in model.named_modules()
        },
        "own": {n: sorted(m.__dict__) for n, m in model.named_modules()},
        "python": random.getstate(),
        "numpy": numpy_state(),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "threads": torch.get_num_threads(),
        "grad mode": torch.is_grad_enabled(),
    }


def probability(model: nn.Module, ids: tuple[int, ...], slots: Any, labels: Any) -> float:
    log_p = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return float(sum((log_p[s, t] for s, t in zip(slots, labels, strict=True)), torch.zeros(())))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_the_model_and_the_generators_stay_as_they_were(name: str, family: str) -> None:
    editor = load_editor(name)
    context = context_for(editor, family)
    before = snapshot(context.base.model)
    run_editor(editor, context, [complete(editor, REQUEST)], first(editor))
    assert snapshot(context.base.model) == before


@contextmanager
def _fails_at(owner: Any, attribute: str, call: int) -> Iterator[list[int]]:
    """Let the ``call``-th use of a function raise."""
    real: Callable[..., Any] = getattr(owner, attribute)
    calls: list[int] = []

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            raise RuntimeError("injected")
        return real(*args, **kwargs)

    setattr(owner, attribute, failing)
    try:
        yield calls
    finally:
        setattr(owner, attribute, real)


@pytest.mark.parametrize(
    ("owner", "attribute", "call"),
    [
        (torch.optim.Adam, "step", 1),
        (torch.optim.Adam, "step", 3),
        (torch.Tensor, "log_softmax", 2),
        (torch.Tensor, "log_softmax", 4),
        (torch.autograd, "grad", 1),
        (nn.Module, "__call__", 25),
        (Patch, "build", 1),
    ],
    ids=[
        "first step",
        "third step",
        "second loss",
        "fourth loss",
        "gradient",
        "inside a pass",
        "at the end",
    ],
)
@pytest.mark.parametrize("name", METHODS)
def test_they_stay_also_when_the_method_raises_half_way(
    name: str, owner: Any, attribute: str, call: int
) -> None:
    editor = load_editor(name)
    context = context_for(editor, "gpt2")
    model = context.base.model
    model.train()
    model.requires_grad_(True)
    before = snapshot(model)
    try:
        with _fails_at(owner, attribute, call) as calls:
            try:
                run_editor(editor, context, [complete(editor, REQUEST)], first(editor))
            except RuntimeError as error:
                if "injected" not in str(error):
                    raise
        once = CATALOG.plugin(name) or editor.cost.steps is None  # type: ignore[attr-defined]
        never = not calls or (len(calls) < call and once)
        if never and owner is not Patch:
            pytest.skip("this method never gets there")
        assert len(calls) >= call
        assert snapshot(model) == before
    finally:
        model.train(False)
        model.requires_grad_(False)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_patch(name: str, family: str) -> None:
    editor = load_editor(name)
    ids = []
    for noise in (1, 2):
        random.seed(noise)
        np.random.seed(noise)
        torch.manual_seed(noise)
        context = context_for(editor, family)
        ids.append(run_editor(editor, context, [complete(editor, REQUEST)], first(editor)).id)
    assert ids[0] == ids[1]
    if "templates" in editor.needs:
        other = run_editor(editor, context_for(editor, family, seed=1), [REQUEST], first(editor))
        assert other.id != ids[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_the_patch_fits_the_composer_and_makes_the_target_likelier(name: str, family: str) -> None:
    editor = load_editor(name)
    if name in WRITE_EMBEDDINGS and family != "gpt2":
        pytest.skip("this model's output projection is not its input embedding")
    context = context_for(editor, family)
    base = context.base
    row = target_row(base.tokenizer, AT_END.prompt, AT_END.target)
    asked = (row.ids, row.slots, row.labels)
    patch = run_editor(editor, context, [complete(editor, AT_END)], first(editor))
    before = probability(base.model, *asked)
    with Composer.over(base).applied(patch):
        assert probability(base.model, *asked) > before + 0.01
    assert probability(base.model, *asked) == before


@pytest.mark.parametrize("name", METHODS)
def test_requests_are_recorded_without_their_probes(name: str) -> None:
    editor = load_editor(name)
    probe = Probe(ProbeKind.PARAPHRASE, "The birthplace of Mira Tolven is", ("Rome",))
    request = replace(complete(editor, REQUEST), id="a", probes=(probe,))
    patch = run_editor(editor, context_for(editor, "gpt2"), [request], first(editor))
    assert patch.manifest.method.requests == (request.digest(),)
    assert patch.manifest.method.name == name
    assert b"birthplace" not in b"".join(patch.files().values())
    again = Patch.from_files(patch.files())
    assert again.id == patch.id


@pytest.mark.parametrize("name", METHODS)
def test_a_request_without_what_the_method_needs_is_refused(name: str) -> None:
    editor = load_editor(name)
    context = context_for(editor, "gpt2")
    with pytest.raises(InvalidInputError) as nothing:
        run_editor(editor, context, [], first(editor))
    assert nothing.value.code == "E134"
    if "subject" not in editor.needs:
        return
    for request, code in (
        (EditRequest(prompt="Mira was born in", target="Rome"), "E134"),
        (EditRequest(prompt="Mira was born in", target="Rome", subject="Jon"), "E132"),
        (EditRequest(prompt="Jon met Jon in", target="Rome", subject="Jon"), "E133"),
    ):
        with pytest.raises(InvalidInputError) as error:
            run_editor(editor, context, [request], first(editor))
        assert error.value.code == code


@pytest.mark.parametrize("name", METHODS)
def test_wrong_settings_are_typed_errors(name: str) -> None:
    editor = load_editor(name)
    context = context_for(editor, "gpt2")
    wrong: list[tuple[Any, str]] = [({"nonsense": 1}, "E142"), (3, "E142")]
    if first(editor):
        wrong += [(block(editor, 2), "E144"), (block(editor, "one"), "E142")]
    for settings, code in wrong:
        with pytest.raises(PatchHubError) as error:
            run_editor(editor, context, [complete(editor, REQUEST)], settings)
        assert error.value.code == code


@pytest.mark.parametrize("name", METHODS)
def test_half_precision_is_refused(name: str) -> None:
    editor = load_editor(name)
    context = EditContext(
        base=pico_base("gpt2", torch.bfloat16), generator=torch.Generator(), seed=0
    )
    with pytest.raises(InvalidInputError) as error:
        run_editor(editor, context, [complete(editor, REQUEST)], first(editor))
    assert error.value.code == "E142"


@pytest.mark.parametrize("name", METHODS)
def test_what_must_be_prepared_is_asked_for(name: str) -> None:
    editor = load_editor(name)
    context = EditContext(base=pico_base("gpt2"), generator=torch.Generator(), seed=0)
    asked = (editor, context, [complete(editor, REQUEST)], first(editor))
    if TRAINED in editor.needs:
        with pytest.raises(InvalidInputError, match=f"patchhub train {name}"):
            run_editor(*asked)
        with pytest.raises(InvalidInputError, match=f"patchhub train {name}"):
            prepare_context(context.base, editor, asked[2], seed=0)
    elif editor.needs & {"templates", "moments"}:
        with pytest.raises(InvalidInputError, match="prepare_context"):
            run_editor(*asked)
