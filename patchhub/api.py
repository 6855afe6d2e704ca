"""The public Python calls: a base with patches on it, a new edit, its verdict.

They know nothing of a registry: `patchhub_registry.Registry` has the verbs that keep the results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch

from patchhub.composer.composer import Composer
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.prepare import prepare_context
from patchhub.loading import LoadedBase, load_base
from patchhub.patch import Patch
from patchhub.request import EditRequest, load_requests

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from patchhub.editing.forecast import Forecast
    from patchhub.guard.policy import Policy
    from patchhub.guard.probes import BaseProbes
    from patchhub.guard.verdict import Verdict

Base: TypeAlias = LoadedBase | str | Path
"""A loaded base or its directory, as `from_pretrained` reads it."""
Requests: TypeAlias = Sequence[EditRequest] | EditRequest | str | Path
"""Requests, or the file that holds them."""
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with a phase, units done and units in all."""


def load(
    base: str | Path,
    stack: Sequence[Patch | str | Path] = (),
    *,
    dtype: torch.dtype | None = None,
    device: str = "cpu",
) -> PreTrainedModel:
    """A base model with the patches of a stack folded into its weights.

    Args:
        base: Directory of the base.
        stack: Patches or their directories, bottom first.
        dtype: Run-time dtype, float32 without; the composed bytes are rounded to the stored dtype
            first, then cast.
        device: Where the parameters lie.

    Raises:
        NotFoundError: E109, a directory is missing.
        IntegrityError: E201 a patch is of another base, E202 its files were changed.
        ConflictError: E306, the stack names a patch twice.
    """
    # Cast while loading, never afterwards: `model.to` would round the rotary frequencies as well.
    loaded = load_base(Path(base), dtype=dtype or torch.float32, device=device)
    Composer.over(loaded).set_stack(_patches(stack))
    return loaded.model


