"""A result is whole and undamaged, or absent; what killed owners left goes away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.jobs import Inline, Job, JobStore, run_jobs
from tests.jobs.work import content, job, number


def _flip(result: Path) -> None:
    (result / "out/number").write_text("8")


def _shorten(result: Path) -> None:
    (result / "out/number").write_text("")


def _lose(result: Path) -> None:
    (result / "out/deep/text").unlink()


def _lose_all(result: Path) -> None:
    shutil.rmtree(result / "out")


def _add(result: Path) -> None:
    (result / "out/more").write_text("")


def _link(result: Path) -> None:
    (result / "out/number").rename(result / "elsewhere")
    (result / "out/number").symlink_to("../elsewhere")


def _cut(result: Path) -> None:
    data = (result / "job.json").read_bytes()
    (result / "job.json").write_bytes(data[:-1])


def _forge(result: Path) -> None:
    """Another job's result, consistent in itself."""
    value = json.loads((result / "job.json").read_bytes())
    value["inputs"]["number"] = 4
    (result / "job.json").write_bytes(json.dumps(value, separators=(",", ":")).encode())


def _list(result: Path) -> None:
    (result / "job.json").write_bytes(b"[]")


def _forget(result: Path) -> None:
    (result / "job.json").unlink()


def _replace(result: Path) -> None:
    shutil.rmtree(result)
    result.write_text("a file")


def _empty(result: Path) -> None:
    shutil.rmtree(result)
    result.mkdir()


DAMAGE = [
    _flip,
    _shorten,
    _lose,
    _lose_all,
    _add,
    _link,
    _cut,
    _forge,
    _list,
    _forget,
    _replace,
    _empty,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_result_is_absent_and_made_again(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    store, a = JobStore(tmp_path), job(7)
    b = job(1, a)
    run_jobs([a, b], store, Inline())
    before = content(tmp_path)
    damage(tmp_path / a.key[:2] / a.key)
    assert store.find(a.key) is None
    assert store.find(b.key) is not None
    run_jobs([a, b], store, Inline())
    assert content(tmp_path) == before
    assert store.find(a.key) == store.result(a.key)


def test_what_was_observed_is_no_part_of_the_content(tmp_path: Path) -> None:
    store, a = JobStore(tmp_path), job(7, label="edit x")
    run_jobs([a], store, Inline())
    took = tmp_path / a.key[:2] / a.key / "took.json"
    ((label, seconds),) = store.durations()
    assert label == "edit x"
    assert 0 < seconds < 10
    for damage in (b"", b"[]", b'{"label": "x"}', b'{"label": 1, "seconds": "soon"}'):
        took.write_bytes(damage)
        assert list(store.durations()) == []
        assert store.find(a.key) is not None
    took.unlink()
    assert store.find(a.key) is not None


def test_the_first_of_two_is_kept(tmp_path: Path) -> None:
    store, a = JobStore(tmp_path), job(7)
    with store.draft() as first, store.draft() as second:
        for out in (first, second):
            (out / "number").write_text("7")
        store.keep(a, first, 1.0)
        store.keep(a, second, 2.0)
    assert list(store.durations()) == [("add", 1.0)]
    assert number(store.result(a.key)) == 7
    assert list((tmp_path / "drafts").iterdir()) == []


def test_sweeping_spares_living_owners(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    left = tmp_path / "drafts/left"
    (left / "out").mkdir(parents=True)
    (left / "out/half").write_text("half")
    (tmp_path / "drafts/bare").mkdir()
    (tmp_path / "drafts/file").write_text("not ours")
    with store.draft() as out:
        store.sweep()
        assert out.is_dir()
        assert {path.name for path in (tmp_path / "drafts").iterdir()} == {out.parent.name, "file"}


def test_looking_makes_nothing(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "none")
    assert store.find(job(1).key) is None
    assert list(store.durations()) == []
    store.sweep()
    assert not store.directory.exists()


def test_results_are_plain_files(tmp_path: Path) -> None:
    with pytest.raises(PatchHubError, match="E155") as caught:
        run_jobs([job(1, run="link")], JobStore(tmp_path), Inline())
    assert "E156 link in a result is no plain file" in str(caught.value.found)


def test_the_key_is_what_the_result_depends_on() -> None:
    a = Job("m.n:f", {"x": [1, 2], "y": "z"})
    assert a.key == Job("m.n:f", {"y": "z", "x": (1, 2)}, label="l", site={"model": "/m"}).key
    assert a.inputs == {"x": [1, 2], "y": "z"}
    others = [Job("m.n:g", a.inputs), Job("m.n:f", {"x": [1, 2]}), Job("m.n:f", a.inputs, (a.key,))]
    assert len({a.key, *(one.key for one in others)}) == 4
    assert len({a, *others, Job("m.n:f", dict(a.inputs))}) == 4
    # printf '{"inputs":{},"needs":[],"run":"m:f"}' | sha256sum
    known = "47a9c1af1bacdfb6901d309618ddab023875ba90441fdb35bd117143ca1a62da"
    assert Job("m:f", {}).key == known


def test_later_changes_of_the_inputs_do_not_reach_the_job() -> None:
    numbers = [1]
    one = Job("m:f", {"numbers": numbers})
    numbers.append(2)
    assert one.inputs == {"numbers": [1]}


@pytest.mark.parametrize("run", ["f", "m:", ":f", "m:f.g", "m:f()", "m-n:f", "m:f\n", ""])
def test_a_function_has_a_name(run: str) -> None:
    with pytest.raises(InvalidInputError, match="E156") as caught:
        Job(run, {})
    assert caught.value.expected == "package.module:function"


def test_needs_are_keys_and_inputs_have_a_canonical_form() -> None:
    with pytest.raises(InvalidInputError, match="E156"):
        Job("m:f", {}, ("abc",))
    with pytest.raises(InvalidInputError, match="E113"):
        Job("m:f", {"x": 0.5})  # type: ignore[dict-item]
