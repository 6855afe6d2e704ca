"""``gc``: what goes, what stays, and what a dry run says beforehand."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from patchhub.checkpoint import directory_digest
from patchhub.checkpoint.place import place_of
from patchhub.errors import BusyError, PatchHubError
from patchhub.lock import locked
from patchhub_registry import Registry
from patchhub_registry.lfs import LIMIT
from tests.cli.conftest import Data, Run, digest_of
from tests.registry.support import patch_files


@pytest.fixture
def model(registry: Path, data: Data) -> Path:
    """A model directory of two generations: back to the first by way of the second."""
    for step in ("apply", "revert", "apply"):
        data(step, "born", "--stack", "prod", "--model", "../model")
    return registry.parent / "model"


@pytest.fixture
def book(registry: Path) -> Iterator[Registry]:
    with closing(Registry.open(registry)) as made:
        yield made


def generations(model: Path) -> list[str]:
    return sorted(path.name for path in place_of(model).store.glob("gen-*"))


def test_old_generations_go_and_the_model_stays(model: Path, data: Data) -> None:
    before, held = directory_digest(model), digest_of(model.parent)
    assert generations(model) == ["gen-000001", "gen-000002"]
    assert data("gc")["removed"] == []
    planned = data("gc", "--keep", "1", "--dry-run")
    assert digest_of(model.parent) == held
    done = data("gc", "--keep", "1")
    assert {**done, "dry_run": True} == planned
    assert [(Path(e["path"]).name, e["what"]) for e in done["removed"]] == [
        ("gen-000002", "old generation")
    ]
    assert done["bytes"] == done["removed"][0]["bytes"] > 0
    assert generations(model) == ["gen-000001"]
    assert directory_digest(model) == before
    assert data("verify", "--model", model)["model"]["drift"] == []


def leftovers(registry: Path, model: Path) -> list[Path]:
    """Files as killed commands leave them."""
    private = registry / ".patchhub"
    (place_of(model).store / "old-000001").mkdir()
    files = [
        place_of(model).store / "old-000001/config.json",
        place_of(model).store / "state.json.tmp",
        private / "tmp/0",
        private / "journal/writing",
        private / "local.json.4711.tmp",
        private / "answers/.0123456789ab-x",
        private / "moments/0123.4711",
        registry / ".git/objects/aa/tmp_obj_x",
        registry / ".git/objects/pack/tmp_pack_x",
    ]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"12345")
    return files


def test_what_crashes_left_goes(registry: Path, model: Path, data: Data) -> None:
    files = leftovers(registry, model)
    young = files[4:]
    data("gc")
    assert [file for file in files if file.exists()] == young
    for file in young[:-1]:
        os.utime(file, (time.time() - 7200,) * 2)
    data("gc")
    assert [file for file in young if file.exists()] == young[-1:]
    done = data("gc", "--now")
    assert [each["what"] for each in done["removed"]] == ["left by git"]
    assert not young[-1].exists()
    assert data("gc", "--now")["removed"] == []
    assert data("verify")["findings"] == []


def test_payloads_that_a_commit_names_stay(registry: Path, data: Data, book: Registry) -> None:
    files = patch_files("x" * LIMIT, base=book.base("pico").weights)
    kept = book.add_patch(files, "large", {"base": "pico"})
    store = registry / ".git/lfs/objects"
    lost = store / "00/11/0011223344"
    lost.parent.mkdir(parents=True)
    lost.write_bytes(b"12345")
    assert data("gc")["removed"] == []
    done = data("gc", "--now")
    assert [each["path"] for each in done["removed"]] == [str(lost)]
    assert done["bytes"] == 5
    assert book.read_patch_files(kept.ref) == files


def test_a_directory_in_use_is_left_alone(model: Path, run: Run, book: Registry) -> None:
    book.lock_timeout = 0.05
    with locked(place_of(model).lock, 0, "the model directory"):
        done = book.gc(keep=1)
        assert [(path, error.code) for path, error in done.passed] == [(model, "E501")]
        with pytest.raises(BusyError):
            book.gc(models=[model], keep=1)
    assert len(generations(model)) == 2
    assert book.gc(models=[model], keep=1).size > 0
    with pytest.raises(PatchHubError, match="E101"):
        book.gc(keep=0)
    assert run("gc", "--keep", "0").exit_code == 2


def test_a_directory_that_is_gone_is_forgotten(
    registry: Path, model: Path, data: Data, book: Registry
) -> None:
    notes = registry / ".patchhub/models"
    place = place_of(model)
    moved = place.store.rename(place.store.with_name("elsewhere"))
    place.link.unlink()
    assert len(list(notes.iterdir())) == 1
    assert data("gc")["removed"] == []  # a command may be about to make it
    words = [each["what"] for each in data("gc", "--now")["removed"]]
    assert words == ["note about a model directory that is gone"]
    assert list(notes.iterdir()) == []
    assert moved.is_dir()


def test_text_for_people(model: Path, run: Run) -> None:
    planned = run("gc", "--keep", "1", "--dry-run").stdout
    assert "old generation" in planned
    assert planned.splitlines()[-1].endswith("bytes would be freed")
    assert run("gc", "--keep", "1").stdout.splitlines()[-1].endswith("bytes freed")
    assert run("gc").stdout == "0 bytes freed\n"
