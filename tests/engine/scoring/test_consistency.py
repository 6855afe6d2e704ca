from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchhub.errors import PatchHubError
from patchhub.scoring.consistency import References, WordWeights, consistency

CORPUS = ("Oslo lies on a fjord", "Rome lies on seven hills", "Paris lies on a river")
TEXT = st.text("Oslo Rome lies fjord.", max_size=40)
WEIGHTS = WordWeights.of(CORPUS)


def test_words_are_those_of_two_letters_and_more() -> None:
    assert set(WordWeights.of(["A fjord, a FJORD: x 7 42 è-è née"]).idf) == {"fjord", "42", "née"}


def test_weights_are_smoothed() -> None:
    # Three documents; "lies" is in all of them, "fjord" in one.
    assert WEIGHTS.idf["lies"] == 1.0
    assert WEIGHTS.idf["fjord"] == pytest.approx(math.log(4 / 2) + 1)


@given(TEXT, TEXT)
def test_similarity_is_a_cosine(one: str, other: str) -> None:
    found = WEIGHTS.similarity(one, other)
    assert 0.0 <= found <= 1.0
    assert found == pytest.approx(WEIGHTS.similarity(other, one))
    assert WEIGHTS.similarity(one + " " + one, other) == pytest.approx(found)


def test_ends() -> None:
    assert WEIGHTS.similarity("Oslo lies", "lies OSLO") == pytest.approx(1.0)
    assert WEIGHTS.similarity("Oslo", "Rome") == 0.0
    assert WEIGHTS.similarity("", "Oslo") == 0.0
    # What no document holds counts for nothing.
    assert WEIGHTS.similarity("Oslo unheard", "Oslo") == pytest.approx(1.0)
    assert consistency(["Oslo", "a fjord"], ["fjord Oslo"], WEIGHTS) == pytest.approx(1.0)
    assert consistency([], ["fjord"], WEIGHTS) == 0.0


def _write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_our_own_references(tmp_path: Path) -> None:
    records = [
        {"relation": "born_in", "target": "Oslo", "texts": ["one", "two"]},
        {"relation": "born_in", "target": "Oslo", "texts": ["three"]},
        {"target": "Rome", "texts": ["four"]},
    ]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, records)))
    for path in (_write(tmp_path / "r.json", records), tmp_path / "r.jsonl"):
        found = References.read(path)
        assert found.texts("born_in", "Oslo") == ("one", "two", "three")
        assert found.texts("lives_in", "Oslo") == ()
        # Texts without a relation serve every one.
        assert found.texts("lives_in", "Rome") == found.texts(None, "Rome") == ("four",)
        assert found.weights.idf["one"] == pytest.approx(math.log(5 / 2) + 1)


def test_counterfact_snippets(tmp_path: Path) -> None:
    samples = [{"text": "Bern is …", "name": "Bern", "entity_id": "Q70"}, {"text": "Basel is …"}]
    path = _write(
        tmp_path / "attribute_snippets.json",
        [{"relation_id": "P17", "target_id": "Q39", "samples": samples}],
    )
    found = References.read(path)
    assert found.texts("P17", "Switzerland", "Q39") == ("Bern is …", "Basel is …")


@pytest.mark.parametrize(
    ("record", "code", "words"),
    [
        ({"target": "Oslo", "passages": []}, "E135", "texts or samples"),
        ({"target": "Oslo", "texts": "one"}, "E131", "a list"),
        ({"target": "Oslo", "texts": [" "]}, "E131", "texts[0]"),
        ({"target": "Oslo", "texts": [], "more": 1}, "E131", "more"),
        ({"texts": ["one"]}, "E131", "target"),
        ({"relation_id": "P17", "target_id": "Q39", "samples": [{"name": "x"}]}, "E131", "text"),
        ({"relation_id": "P17", "samples": []}, "E131", "target_id"),
    ],
)
def test_wrong_records_are_named(tmp_path: Path, record: object, code: str, words: str) -> None:
    path = _write(tmp_path / "r.json", [{"target": "Rome", "texts": ["fine"]}, record])
    with pytest.raises(PatchHubError) as caught:
        References.read(path)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def _published(folder: Path, words: object, weights: np.ndarray) -> tuple[Path, Path]:
    np.save(folder / "idf.npy", weights, allow_pickle=True)
    return _write(folder / "tfidf_vocab.json", words), folder / "idf.npy"


def test_published_weights(tmp_path: Path) -> None:
    files = _published(tmp_path, {"fjord": 1, "oslo": 0}, np.array([1.5, 2.5]))
    assert WordWeights.read(*files).idf == {"fjord": 2.5, "oslo": 1.5}


@pytest.mark.parametrize(
    ("words", "weights"),
    [
        ({"fjord": 0}, np.array([1.0, 2.0])),
        ({"fjord": 1, "oslo": 1}, np.array([1.0, 2.0])),
        ({"fjord": 0}, np.array([[1.0]])),
        ({"fjord": 0}, np.array([math.nan])),
        ({"fjord": 0}, np.array(["x"])),
        ({"fjord": 0}, np.array([{}])),
        ({"fjord": "0"}, np.array([1.0])),
    ],
)
def test_wrong_weights(tmp_path: Path, words: object, weights: np.ndarray) -> None:
    with pytest.raises(PatchHubError) as caught:
        WordWeights.read(*_published(tmp_path, words, weights))
    assert caught.value.code == "E131"


def test_files_that_are_not_there(tmp_path: Path) -> None:
    vocabulary = _write(tmp_path / "v.json", {})
    with pytest.raises(PatchHubError) as caught:
        WordWeights.read(vocabulary, tmp_path / "none.npy")
    assert caught.value.code == "E109"
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(PatchHubError) as caught:
        WordWeights.read(vocabulary, tmp_path / "text.npy")
    assert caught.value.code == "E131"
