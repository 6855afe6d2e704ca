"""List the editing methods, or show one with its settings."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import click

from patchhub_cli.main import verb
from patchhub_cli.output import Reply, pairs, table
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub.editing.editor import Editor


@verb("methods", "patchhub methods", "patchhub methods rome")
@click.argument("name", required=False)
def command(session: Session, name: str | None) -> Reply:
    """List the editing methods: what they make, what they need, where they come from.

    With NAME, that method, its settings, and the profiles that `edit --profile` takes: settings as
    they were published, and for which models. Plugins are listed by what their distributions say;
    none is imported until it is named.
    """
    session.quiet_libraries()
    return _all() if name is None else _one(name)


def _all() -> Reply:
    from patchhub.editing.catalog import METHODS, describe

    own, plugins = describe(), METHODS.plugins()
    data: list[dict[str, object]] = [_fields(editor) for editor in own]
    data += [
        {
            "name": one.name,
            "plugin": f"{one.distribution} {one.version}".rstrip(),
            "summary": one.summary,
            "fault": one.fault,
        }
        for one in plugins
    ]
    rows = [(e.name, e.kind, ", ".join(sorted(e.needs)), e.summary, e.reference) for e in own]
    text = table(("method", "makes", "needs", "summary", "source"), rows)
    if plugins:
        foreign = [
            (
                p.name,
                f"{p.distribution} {p.version}",
                f"broken: {p.fault}" if p.fault else p.summary,
            )
            for p in plugins
        ]
        text += "\n\n" + table(("plugin", "brought by", "summary"), foreign)
    return Reply(data, text)


def _one(name: str) -> Reply:
    from patchhub.editing.catalog import METHODS, load_editor
    from patchhub.editing.profiles import profiles
    from patchhub.editing.settings import record_settings

    editor = load_editor(name)
    plugin = METHODS.plugin(name)
    data = _fields(editor)
    data["plugin"] = None if plugin is None else f"{plugin.distribution} {plugin.version}"
    text = pairs([(label, _shown(value)) for label, value in data.items()])
    kinds = {"settings": editor.hparams, "training": getattr(editor, "training", None)}
    for label, kind in kinds.items():
        if kind is None:
            continue
        values = record_settings(kind())
        types = {field.name: str(field.type) for field in fields(kind)}
        data[label] = {n: {"default": v, "type": types[n]} for n, v in values.items()}
        rows = [(n, _shown(value), types[n]) for n, value in values.items()]
        head = "setting" if label == "settings" else "setting of `train`"
        text += "\n\n" + table((head, "default", "type"), rows)
    found = profiles(name)
    data["profiles"] = [
        {"name": p.name, "source": p.source, "comment": p.comment, "models": p.models}
        for p in found
    ]
    if found:
        lines = [(p.name, ", ".join(p.models), p.source) for p in found]
        text += "\n\n" + table(("profile", "models", "source"), lines)
    return Reply(data, text)


def _fields(editor: Editor) -> dict[str, object]:
    return {
        "name": editor.name,
        "plugin": None,
        "version": editor.version,
        "kind": editor.kind,
        "needs": sorted(editor.needs),
        "summary": editor.summary,
        "reference": editor.reference,
    }


def _shown(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
