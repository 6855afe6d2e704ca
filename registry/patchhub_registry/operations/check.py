"""Measure a patch of the registry on a stack and put the verdict on file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub_registry.operations import guarding, models

if TYPE_CHECKING:
    from patchhub.guard.verdict import Verdict
    from patchhub.patch import Patch
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.patches import PatchRecord
    from patchhub_registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Checked:
    """A patch and its verdict.

    Attributes:
        patch: The patch.
        verdict: The verdict.
        statement: Digest under which the verdict lies in the registry.
        report: The files of the report, if one was asked for.
    """

    patch: PatchRecord
    verdict: Verdict
    statement: str
    report: tuple[Path, ...] = ()


def check(
    registry: Registry,
    ref: str,
    *,
    stack: str | None = None,
    requests: str | Path | Sequence[EditRequest] | None = None,
    policy: str | Path | None = None,
    waive: Mapping[str, str] | None = None,
    texts: str | Path | None = None,
    report: str | Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Checked:
    """Measure a patch on top of a stack; the verdict is committed, whatever it says.

    Args:
        registry: The registry.
        ref: The patch.
        stack: The stack below it; if the patch is in the stack, what lies there without it.
        requests: The patch's requests with probes (patches are stored without).
        policy: Policy file; else the registry's.
        waive: Checks that may fail, each with the reason, which is recorded.
        texts: File of text unrelated to the edit (`patchhub.textfile.read_texts`), for drift; else
            the base probes' own.
        report: Where the verdict goes as Markdown and HTML (`patchhub.guard.report.report_files`).
        device: Where the model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E102 to E107, E109. InvalidInputError: E13x, E146.
        IntegrityError: E201, E202. PatchHubError: E705, a report needs matplotlib.
    """
    from patchhub.guard import report as reports
    from patchhub.textfile import read_texts

    found = registry.resolve(ref)
    if report is not None:  # before the long part
        reports.ensure_plots()
        reports.report_files(report, found.id)
    passages = None if texts is None else read_texts(Path(texts))
    rules = guarding.policy_of(registry, policy)
    patch = models.read_patch(registry, found.ref)
    wanted = _requests(patch, requests)
    base = models.base_with(registry, patch.manifest.base, found.ref)
    state = models.stack_state(registry, stack)
    below = models.stack_patches(registry, state)
    loaded = models.load(registry, base, device=device, progress=progress)
    judged = guarding.judge(
        registry,
        loaded,
        patch,
        wanted,
        stack=[each for each in below if each.id != patch.id],
        policy=rules,
        waive=waive,
        texts=passages,
        progress=progress,
    )
    registry.add_statements(judged.statements)
    files: tuple[Path, ...] = ()
    if report is not None:
        names = {found.id: found.ref, base.weights: base.name}
        names |= {item.id: item.ref for item in (state.items if state else ())}
        background = reports.Background(patch, wanted, rules, names)
        files = reports.write_report(judged.verdict, report, background)
    return Checked(found, judged.verdict, judged.statements[0].digest, files)


def _requests(
    patch: Patch, requests: str | Path | Sequence[EditRequest] | None
) -> Sequence[EditRequest]:
    from patchhub.request import load_requests

    if requests is None:
        return patch.requests
    if isinstance(requests, str | Path):
        return load_requests(Path(requests))
    return requests
