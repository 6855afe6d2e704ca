import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from patchhub import canonical
from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.manifest import (
    Algebra,
    FileEntry,
    Kind,
    Manifest,
    MethodRecord,
    Orientation,
    Site,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "manifest-1.json"
HEX = {c: c * 64 for c in "0123456789abcdef"}
SITE = Site("transformer.h.2.mlp.c_proj.weight", Orientation.IN_OUT, (128, 32), "BF16", HEX["1"], 1)
MANIFEST = Manifest(
    kind=Kind.LOW_RANK,
    sites=(SITE,),
    base=HEX["a"],
    onto=(HEX["b"],),
    method=MethodRecord(
        name="rome",
        version=1,
        hparams={"clamp": "4.0", "layer": 2, "covariance": True, "stop": None, "kl": ["0.0625"]},
        seed=7,
        threads=2,
        requests=(HEX["c"],),
        templates=HEX["d"],
        moments=HEX["e"],
    ),
    files={
        "adapter_config.json": FileEntry(HEX["2"], 181),
        "adapter_model.safetensors": FileEntry(HEX["3"], 808),
        "requests.jsonl": FileEntry(HEX["4"], 74),
    },
    content=HEX["f"],
    algebra=Algebra.ADDITIVE,
)


def test_the_bytes_are_pinned() -> None:
    data = GOLDEN.read_bytes()
    assert MANIFEST.to_bytes() == data
    assert Manifest.from_bytes(data) == MANIFEST
    assert MANIFEST.id == canonical.sha256(data)
    assert MANIFEST.short == "ph:" + MANIFEST.id[:12]


def test_what_a_patch_stands_for_is_named_only_where_there_is_something() -> None:
    assert b"supersedes" not in MANIFEST.to_bytes()
    made = dataclasses.replace(MANIFEST, supersedes=(HEX["1"], HEX["2"]))
    assert made.id != MANIFEST.id
    assert Manifest.from_bytes(made.to_bytes()) == made


def test_the_id_does_not_depend_on_the_order_of_names() -> None:
    files = dict(reversed(list(MANIFEST.files.items())))
    hparams = dict(reversed(list(MANIFEST.method.hparams.items())))
    method = dataclasses.replace(MANIFEST.method, hparams=hparams)
    assert dataclasses.replace(MANIFEST, files=files, method=method).id == MANIFEST.id


def value() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(MANIFEST.to_bytes())
    return result


def refuse(changed: dict[str, Any]) -> PatchHubError:
    with pytest.raises(PatchHubError) as caught:
        Manifest.from_bytes(canonical.dumps(changed))
    return caught.value


OBJECTS: list[tuple[str | int, ...]] = [
    (),
    ("sites", 0),
    ("method",),
    ("files", "requests.jsonl"),
]


@pytest.mark.parametrize("where", OBJECTS)
def test_unknown_and_missing_fields_are_named(where: tuple[str | int, ...]) -> None:
    def inner(root: Any) -> Any:
        for step in where:
            root = root[step]
        return root

    changed = value()
    inner(changed)["colour"] = "red"
    error = refuse(changed)
    assert (error.code, error.exit) == ("E113", 9)
    assert str(error.data["field"]).endswith("colour")
    assert "is not a known field" in str(error)
    optional = {"templates", "moments", "rank"}
    for name in sorted(set(inner(value())) - optional):
        changed = value()
        del inner(changed)[name]
        error = refuse(changed)
        assert error.code == "E113"
        assert str(error.data["field"]).endswith(name)
        assert "missing" in str(error)


@pytest.mark.parametrize(
    ("path", "wrong", "words"),
    [
        ("kind", "magic", "low_rank"),
        ("algebra", "magic", "additive"),
        ("base", "x", "64 hex"),
        ("base", "A" * 64, "64 hex"),
        ("content", "", "64 hex"),
        ("onto", ["x"], "onto[0]"),
        ("onto", "x", "a list"),
        ("supersedes", ["x"], "supersedes[0]"),
        ("supersedes", [HEX["2"], HEX["1"]], "sorted"),
        ("supersedes", [HEX["1"], HEX["1"]], "each id once"),
        ("supersedes", [], "left out"),
        ("sites", [], None),
        ("sites.0.orientation", "upwards", "in_out"),
        ("sites.0.shape", [128], "2 dimensions"),
        ("sites.0.shape", [128, 0], "2 dimensions"),
        ("sites.0.shape", [128, -1], "sites[0].shape[1]"),
        ("sites.0.dtype", "F33", "BF16"),
        ("sites.0.rank", 0, "positive"),
        ("sites.0.rank", None, "null"),
        ("sites.0.expert", 2, "dimensions"),
        ("sites.0.tensor", "h\u00e9", "ASCII"),
        ("method.version", 0, "positive"),
        ("method.version", True, "an integer"),
        ("method.seed", -1, "out of range"),
        ("method.requests", ["x"], "method.requests[0]"),
        ("method.name", "  ", "blank"),
        ("method.hparams", [], "an object"),
        ("files", {"patch.json": {"sha256": HEX["1"], "size": 1}}, "plain files"),
        ("files", {"../x": {"sha256": HEX["1"], "size": 1}}, "plain files"),
        ("files", {"a/b": {"sha256": HEX["1"], "size": 1}}, "plain files"),
        ("files", {"a\\b": {"sha256": HEX["1"], "size": 1}}, "plain files"),
        ("files", {"..": {"sha256": HEX["1"], "size": 1}}, "plain files"),
        ("files", {"a": {"sha256": HEX["1"], "size": -1}}, "files.a.size"),
    ],
)
def test_wrong_values_are_named(path: str, wrong: object, words: str | None) -> None:
    changed = value()
    inner: Any = changed
    *steps, last = path.split(".")
    for step in steps:
        inner = inner[int(step) if step.isdigit() else step]
    inner[last] = wrong
    if words is None:
        assert Manifest.from_bytes(canonical.dumps(changed)).sites == ()
        return
    error = refuse(changed)
    assert error.code == "E113"
    assert words in str(error)
    assert "patch.json" in str(error)


def test_other_schemas_are_refused_before_anything_else() -> None:
    error = refuse({"schema": 2, "whatever": 1})
    assert (error.code, error.exit) == ("E114", 9)
    assert (error.expected, error.found) == ("1", "2")


def test_sites_are_sorted_and_single() -> None:
    other = dataclasses.replace(SITE, tensor="a.weight")
    for sites in ((SITE, other), (SITE, SITE)):
        with pytest.raises(InvalidInputError, match="E113"):
            dataclasses.replace(MANIFEST, sites=sites)
    assert dataclasses.replace(MANIFEST, sites=(other, SITE)).sites == (other, SITE)


def test_bytes_that_are_not_canonical_or_no_object() -> None:
    for data, code in (
        (MANIFEST.to_bytes() + b"\n", "E116"),
        (b"", "E116"),
        (json.dumps(value(), indent=1).encode(), "E116"),
        (b"[]", "E113"),
        (b'"x"', "E113"),
    ):
        with pytest.raises(PatchHubError) as caught:
            Manifest.from_bytes(data)
        assert caught.value.code == code


def test_settings_without_a_canonical_form_are_refused() -> None:
    method = dataclasses.replace(MANIFEST.method, hparams={"rate": 0.5})  # type: ignore[dict-item]
    with pytest.raises(InvalidInputError, match="E113"):
        dataclasses.replace(MANIFEST, method=method).to_bytes()


@pytest.mark.parametrize(
    ("site", "matrix", "module"),
    [
        (Site("h.0.fc.weight", Orientation.OUT_IN, (3, 5), "F32", HEX["0"]), (3, 5), "h.0.fc"),
        (Site("h.0.fc.weight", Orientation.IN_OUT, (3, 5), "F32", HEX["0"]), (5, 3), "h.0.fc"),
        (Site("h.0.fc.bias", Orientation.VECTOR, (5,), "F32", HEX["0"]), (5,), "h.0.fc"),
        (
            Site("experts.down", Orientation.IN_OUT, (8, 3, 5), "F16", HEX["0"], expert=7),
            (5, 3),
            "experts.down",
        ),
        (
            Site("h.0.fc.weight", Orientation.OUT_IN, (3, 5), "F32", HEX["0"], runtime="t.h.0.fc"),
            (3, 5),
            "t.h.0.fc",
        ),
    ],
)
def test_orientation(site: Site, matrix: tuple[int, ...], module: str) -> None:
    assert site.matrix_shape == matrix
    assert site.module == module


def test_an_expert_out_of_range() -> None:
    with pytest.raises(InvalidInputError, match="E113"):
        Site("experts.down", Orientation.IN_OUT, (8, 3, 5), "F16", HEX["0"], expert=8)
