from __future__ import annotations

from pathlib import Path

import pytest

from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.prepare import prepare_context
from patchhub.editing.statistics import corpus as corpora
from patchhub.editing.statistics.corpus import Amount, corpus_digest, corpus_for
from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.manifest import Manifest
from patchhub.textfile import read_texts
from tests.engine.editing.support import REQUEST, TEXTS, pico_base
from tests.pico import WIDTH


def test_amounts_are_words_or_numbers() -> None:
    assert (Amount.of("full").tokens, Amount.of("full").own) == (None, 16)
    assert (Amount.of("fast").tokens, Amount.of("fast").own) == (10, 10)
    assert (Amount.of("040").tokens, Amount.of("040").word) == (40, "40")
    for word in ("", "0", "-1", "1.5", "slow", "½", "9" * 9):
        with pytest.raises(InvalidInputError, match="amount of text") as error:
            Amount.of(word)
        assert error.value.code == "E142"


def test_the_whole_of_a_corpus_is_read_as_it_stands_and_a_part_is_spread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = pico_base("gpt2")
    assert corpus_for(base, 0, TEXTS).texts(None, None) == TEXTS
    fast = corpus_for(base, 0, TEXTS, Amount.of("fast"))
    assert fast.limit == 10 * 4 * WIDTH
    assert sorted(fast.texts(None, None)) == sorted(TEXTS)
    assert fast.texts(None, None)[:5] != TEXTS[:5]
    monkeypatch.setattr(corpora, "DOCUMENTS", 20)
    some = corpus_for(base, 0, TEXTS)
    assert len(some.texts(None, None)) == 20
    assert some.texts(None, None) == fast.texts(None, None)[:20]
    assert some.record.digest == corpus_digest(TEXTS)
    assert some.limit is None


def test_own_samples_are_as_many_as_the_amount_says() -> None:
    base = pico_base("gpt2")
    for word, tokens in (("full", 16), ("fast", 10), ("40", 40)):
        own = corpus_for(base, 0, None, Amount.of(word))
        assert own.samples * corpora.SAMPLE_TOKENS >= tokens * 4 * WIDTH
        assert own.record.source == "samples"
        assert own.record.amount == word


@pytest.mark.parametrize("texts", [None, TEXTS], ids=["samples", "texts"])
def test_the_manifest_says_whose_text_it_was(texts: tuple[str, ...] | None) -> None:
    base, editor = pico_base("gpt2"), load_editor("rome")
    context = prepare_context(
        base, editor, [REQUEST], seed=0, settings={"layer": 0}, corpus=texts, statistics="20"
    )
    record = run_editor(editor, context, [REQUEST], {"layer": 0}).manifest
    assert record.method.corpus is not None
    assert record.method.corpus.source == ("samples" if texts is None else "texts")
    assert record.method.corpus.amount == "20"
    assert Manifest.from_bytes(record.to_bytes()) == record
    without = run_editor(editor, context, [REQUEST], {"layer": 0, "covariance": False}).manifest
    assert without.method.corpus is None
    assert b"corpus" not in without.to_bytes()
    broken = record.to_bytes().replace(b'"source":"', b'"source":"x')
    with pytest.raises(InvalidInputError, match="source"):
        Manifest.from_bytes(broken)


def test_texts_come_a_line_each_or_as_json_lines(tmp_path: Path) -> None:
    plain, lines = tmp_path / "texts.txt", tmp_path / "texts.jsonl"
    plain.write_text("one\n\n two \n", encoding="utf-8")
    lines.write_text('{"text": "one\\nand a half", "id": 7}\n\n{"text": " "}\n{"text": "two"}\n')
    assert read_texts(plain) == ("one", " two ")
    assert read_texts(lines) == ("one\nand a half", "two")


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.txt", b"\xff", "E145"),
        ("a.txt", b"\n \n", "E145"),
        ("a.jsonl", b'{"text": ""}', "E145"),
        ("a.jsonl", b'{"words": "x"}', "E131"),
        ("a.jsonl", b'{"text": 3}', "E131"),
        ("a.jsonl", b'["text"]', "E131"),
        ("a.jsonl", b"{text}", "E130"),
        ("a.jsonl", b'{"text": "\xff"}', "E130"),
    ],
)
def test_a_file_that_holds_no_texts_is_refused(
    tmp_path: Path, name: str, content: bytes, code: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PatchHubError) as error:
        read_texts(tmp_path / name)
    assert error.value.code == code
    for missing in ("no.txt", "no.jsonl"):
        with pytest.raises(PatchHubError, match="E109"):
            read_texts(tmp_path / missing)
