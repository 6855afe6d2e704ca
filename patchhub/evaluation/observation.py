"""What a model in one state said to everything, in a form that survives the process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from patchhub.guard.check import Wants
from patchhub.guard.session import Seen, Session, Wanted
from patchhub.loading import LoadedBase
from patchhub.scoring.cache import AnswerCache
from patchhub.scoring.choice import Choice
from patchhub.scoring.divergence import TextScore
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Answer, Question
from patchhub.scoring.tasks import ChoiceItem

Observation = Mapping[Protocol, Seen]
"""By protocol; texts and continuations are the same under each."""

_SAID, _SCORES = "said.json", "scores.safetensors"


def observe(base: LoadedBase, wanted: Wanted, *, max_new_tokens: int) -> Observation:
    """Ask the model as it stands for everything that is wanted."""
    return Session(base, wanted, AnswerCache(), max_new_tokens=max_new_tokens).observe("", "")


def missing(known: Observation, wanted: Wanted) -> list[tuple[Protocol, Wants]]:
    """The part of what is wanted that an observation does not answer."""
    left = []
    for protocol, wants in wanted:
        seen = known[protocol]
        questions = tuple(q for q in wants.questions if q not in seen.answers and q.fits(protocol))
        texts = tuple(text for text in wants.texts if text not in seen.texts)
        openings = tuple(text for text in wants.openings if text not in seen.continuations)
        choices = tuple(item for item in wants.choices if item not in seen.choices)
        some = Wants(questions, texts, openings, choices)
        if not some.nothing:
            left.append((protocol, some))
    return left


def joined(one: Observation, other: Observation) -> Observation:
    """Two observations of the same state."""
    return {
        protocol: Seen(
            {**seen.answers, **other[protocol].answers},
            {**seen.texts, **other[protocol].texts},
            {**seen.continuations, **other[protocol].continuations},
            {**seen.choices, **other[protocol].choices},
        )
        for protocol, seen in one.items()
    }


def save(observation: Observation, directory: Path) -> None:
    """Write an observation into a directory."""
    shared = next(iter(observation.values()))
    said = {
        "answers": {
            str(protocol): [[asdict(q), asdict(a)] for q, a in seen.answers.items()]
            for protocol, seen in observation.items()
        },
        "continuations": dict(shared.continuations),
        "texts": [[text, one.loss, one.tokens] for text, one in shared.texts.items()],
        "choices": [[asdict(item), asdict(one)] for item, one in shared.choices.items()],
    }
    (directory / _SAID).write_text(json.dumps(said))
    scores = (one.log_probs.contiguous() for one in shared.texts.values())
    save_file({str(i): kept for i, kept in enumerate(scores)}, directory / _SCORES)


def load(directory: Path) -> Observation:
    """Read what `save` wrote."""
    said: dict[str, Any] = json.loads((directory / _SAID).read_text())
    scores = load_file(directory / _SCORES)
    texts = {
        text: TextScore(loss, tokens, scores.get(str(i), torch.empty(0)))
        for i, (text, loss, tokens) in enumerate(said["texts"])
    }
    continuations = {opening: tuple(found) for opening, found in said["continuations"].items()}
    choices = {
        ChoiceItem(item["prompt"], tuple(item["choices"]), item["answer"]): Choice(
            tuple(one["losses"]), tuple(one["tokens"]), one["answer"]
        )
        for item, one in said["choices"]
    }
    return {
        Protocol(name): Seen(dict(map(_pair, pairs)), texts, continuations, choices)
        for name, pairs in said["answers"].items()
    }


def _pair(pair: tuple[dict[str, Any], dict[str, Any]]) -> tuple[Question, Answer]:
    question, answer = pair
    question["answers"] = tuple(question["answers"])
    answer |= {"tokens": tuple(answer["tokens"]), "protocol": Protocol(answer["protocol"])}
    return Question(**question), Answer(**answer)
