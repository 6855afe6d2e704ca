"""Where a base keeps its answers to requests, and which blocks an edit of them should take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub_registry.operations import models
from patchhub_registry.operations.task import base_for

if TYPE_CHECKING:
    from patchhub.locating.locate import Located
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry


@dataclass(frozen=True, slots=True)
class LocatedIn:
    """What was located.

    Attributes:
        located: What tracing and interchange found, and the blocks proposed.
        base: Name of the base.
        report: The files of the report, if one was asked for.
    """

    located: Located
    base: str
    report: tuple[Path, ...] = ()


def locate(
    registry: Registry,
    requests: str | Path | Sequence[EditRequest],
    *,
    base: str | None = None,
    stack: str | None = None,
    limit: int = 20,
    pairs: int = 40,
    samples: int = 5,
    seed: int = 0,
    report: str | Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> LocatedIn:
    """Trace the answers that requests shall change through a model; propose blocks to edit.

    Args:
        registry: Only read.
        requests: With subjects, or the file that holds them.
        base: Name of the base; not needed when a stack or the only base says it.
        stack: A stack that the model carries.
        limit: Most facts traced.
        pairs: Most pairs of facts exchanged; 0 for none.
        samples: Draws of noise per fact.
        seed: Of everything random.
        report: Where tables and picture go (`patchhub.locating.report.report_files`).
        device: Where the model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        InvalidInputError: E13x the requests, E142 a number, E150 a prompt is too long, E158 the
            model gives none of the old answers.
        NotFoundError: E106, E107, E109. ConflictError: E302, the stack stands on another base.
        IntegrityError: E201. PatchHubError: E705, a report needs matplotlib.
    """
    from patchhub.composer.composer import Composer
    from patchhub.locating import report as reports
    from patchhub.locating.locate import locate as look
    from patchhub.request import load_requests

    wanted = load_requests(Path(requests)) if isinstance(requests, str | Path) else tuple(requests)
    if report is not None:  # before the long part
        reports.ensure_plots()
        reports.report_files(report)
    state = models.stack_state(registry, stack)
    record = base_for(registry, base, state)
    loaded = models.load(registry, record, device=device, progress=progress)
    with Composer.over(loaded).applied(*models.stack_patches(registry, state)):
        found = look(
            loaded, wanted, limit=limit, pairs=pairs, samples=samples, seed=seed, progress=progress
        )
    files = () if report is None else reports.write_report(found, report)
    return LocatedIn(found, record.name, files)
