"""The whole of it: on pico models what it hands out, on the sandbox models what it proposes."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from patchhub import sandbox
from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.loading import load_base
from patchhub.locating.facts import facts_of
from patchhub.locating.locate import Located, locate
from patchhub.locating.pairing import pairs_of
from patchhub.locating.report import report_files, write_report
from patchhub.request import EditRequest, Format
from tests.engine.editing.support import pico_base

ROOT = Path(__file__).parents[2]
NAMES = ("Mira Tolven", "Jon Arvel")
REQUESTS = [EditRequest(f"{name} was born in", "Bergen", name) for name in NAMES]


def _located(limit: int = 2) -> Located:
    return locate(pico_base("gpt2"), REQUESTS, limit=limit, pairs=4, samples=1)


def test_pairs_ask_the_same_of_subjects_with_other_answers() -> None:
    base = pico_base("gpt2")
    longer = EditRequest("Mira Tolven of Oslo was born in", "Bergen", "Mira Tolven of Oslo")
    other = EditRequest("Jon Arvel lives in", "Bergen", "Jon Arvel")
    facts, _ = facts_of(base, [*REQUESTS, longer, other])
    pairs = pairs_of(facts, 10)
    assert {(p.kept.subject, p.given.subject) for p in pairs} == {NAMES, NAMES[::-1]}
    assert len(pairs_of(facts, 1)) == 1
    assert pairs_of(facts[:1], 10) == []


def test_phases_are_told_and_the_same_comes_out_again() -> None:
    told: list[tuple[str, int, int]] = []
    base = pico_base("gpt2")
    found = locate(
        base, REQUESTS, limit=1, pairs=2, samples=1, progress=lambda *step: told.append(step)
    )
    assert {phase for phase, _, _ in told} == {"ask", "trace", "exchange"}
    assert all(0 <= done <= total for _, done, total in told)
    assert (found.known, found.tracing.n, found.pairs, found.blocks) == (2, 1, 2, 2)
    assert locate(base, REQUESTS, limit=1, pairs=2, samples=1) == found
    assert locate(base, REQUESTS, limit=1, pairs=0, samples=1).moved == ()


@pytest.mark.parametrize(("limit", "pairs", "samples"), [(0, 1, 1), (1, -1, 1), (1, 1, 0)])
def test_numbers_out_of_range_are_refused(limit: int, pairs: int, samples: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        locate(pico_base("gpt2"), REQUESTS, limit=limit, pairs=pairs, samples=samples)
    assert caught.value.code == "E142"


def test_reports_have_every_table_and_the_same_bytes(tmp_path: Path) -> None:
    found = _located()
    files = write_report(found, tmp_path / "where.md")
    assert files == report_files(tmp_path / "where.html")
    markdown, html, picture = (file.read_bytes() for file in files)
    write_report(found, tmp_path / "where")
    assert [file.read_bytes() for file in files] == [markdown, html, picture]
    text = markdown.decode()
    for heading in ("MLP put back", "Attention put back", "exchanged", "95 % intervals"):
        assert heading in text
        assert heading in html.decode()
    assert "](where.png)" in text
    assert html.count(b"<svg ") == 1
    assert picture.startswith(b"\x89PNG")
    assert report_files(tmp_path)[0].name == "located.md"
    with pytest.raises(NotFoundError, match="E109"):
        report_files(tmp_path / "no" / "where.md")


def test_a_chat_s_subject_is_found_inside_the_template() -> None:
    base = pico_base("gpt2")
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.chat_template = "{% for m in messages %}Q: {{ m.content }} A:{% endfor %}"
    facts, _ = facts_of(
        replace(base, tokenizer=tokenizer), [replace(r, format=Format.CHAT) for r in REQUESTS]
    )
    for fact, name in zip(facts, NAMES, strict=True):
        assert fact.text == f"Q: {name} was born in A:"
        assert str(tokenizer.decode([fact.given[i] for i in fact.subject])).strip() == name
    (pair,) = pairs_of(facts, 1)
    assert pair.kept.prompt.startswith("Q: ")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sandbox-gpt2", "sandbox-llama", "sandbox-t5"])
def test_the_blocks_of_the_sandbox_models_are_found(name: str) -> None:
    folder = sandbox.model_path() if name == "sandbox-gpt2" else ROOT / "models" / name
    base = load_base(folder)
    requests = sandbox.edit_requests(sandbox.load_world(), 60, 11)
    found = locate(base, requests, limit=10, samples=2, pairs=12)
    assert found.proposal.layer == base.model.config.patchhub["edit_layer"] == 2
    assert found.proposal.layers == (0, 1, 2)
    assert found.proposal.stack == ("encoder" if name == "sandbox-t5" else "decoder")
    assert found.known >= 50
    assert found.tracing.clean > 0.8 > 0.3 > found.tracing.corrupted
    assert found.pairs == 12
