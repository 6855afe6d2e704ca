"""Train an editor for a base, or find it trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

from patchhub import canonical
from patchhub.editing.editor import TRAINED, Editor, Progress
from patchhub.editing.isolation import isolated
from patchhub.editing.meta.learner import Trainable
from patchhub.editing.meta.loop import Keeper, descend
from patchhub.editing.meta.material import Material
from patchhub.editing.meta.trained import Trained, kept_in, unfinished_file
from patchhub.editing.prepare import check_numbers
from patchhub.editing.ready import check_precision
from patchhub.editing.settings import parse_settings, record_settings
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.request import EditRequest


def train_editor(
    base: LoadedBase,
    editor: Editor,
    requests: Sequence[EditRequest],
    *,
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train an editor; one that was interrupted goes on, one that is there is not trained again.

    Args:
        base: The base, without patches; it is afterwards as it was.
        editor: One that needs training.
        requests: With paraphrases, and better with questions that must stay as they are.
        settings: Values that differ from the defaults of its training.
        seed: Of everything random.
        cache: Directory that keeps checkpoints and, in the end, the editor.
        progress: Called with the phase, steps done, steps in all.

    Raises:
        InvalidInputError: E134, no request has a paraphrase; E142, a setting, the seed, the model's
            dtype, or a method that is not trained; E148, it diverged; else what is wrong with a
            request (E137, E143, E150).
    """
    if TRAINED not in editor.needs:
        raise InvalidInputError(
            "E142", f"{editor.name} edits without training", hint="patchhub edit takes it as it is"
        )
    check_numbers(seed)
    check_precision(base)
    learning = cast(Trainable, editor)
    chosen = learning.resolved(base, parse_settings(learning.training, settings or {}))
    material = Material.of(base, requests, chosen.held, seed)
    content = content_of(base, editor, chosen, material.digest, seed)
    key = canonical.digest(content)
    for file in kept_in(cache, editor.name, base.fingerprint.weights):
        found = Trained.read(file)
        if found.key == key:
            return found
    keeper = Keeper(None if cache is None else unfinished_file(cache, key), key)
    with isolated(base.model):
        learner = learning.learner(base, material, chosen, torch.Generator().manual_seed(seed))
        course = descend(
            learner,
            material,
            chosen,
            seed=seed,
            keeper=keeper,
            report=lambda done, total: progress("train", done, total) if progress else None,
        )
    outcome: dict[str, canonical.Json] = {
        "step": course.best,
        "steps": course.step,
        "examples": len(material.train),
        "held": len(material.held),
        "history": [[step, canonical.decimal(loss)] for step, loss in course.history],
    }
    examples = (*material.train, *material.held)
    trained = Trained.of(content, outcome, learner.network.state_dict(), examples)
    if cache is not None:
        trained.write(cache)
    keeper.done()
    return trained


def content_of(
    base: LoadedBase, editor: Editor, settings: Any, data: str, seed: int
) -> dict[str, canonical.Json]:
    """What decides the bits of a trained editor, on one kind of machine."""
    device = base.model.device.type
    return {
        "method": editor.name,
        "version": editor.version,
        "base": base.fingerprint.weights,
        "config": base.fingerprint.config,
        "tokenizer": dict(base.fingerprint.tokenizer),
        "data": data,
        "settings": record_settings(settings),
        "seed": seed,
        "device": device,
        "dtype": str(base.model.dtype),
        "threads": torch.get_num_threads() if device == "cpu" else 0,
        "libraries": {name: version(name) for name in ("torch", "transformers")},
    }
