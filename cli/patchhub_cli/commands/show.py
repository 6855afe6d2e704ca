"""Show one patch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from patchhub_cli import completing
from patchhub_cli.main import verb
from patchhub_cli.output import Reply, pairs, short
from patchhub_cli.session import Session
from patchhub_registry.schema import SEARCH

if TYPE_CHECKING:
    from patchhub.provenance import MethodRecord
    from patchhub_registry.schema import Statement


@verb("show", "patchhub show born-in@1")
@click.argument("ref", shell_complete=completing.refs)
def command(session: Session, ref: str) -> Reply:
    """Show one patch: what it is, what it says, how it was made, what was said about it.

    REF is name@n, a name (its newest version) or ph:<hex>.
    """
    from patchhub_registry.operations.show import show

    shown = show(session.registry(), ref)
    patch, manifest, record = shown.patch, shown.patch.manifest, shown.patch.record
    method = manifest.method
    items: list[tuple[str, object]] = [
        ("patch", f"{patch.ref}  {patch.short}"),
        ("kind", manifest.kind),
        *(("says", f"{r['prompt']} → {r['target']}") for r in shown.requests),
        *(("left out", f"{short(one.request)}  {one.code} {one.what}") for one in record.dropped),
        ("method", f"{method.name} {method.version}, seed {method.seed}, {method.threads} threads"),
        ("settings", ", ".join(f"{k} {v}" for k, v in sorted(method.hparams.items())) or None),
        *_corpus(method),
        ("base", f"{record.base}  {short(manifest.base)}"),
        *(("touches", f"{s.tensor}  {s.dtype} {list(s.shape)}") for s in manifest.sites),
        ("computed on", ", ".join(f"ph:{short(one)}" for one in manifest.onto) or "the base"),
        *(("stands for", f"{ref or 'not here'}  ph:{short(one)}") for one, ref in shown.superseded),
        ("files", ", ".join(f"{n} {f.size:,} B" for n, f in sorted(manifest.files.items()))),
        ("created", record.created),
        ("message", record.message or None),
        *((one.type, f"{short(one.digest)}{_word(one)}") for one in shown.statements),
        ("in stacks", ", ".join(shown.stacks) or "none"),
    ]
    return Reply(shown.to_json(), pairs(items))


def _corpus(method: MethodRecord) -> list[tuple[str, object]]:
    """Whose text the key statistics are from."""
    if method.corpus is None:
        return []
    whose = {"samples": "the model's own samples", "texts": "given texts"}[method.corpus.source]
    return [("statistics", f"{whose} {short(method.corpus.digest)}, {method.corpus.amount}")]


def _word(statement: Statement) -> str:
    said = json.loads(statement.data)
    if statement.type == SEARCH:
        return "  " + ", ".join(f"{one['method']} {one['fate']}" for one in said["tried"])
    return f"  {'yes' if said['passed'] else 'no'}" if "passed" in said else ""
