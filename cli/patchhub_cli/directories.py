"""What `status` and `verify` say about a model directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchhub_cli.output import short

if TYPE_CHECKING:
    from patchhub_registry.operations.directory import DirectoryReport


def directory_lines(report: DirectoryReport) -> list[tuple[str, object]]:
    """Label and value, for people."""
    state = report.state
    held = ", ".join(item.name or f"ph:{short(item.id)}" for item in state.stack) or "no patches"
    where = ", ".join(report.stacks) or "no stack of this registry"
    lines: list[tuple[str, object]] = [
        ("directory", f"{report.directory} (generation {state.serial})"),
        ("holds", f"{report.base or short(state.base)}: {held}  (model {short(state.identity)})"),
        ("which is", where),
    ]
    if state.pending:
        lines.append(("unfinished", f"the next apply or revert will {state.pending} it"))
    lines += [("changed", str(each)) for each in report.drift]
    if not report.drift:
        lines.append(("changed", "nothing, outside PatchHub"))
    if report.files is not None:
        lines.append(("files", f"sha256 {report.files}"))
    if report.equals_base is not None:
        lines.append(("equal to base", "yes, every byte" if report.equals_base else "no"))
    return lines


def directory_data(report: DirectoryReport) -> dict[str, object]:
    """The same for programs."""
    state = report.state
    return {
        "directory": report.directory,
        "generation": state.serial,
        "lineage": state.lineage,
        "base": report.base,
        "weights": state.base,
        "patches": [{"ref": item.name, "id": item.id} for item in state.stack],
        "identity": state.identity,
        "stacks": report.stacks,
        "pending": state.pending,
        "drift": [str(each) for each in report.drift],
        "files": report.files,
        "base_files": report.base_files,
        "equals_base": report.equals_base,
    }
