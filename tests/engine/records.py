"""Records in every layout, for the tests of request files."""

from pathlib import Path
from typing import Any

import pytest

from patchhub.errors import PatchHubError
from patchhub.request import EditRequest, Probe, ProbeKind, load_requests

FULL = {
    "prompt": "{} was born in",
    "target": "Oslo",
    "subject": "Mira Tolven",
    "target_old": "Rome",
    "relation": "born_in",
    "id": "m1",
    "probes": [
        {"kind": "paraphrase", "prompt": "The home of {} is", "answers": ["Oslo", "Oslo, Norway"]},
        {"kind": "neighbourhood", "prompt": "Jon Arvel was born in"},
    ],
}  # fmt: skip
EXPECTED = EditRequest(
    prompt="Mira Tolven was born in",
    target="Oslo",
    subject="Mira Tolven",
    target_old="Rome",
    relation="born_in",
    id="m1",
    probes=(
        Probe(ProbeKind.PARAPHRASE, "The home of Mira Tolven is", ("Oslo", "Oslo, Norway")),
        Probe(ProbeKind.NEIGHBOURHOOD, "Jon Arvel was born in"),
    ),
)
COUNTERFACT: dict[str, Any] = {
    "case_id": 7,
    "pararel_idx": 12,
    "requested_rewrite": {
        "prompt": "{} works in",
        "relation_id": "P937",
        "target_new": {"str": "Paris", "id": "Q90"},
        "target_true": {"str": "Rome", "id": "Q220"},
        "subject": "Jon Arvel",
    },
    "paraphrase_prompts": ["No rain. Jon Arvel's office is in "],
    "neighborhood_prompts": ["Ada Bru works in"],
    "attribute_prompts": ["Max Ide works in"],
    "generation_prompts": ["Jon Arvel goes to work by"],
    "distracting_neighborhood_prompts": ["Jon Arvel works in Paris. Ada Bru works in"],
    "portability": {"Recalled Relation": "", "New Question": "Its river is", "New Answer": "Seine"},
    "unrelated_relation": {"relation_id": "x", "object": "human", "question": "Jon Arvel is a"},
    "alternative_subject": "J. Arvel",
}  # fmt: skip
ZSRE: dict[str, Any] = {
    "case_id": 3,
    "subject": "Jon Arvel",
    "src": "Who is the father of Jon Arvel?",
    "pred": "Max",
    "rephrase": "Jon Arvel's father is who?",
    "alt": " Ole Arvel ",
    "answers": ["Per Arvel", "P. Arvel"],
    "loc": "nq question: who sang it",
    "loc_ans": "Abba",
    "cond": "Max >> Ole Arvel || Who is the father of Jon Arvel?",
    "inverse question": "Who is the son of Ole Arvel?",
    "alternative_subject": "J. Arvel",
    "alter_subject_question": "Who is the father of J. Arvel?",
}
FLAT: dict[str, Any] = {
    "case_id": 9,
    "prompt": "Jon Arvel works in",
    "target_new": "Paris",
    "subject": "Jon Arvel",
    "ground_truth": "Rome",
    "rephrase_prompt": "Jon Arvel's office is in",
    "locality_prompt": "Ada Bru works in",
    "locality_ground_truth": "Rome",
}


def refuse(path: Path) -> PatchHubError:
    with pytest.raises(PatchHubError) as caught:
        load_requests(path)
    return caught.value


def save(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
