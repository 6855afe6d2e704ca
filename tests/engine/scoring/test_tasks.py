from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchhub.errors import PatchHubError
from patchhub.scoring.tasks import ChoiceItem, read_tasks, write_tasks

PIQA = {"goal": "To dry a book,", "sol1": "bake it.", "sol2": "press it.", "label": 1}
OURS = {"prompt": "Mira lives in", "choices": ["Oslo", "Rome", "Paris"], "answer": 2, "id": "m"}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_layouts(tmp_path: Path, suffix: str) -> None:
    records = [PIQA, OURS]
    path = tmp_path / f"tasks{suffix}"
    lines = suffix == ".jsonl"
    path.write_text("\n".join(map(json.dumps, records)) if lines else json.dumps(records))
    assert read_tasks(path) == [
        ChoiceItem("To dry a book,", ("bake it.", "press it."), 1),
        ChoiceItem("Mira lives in", ("Oslo", "Rome", "Paris"), 2),
    ]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    items = [ChoiceItem("Où est née", ("Zoë", "日本"), 0), ChoiceItem("x", ("a", "b", "c"), 2)]
    write_tasks(tmp_path / "t.jsonl", items)
    assert read_tasks(tmp_path / "t.jsonl") == items


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PatchHubError) as caught:
        write_tasks(tmp_path / "file" / "t.jsonl", [])
    assert caught.value.code == "E704"


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"answer": 3}, "E131", "answer"),
        ({"answer": -1}, "E131", "answer"),
        ({"answer": True}, "E131", "answer"),
        ({"answer": "2"}, "E131", "answer"),
        ({"choices": ["Oslo"]}, "E131", "choices"),
        ({"choices": ["Oslo", ""]}, "E131", "choices[1]"),
        ({"choices": "Oslo"}, "E131", "choices"),
        ({"prompt": " "}, "E131", "prompt"),
        ({"goal": "x"}, "E131", "sol1"),
    ],
)
def test_wrong_records_are_named(
    tmp_path: Path, change: dict[str, object], code: str, field: str
) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps([PIQA, OURS | change]))
    with pytest.raises(PatchHubError) as caught:
        read_tasks(path)
    assert caught.value.code == code
    assert f"{path}:1: [1].{field}" in str(caught.value)


def test_another_layout(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"question": "x", "answers": []}))
    with pytest.raises(PatchHubError) as caught:
        read_tasks(path)
    assert caught.value.code == "E135"
    assert "question, answers" in str(caught.value)