def edit(
    base: Base,
    method: str,
    requests: Requests,
    *,
    onto: Sequence[Patch | str | Path] = (),
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    texts: Iterable[str] | None = None,
    cache: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Patch:
    """Compute an edit; the model is afterwards as it was.

    Args:
        base: The base or its directory.
        method: Name of an editing method (`patchhub.editing.catalog.editor_names`).
        requests: What shall be true.
        onto: Patches the model carries while the edit is computed, bottom first.
        settings: Hyper-parameters that differ from the method's defaults.
        seed: Of everything random.
        texts: Text for the key statistics some methods need; else the model's own samples.
        cache: Directory that keeps key statistics for the next edit.
        device: Where a base given by its directory is put.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E141 no such method; E109 a directory is missing.
        InvalidInputError: E13x a request, E142 a setting, E143 to E148 the model does not fit.
        IntegrityError: E201, a patch in ``onto`` is of another base.
    """
    loaded = _loaded(base, device)
    wanted = _requests(requests)
    editor = load_editor(method)
    # Statistics and templates describe the base, whatever lies on it while the edit is computed.
    below = _patches(onto)
    context = prepare_context(
        loaded,
        editor,
        wanted,
        seed=seed,
        settings=settings or {},
        moments_cache=cache,
        corpus=texts,
        below=below,
        progress=progress,
    )
    with Composer.over(loaded).applied(*below):
        return run_editor(editor, context, wanted, settings or {})


def forecast(
    base: Base,
    method: str,
    requests: Requests,
    *,
    onto: Sequence[Patch | str | Path] = (),
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    texts: Iterable[str] | None = None,
    cache: Path | None = None,
    elsewhere: Mapping[str, Sequence[int]] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Forecast:
    """Say what `edit` would make and take, measured on the base; nothing is written.

    Args:
        base: As for `edit`, and so are all that follow; ``cache`` is only looked at.
        method: Name of an editing method.
        requests: What shall be true.
        onto: Patches the model carries.
        settings: Hyper-parameters that differ from the method's defaults.
        seed: Of everything random.
        texts: Text for the key statistics.
        cache: Directory of key statistics.
        elsewhere: Statistics that will be in the cache: content key to blocks.
        device: Where a base given by its directory is put.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E109, E141. InvalidInputError: E13x, E142 to E148, E153.
        IntegrityError: E201.
    """
    from patchhub.editing.forecast import forecast as measure

    loaded = _loaded(base, device)
    below = _patches(onto)
    with Composer.over(loaded).applied(*below):
        return measure(
            loaded,
            load_editor(method),
            _requests(requests),
            seed=seed,
            settings=settings or {},
            moments_cache=cache,
            elsewhere=elsewhere,
            corpus=texts,
            below=below,
            progress=progress,
        )


def check(
    base: Base,
    patch: Patch | str | Path,
    requests: Requests | None = None,
    *,
    stack: Sequence[Patch | str | Path] = (),
    policy: Policy | str | Path | None = None,
    probes: BaseProbes | None = None,
    texts: Sequence[str] | None = None,
    known: Mapping[str, Sequence[EditRequest]] | None = None,
    waive: Mapping[str, str] | None = None,
    report: str | Path | None = None,
    cache: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Verdict:
    """Measure a patch on top of a stack and judge it by a policy; the model stays as it was.

    Args:
        base: The base or its directory.
        patch: The patch or its directory.
        requests: The patch's requests with their probes; else the patch's own, which have none.
        stack: Patches already on the model, bottom first.
        policy: A policy or its TOML file; else the one that PatchHub ships.
        probes: Locality and drift probes of the base.
        texts: Text unrelated to the edit, for drift; else the base probes' own.
        known: Requests with probes of patches in the stack, by patch id; patches store none.
        waive: Checks that may fail, each with the reason.
        report: Where the verdict goes as Markdown and HTML (`patchhub.guard.report.report_files`).
        cache: Directory that keeps the unedited model's answers for the next check.
        device: Where a base given by its directory is put.
        progress: Called with the phase, units done, units in all.

    Raises:
        InvalidInputError: E146, the policy; E13x, the requests.
        IntegrityError: E201, a patch is of another base.
        NotFoundError: E109, there is no place for the report.
        PatchHubError: E705, a report needs matplotlib.
    """
    from patchhub.guard import report as reports
    from patchhub.guard.guard import check as judge
    from patchhub.guard.policy import Policy, default_policy
    from patchhub.guard.probes import BaseProbes
    from patchhub.scoring.cache import AnswerCache

    loaded = _loaded(base, device)
    rules = policy if isinstance(policy, Policy) else None
    if rules is None:
        rules = default_policy() if policy is None else Policy.read(Path(str(policy)))
    candidate = _patch(patch)
    wanted = candidate.requests if requests is None else _requests(requests)
    if report is not None:  # before the long part
        reports.ensure_plots()
        reports.report_files(report, candidate.id)
    composer = Composer.over(loaded)
    with composer.applied(*_patches(stack)):
        verdict = judge(
            loaded,
            composer,
            candidate,
            wanted,
            rules,
            probes=probes if texts is None else replace(probes or BaseProbes(), texts=tuple(texts)),
            known=known,
            waive=waive,
            cache=AnswerCache(cache),
            progress=progress,
        )
    if report is not None:
        reports.write_report(verdict, report, reports.Background(candidate, wanted, rules))
    return verdict


def _loaded(base: Base, device: str) -> LoadedBase:
    return base if isinstance(base, LoadedBase) else load_base(Path(base), device=device)


def _patch(patch: Patch | str | Path) -> Patch:
    return patch if isinstance(patch, Patch) else Patch.read(Path(patch))


def _patches(patches: Sequence[Patch | str | Path]) -> tuple[Patch, ...]:
    return tuple(_patch(patch) for patch in patches)


def _requests(requests: Requests) -> tuple[EditRequest, ...]:
    if isinstance(requests, EditRequest):
        return (requests,)
    if isinstance(requests, str | Path):
        return load_requests(Path(requests))
    return tuple(requests)
