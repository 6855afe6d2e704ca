"""The generated parts of README.md; ``python -m tests.readme`` writes it anew."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from patchhub.editing.catalog import describe
from patchhub.kinds import kind_names, kind_of
from patchhub.sites import known_architectures

README = Path(__file__).parent.parent / "README.md"


def methods_table() -> str:
    """Methods there are, and kinds of patches the composer knows."""
    editors = describe()
    rows = ["| method | makes | what it does | source |", "|---|---|---|---|"]
    rows += [f"| `{e.name}` | {e.kind} | {e.summary} | {e.reference} |" for e in editors]
    rows += ["", "| kind | tensors | algebra | made by |", "|---|---|---|---|"]
    for name in kind_names():
        kind = kind_of(name)
        makers = ", ".join(f"`{e.name}`" for e in editors if e.kind is name)
        rows.append(f"| {name} | {', '.join(kind.roles)} | {kind.algebra} | {makers} |")
    return "\n".join(rows)


def families_line() -> str:
    """Families of models that are known, as their configurations name them."""
    return textwrap.fill(", ".join(f"`{name}`" for name in known_architectures()) + ".", 110)


def split(text: str, name: str) -> tuple[str, str, str]:
    """What stands before, between and behind a section's marks."""
    pattern = rf"(.*<!-- {name} -->\n)(.*?)(\n?<!-- /{name} -->.*)"
    found = re.fullmatch(pattern, text, re.DOTALL)
    if found is None:
        raise LookupError(f"README.md has no section {name}")
    return found[1], found[2], found[3]


if __name__ == "__main__":
    for section, content in (("methods", methods_table()), ("families", families_line())):
        before, _, behind = split(README.read_text("utf-8"), section)
        README.write_text(f"{before}{content}\n{behind.lstrip()}", "utf-8")
