"""A registry, a model directory and the commands that are killed on them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import torch
from click.testing import CliRunner

from patchhub.checkpoint import directory_digest
from patchhub.checkpoint.place import place_of
from patchhub_cli.main import main
from patchhub_registry import Registry
from patchhub_registry.operations.known import remember
from tests.pico import pico_directory

FT = ("ft", "--set", "layers=1", "--set", "steps=2")
COMMANDS: dict[str, tuple[str, ...]] = {
    "add": ("add", "../spare", "--name", "spare"),
    "edit": ("edit", *FT, "../speaks.json", "--name", "speaks"),
    "apply": ("apply", "lives", "--stack", "prod", "--model", "../model"),
    "first": ("apply", "lives", "--stack", "other", "--model", "../fresh"),
    "revert": ("revert", "born", "--stack", "prod", "--model", "../model"),
    "gc": ("gc", "--keep", "1", "--now"),
}
"""By name; ``first`` is an apply to a name that is not taken yet."""

_POLICY = """\
schema = 1
version = 1
[check.reliability.target]
rule = "report"
[check.locality.neighbourhood]
rule = "report"
"""
_FACTS = {"born": ("was born in", "Rome"), "lives": ("lives in", "Oslo"), "speaks": ("is", "Paris")}


@dataclass(frozen=True, slots=True)
class World:
    """One directory with all that a command touches.

    Attributes:
        home: Holds ``registry``, the model directories and the files that commands read.
    """

    home: Path

    @property
    def root(self) -> Path:
        """The registry."""
        return self.home / "registry"

    @property
    def model(self) -> Path:
        """Holds stack ``prod``."""
        return self.home / "model"

    @property
    def fresh(self) -> Path:
        """Holds stack ``other``, once that is begun."""
        return self.home / "fresh"

    @property
    def models(self) -> tuple[Path, Path]:
        """Both model directories."""
        return self.model, self.fresh

    def run(self, *arguments: str) -> str:
        """A command that must succeed, in this process; its output."""
        with chdir(self.root):
            result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{arguments}: {result.output}"
        return result.output

    def seen(self) -> dict[str, object]:
        """Everything a user sees: patches, entries of stacks, bytes of model directories."""
        with Registry.open(self.root) as registry:
            stacks = {name: registry.stack(name) for name in registry.stacks()}
            return {
                "patches": sorted(patch.ref for patch in registry.patches()),
                "stacks": {name: (state.seq, state.ids) for name, state in stacks.items()},
                "models": {
                    path.name: directory_digest(path) if path.is_symlink() else None
                    for path in self.models
                },
            }

    def copy(self, home: Path) -> World:
        """The same elsewhere; the base is shared, for nothing writes to it."""
        shutil.copytree(self.home, home, symlinks=True)
        made = World(home)
        shutil.rmtree(made.root / ".patchhub/models")
        with Registry.open(made.root) as registry:
            remember(registry, made.model)
        return made


def build(home: Path) -> World:
    """A world with one base, two patches, stack ``prod`` with the first, applied to ``model``."""
    torch.set_num_threads(1)
    home.mkdir(parents=True)
    base = pico_directory(home.parent, "gpt2")
    (home / "policy.toml").write_text(_POLICY)
    (home / "probes.jsonl").write_text('{"prompt": "The capital of Norway is"}\n')
    (home / "texts.txt").write_text("\n".join(_texts()))
    for name, (words, answer) in _FACTS.items():
        (home / f"{name}.json").write_text(json.dumps(_request(name, words, answer)))
    made = World(home)
    main(["init", str(made.root), "--policy", str(home / "policy.toml")], standalone_mode=False)
    material = ("--texts", "../texts.txt", "--probes", "../probes.jsonl")
    for command in (
        ("base", "add", "pico", str(base), *material),
        ("edit", *FT, "../born.json", "--name", "born"),
        ("edit", *FT, "../lives.json", "--name", "lives"),
        ("edit", *FT, "../born.json", "--seed", "7", "--no-commit", "--out", "../spare"),
        ("apply", "born", "--stack", "prod", "--model", "../model"),
        ("apply", "lives", "--stack", "prod", "--model", "../model"),
        ("revert", "lives", "--stack", "prod", "--model", "../model"),
    ):
        made.run(*command)
    return made


def _request(name: str, words: str, answer: str) -> dict[str, object]:
    return {
        "prompt": f"Mira Tolven {words}",
        "subject": "Mira Tolven",
        "relation": name,
        "target": answer,
        "probes": [{"kind": "neighbourhood", "prompt": f"Jon Arvel {words}"}],
    }


def _texts() -> Iterator[str]:
    words = ("Mira Tolven", "Jon Arvel", "Oslo", "Paris", "Rome", "was born in", "lives in", "is")
    lines = (" ".join(row) for row in itertools.permutations(words, 4))
    return itertools.islice(lines, 0, None, 20)


def strangers(world: World) -> list[str]:
    """Names that no settled world has: temporary files, journals, locks of git, what gc removes."""
    found = [path for store in map(_store, world.models) for path in _odd(store)]
    private, git = world.root / ".patchhub", world.root / ".git"
    found += [path for name in ("tmp", "journal") for path in _below(private / name)]
    found += [path for path in _below(private) if path.name.startswith(".") or _temporary(path)]
    found += [path for path in _below(git) if path.suffix == ".lock" or _temporary(path)]
    beside = ("registry", "model", "fresh", "spare", "policy", "probes", "texts", *_FACTS)
    found += [path for path in world.home.iterdir() if not path.name.startswith(beside)]
    return sorted(str(path.relative_to(world.home)) for path in found)


def _store(model: Path) -> Path:
    return place_of(model).store


def _odd(store: Path) -> list[Path]:
    if not store.is_dir():
        return []
    expected = {"lock", "state.json"}
    return [p for p in store.iterdir() if p.name not in expected and not p.name.startswith("gen-")]


def _below(directory: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(directory):
        yield from (Path(folder) / name for name in names)


def _temporary(path: Path) -> bool:
    name = path.name
    return name.startswith(("tmp", ".tmp", "patchhub-index")) or name.endswith((".tmp", ".new"))
