"""Compare two stacks, patches or directories: patches, tensors, norms, bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from patchhub_cli import completing
from patchhub_cli.main import verb
from patchhub_cli.output import Reply, pairs, table
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub_registry.operations.diff import Difference, SiteDiff
    from patchhub_registry.operations.sides import Side


@verb(
    "diff",
    "patchhub diff prod@3 prod",
    "patchhub diff born-in@1 born-in@2",
    "patchhub diff --stat prod ./patched",
)
@click.argument("a", shell_complete=completing.sides)
@click.argument("b", shell_complete=completing.sides)
@click.option("--stat", is_flag=True, help="From the manifests alone: patches, tensors, ranks.")
def command(session: Session, a: str, b: str, stat: bool) -> Reply:
    """Compare A with B on the same base, tensor by tensor.

    Each is a stack (now, or after an entry: prod@3), a base, a patch, or a model directory. Norms
    are Frobenius norms of what the patches add; "changed" is what is left of the difference in the
    stored bytes: elements that are not equal, and the difference's norm over the base's.
    """
    from patchhub_registry.operations.diff import diff

    registry = session.registry()
    with session.progress() as progress:
        found = diff(registry, a, b, norms=not stat, progress=progress)
    for warning in found.warnings:
        session.warn(warning)
    return Reply(_data(found), _text(found))


def _text(found: Difference) -> str:
    a, b = found.a, found.b
    lines: list[tuple[str, object]] = [
        ("a", _side(a)),
        ("b", _side(b)),
        ("only in a", ", ".join(item.ref for item in found.only_a) or "nothing"),
        ("only in b", ", ".join(item.ref for item in found.only_b) or "nothing"),
    ]
    if not found.sites:
        words = "they are the same model" if len(a.items) == len(b.items) else "none"
        return pairs([*lines, ("tensors", words)])
    headers = ["tensor", "rank a", "rank b"]
    measured = found.sites[0].norms is not None
    headers += ["‖a‖", "‖b‖", "‖b - a‖", "changed", "relative"] if measured else ["dtype", "bytes"]
    rows = [_row(site, measured) for site in found.sites]
    return "\n\n".join(
        [pairs(lines), table(headers, rows, right=" rrrrrrr" if measured else " rr r")]
    )


def _row(site: SiteDiff, measured: bool) -> list[object]:
    row: list[object] = [site.touched.tensor, _rank(site.rank_a), _rank(site.rank_b)]
    if not measured:
        return [*row, site.touched.dtype, f"{site.touched.size:,}"]
    norms, realised = site.norms, site.realised
    row += [f"{n:.4g}" for n in (norms.a, norms.b, norms.difference)] if norms else [None] * 3
    if realised is None:
        return [*row, None, None]
    return [*row, f"{realised.changed:,} of {realised.elements:,}", f"{realised.relative:.2e}"]


def _rank(rank: int | None) -> str:
    return "full" if rank is None else str(rank)


def _side(side: Side) -> str:
    held = ", ".join(item.ref for item in side.items)
    return side.label if side.label == f"patch {held}" else f"{side.label}: {held or 'no patches'}"


def _data(found: Difference) -> dict[str, object]:
    return {
        "a": _side_data(found.a),
        "b": _side_data(found.b),
        "only_a": [item.to_json() for item in found.only_a],
        "only_b": [item.to_json() for item in found.only_b],
        "sites": [_site_data(site) for site in found.sites],
    }


def _side_data(side: Side) -> dict[str, object]:
    patches = [item.to_json() for item in side.items]
    return {"label": side.label, "base": side.base, "patches": patches}


def _site_data(site: SiteDiff) -> dict[str, object]:
    norms, realised = site.norms, site.realised
    return {
        "tensor": site.touched.tensor,
        "dtype": site.touched.dtype,
        "shape": site.touched.shape,
        "bytes": site.touched.size,
        "a": site.touched.before,
        "b": site.touched.after,
        "rank_a": site.rank_a,
        "rank_b": site.rank_b,
        "norms": norms and {"a": norms.a, "b": norms.b, "difference": norms.difference},
        "realised": realised
        and {
            "changed": realised.changed,
            "elements": realised.elements,
            "relative": realised.relative,
        },
    }
