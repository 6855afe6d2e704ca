"""What `status` and `verify` say about a model directory."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from patchhub_cli.output import short

if TYPE_CHECKING:
    from patchhub_registry.operations.directory import DirectoryReport


def directory_lines(report: DirectoryReport) -> list[tuple[str, object]]:
    """Label and value, for people."""
    state = report.state
    held = ", ".join(item.name or f"ph:{short(item.id)}" for item in state.stack) or "no patches"
    where = ", ".join(map(str, report.stacks)) or "no state of a stack of this registry"
    lines: list[tuple[str, object]] = [
        ("directory", f"{report.directory} (generation {state.serial})"),
        ("holds", f"{report.base or short(state.base)}: {held}  (model {short(state.identity)})"),
        ("which is", where),
    ]
    if report.pending:
        lines.append(("unfinished", f"the next apply or revert will {report.pending} it"))
    behind = [each for each in report.stacks if each.seq < each.head]
    if behind and len(behind) == len(report.stacks):
        hint = f"patchhub apply --stack {behind[0].stack} --model {report.directory}"
        lines.append(("catch up with", hint))
    lines += [("changed", f"{d.where}: {d.found}, not {d.expected}") for d in report.drift]
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
        "stacks": [asdict(each) for each in report.stacks],
        "pending": report.pending,
        "drift": [asdict(each) for each in report.drift],
        "files": report.files,
        "base_files": report.base_files,
        "equals_base": report.equals_base,
    }
