"""Train an editor for a base, and keep it in the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub_registry.operations import editors, localfiles, models
from patchhub_registry.operations.task import base_for

if TYPE_CHECKING:
    from patchhub.editing.editor import Editor
    from patchhub.editing.meta.trained import Trained
    from patchhub.request import EditRequest
    from patchhub_registry.asset import Asset
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry


@dataclass(frozen=True, slots=True)
class TrainedIn:
    """An editor that was trained, or was there.

    Attributes:
        trained: The editor.
        base: Name of the base.
        asset: What the registry has it as.
    """

    trained: Trained
    base: str
    asset: Asset


def train(
    registry: Registry,
    method: str,
    data: str | Path | Sequence[EditRequest],
    *,
    base: str | None = None,
    skip: int = 0,
    sample: int = 0,
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: Progress | None = None,
) -> TrainedIn:
    """Train the editor that a method edits with; one that was interrupted goes on.

    One that the registry has is taken as it is.

    Args:
        registry: Keeps it, and its checkpoints on this machine.
        method: Name of a method that needs training.
        data: Requests with paraphrases and questions that must stay; or a source of them, as for
            `patchhub.evaluation.datasets.load_dataset`.
        base: Name of the base; not needed when there is only one.
        skip: Of a source, how many requests are left out: those that ``bench --edits`` asks about.
        sample: Of a source, the seed of its order, as for ``bench --sample``.
        settings: Values that differ from the defaults of the method's training.
        seed: Of everything random.
        device: Where the model computes; a GPU if there is one.
        progress: Called with the phase, steps done, steps in all.

    Raises:
        InvalidInputError: E13x, the data; E142, a setting, or a method that is not trained; E148.
        NotFoundError: E106, E109, E141; E120, the registry has one that may be it, which was not
            fetched. IntegrityError: E201, E202.
    """
    from patchhub.editing.catalog import load_editor
    from patchhub.evaluation.datasets import rest_of
    from patchhub.trainings import train as learn
    from patchhub.trainings import usual_device

    record = base_for(registry, base, None)
    requests = rest_of(data, skip, sample) if isinstance(data, str | Path) else tuple(data)
    chosen = device or usual_device()
    editor = load_editor(method)
    editors.bring(registry, record.weights, editor, lambda asset: _alike(asset, editor, seed))
    loaded = models.load(registry, record, device=chosen, progress=progress)
    trained = learn(
        loaded,
        method,
        requests,
        settings=settings,
        seed=seed,
        cache=localfiles.moments_cache(registry),
        progress=progress,
    )
    return TrainedIn(trained, record.name, editors.keep(registry, trained))


def _alike(asset: Asset, editor: Editor, seed: int) -> bool:
    """Whether a kept editor may be the one, by what is known before the data is read closely."""
    return (asset.facts.get("version"), asset.facts.get("seed")) == (editor.version, seed)
