"""The signatures of the public names; ``python -m tests.public_api`` pins them anew."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import patchhub
from patchhub_registry import Registry

GOLDEN = Path(__file__).parent / "golden" / "public_api.txt"


def signatures() -> str:
    """One line per public function, method and property, sorted."""
    lines: list[str] = []
    for name in patchhub.__all__:
        lines += _described(f"patchhub.{name}", getattr(patchhub, name))
    lines += _described("patchhub_registry.Registry", Registry)
    return "\n".join(sorted(lines)) + "\n"


def _described(name: str, thing: object) -> list[str]:
    if not inspect.isclass(thing):
        return [f"{name}{inspect.signature(thing)}"]  # type: ignore[arg-type]
    lines = [f"{name}{inspect.signature(thing)}"] if dataclasses.is_dataclass(thing) else [name]
    for member, value in inspect.getmembers(thing):
        if member.startswith("_"):
            continue
        if isinstance(value, property):
            lines.append(f"{name}.{member}")
        elif callable(value):
            lines.append(f"{name}.{member}{inspect.signature(value)}")
    return lines


if __name__ == "__main__":
    GOLDEN.write_text(signatures(), "utf-8")
