"""The public Python calls: a base with patches on it, a new edit, its verdict.

They know nothing of a registry: `patchhub_registry.Registry` has the verbs that keep the results.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from patchhub.composer.composer import Composer
from patchhub.editing.catalog import load_editor
from patchhub.editing.modes import Mode
from patchhub.edits import edit
from patchhub.errors import InvalidInputError
from patchhub.given import Base, Progress, Requests, base_of, patch_of, patches_of, requests_of
from patchhub.loading import load_base
from patchhub.patch import Patch
from patchhub.request import EditRequest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from patchhub.editing.forecast import Forecast
    from patchhub.guard.policy import Policy
    from patchhub.guard.probes import BaseProbes
    from patchhub.guard.verdict import Verdict

__all__ = ["Base", "Progress", "Requests", "check", "edit", "forecast", "load"]


def load(
    base: str | Path,
    stack: Sequence[Patch | str | Path] = (),
    *,
    dtype: torch.dtype | None = None,
    device: str = "cpu",
) -> PreTrainedModel:
    """A base model with the patches of a stack: in its weights, or live in slots of its modules.

    It is an ordinary model of transformers; ``generate`` heeds live patches in batches, padded on
    either side, with a cache, when sampling and under beam search.

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
    Composer.over(loaded).set_stack(patches_of(stack))
    return loaded.model


def forecast(
    base: Base,
    method: str,
    requests: Requests,
    *,
    mode: str = Mode.BATCH,
    onto: Sequence[Patch | str | Path] = (),
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    texts: Iterable[str] | None = None,
    statistics: str = "full",
    cache: Path | None = None,
    elsewhere: Mapping[str, Sequence[int]] | None = None,
    memory: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Forecast:
    """Say what `edit` would make and take, measured on the base; nothing is written.

    Args:
        base: As for `edit`, and so are all that follow; ``cache`` is only looked at.
        method: Name of an editing method.
        requests: What shall be true.
        mode: ``batch``, ``single`` or ``sequential``.
        onto: Patches the model carries.
        settings: Hyper-parameters that differ from the method's defaults.
        seed: Of everything random.
        texts: Text for the key statistics.
        statistics: How much of it.
        cache: Directory of key statistics.
        elsewhere: Statistics that will be in the cache: content key to blocks.
        memory: Bytes that the method may use beside the model.
        device: Where a base given by its directory is put.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E109, E141. InvalidInputError: E13x, E142 to E148, E153.
        IntegrityError: E201.
    """
    from patchhub.editing.forecast import forecast as measure

    way = Mode.of(mode)
    if way is Mode.JOINT:
        raise InvalidInputError(
            "E142",
            "what edits that are solved together take is not forecast",
            expected=" | ".join(one for one in Mode if one is not Mode.JOINT),
            found=mode,
        )
    loaded = base_of(base, device)
    below = patches_of(onto)
    with Composer.over(loaded).applied(*below):
        return measure(
            loaded,
            load_editor(method),
            requests_of(requests),
            mode=way,
            seed=seed,
            settings=settings or {},
            moments_cache=cache,
            elsewhere=elsewhere,
            corpus=texts,
            statistics=statistics,
            below=below,
            memory=memory,
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

    loaded = base_of(base, device)
    rules = policy if isinstance(policy, Policy) else None
    if rules is None:
        rules = default_policy() if policy is None else Policy.read(Path(str(policy)))
    candidate = patch_of(patch)
    wanted = candidate.requests if requests is None else requests_of(requests)
    if report is not None:  # before the long part
        reports.ensure_plots()
        reports.report_files(report, candidate.id)
    composer = Composer.over(loaded)
    with composer.applied(*patches_of(stack)):
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
