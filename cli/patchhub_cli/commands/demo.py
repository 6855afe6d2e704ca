"""Edit a trained language model, apply the patch, revert it, prove the bytes."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from patchhub.errors import ConflictError, IntegrityError, NotFoundError
from patchhub_cli.main import verb
from patchhub_cli.output import Reply, table
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub.request import EditRequest
    from patchhub.sandbox.world import World
    from patchhub_cli.tour import Tour

MARK = ".patchhub-demo"
BASE, STACK, NAME = "sandbox", "prod", "demo-fact"
METHOD = "rome"
FACT = "person:0/born_in"
PASSAGES = 3000
BASE_QUESTIONS = 400
DRIFT_TEXTS = 40


@verb("demo", "patchhub demo")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default="demo")
@click.option("--fact", default=FACT, show_default=True, help="Which fact of the world to edit.")
def command(session: Session, directory: Path, fact: str) -> Reply:
    """Edit one fact of the small trained model that PatchHub ships, and take it back.

    Works in DIRECTORY (./demo); every command is shown as you would type it. A directory of an
    earlier demo is replaced.
    """
    from patchhub_cli.tour import Tour

    tour = Tour(session)
    request = _prepare(directory, fact)
    with contextlib.chdir(directory / "registry"):
        answers, digests = _walk(tour, request, directory)
    if digests["reverted"] != digests["base"]:
        raise IntegrityError(
            "E207",
            "the reverted model is not the base",
            expected=digests["base"],
            found=digests["reverted"],
        )
    rows = [
        (what, prompt, *(answers[when][prompt] for when in ("before", "after", "reverted")))
        for what, prompt in _questions(request)
    ]
    text = table(("", "prompt", "before", "after", "reverted"), rows)
    proof = f"bytes equal to base: yes (sha256 {digests['reverted']})"
    data = {"fact": fact, "answers": answers, "digests": digests, "bytes_equal": True}
    return Reply(data, f"\n{text}\n\n{proof}")


def _walk(
    tour: Tour, request: EditRequest, directory: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """The main path, command by command, from inside the registry's directory."""
    prompts = [prompt for _, prompt in _questions(request)]
    model = ("--model", "../model")
    tour.show("cd", str(directory / "registry"))
    tour.tell("A registry, and a base: any directory that from_pretrained reads.")
    tour.run("init", ".")
    material = ("--texts", "../texts.txt", "--probes", "../probes.jsonl")
    tour.run("base", "add", BASE, "../base", *material)
    answers = {"before": _answers(tour.run("ask", *prompts, "--base", BASE))}
    tour.tell(f"From now on: {request.prompt} {request.target}.")
    tour.run("edit", METHOD, "../fact.json", "--stack", STACK, "--name", NAME)
    tour.tell("Put the patch on a stack; the model directory follows in the same step.")
    tour.run("apply", f"{NAME}@1", "--stack", STACK, *model)
    answers["after"] = _answers(tour.run("ask", *prompts, *model))
    digests = {"applied": _digest(tour.run("verify", *model), "files")}
    tour.tell("Take it back. Nothing is subtracted: the tensors are the base's own again.")
    tour.run("revert", f"{NAME}@1", "--stack", STACK, *model)
    answers["reverted"] = _answers(tour.run("ask", *prompts, *model))
    tour.run("log", STACK)
    last = tour.run("verify", *model)
    return answers, {
        **digests,
        "reverted": _digest(last, "files"),
        "base": _digest(last, "base_files"),
    }


def _prepare(directory: Path, fact: str) -> EditRequest:
    """Lay out the demo's directory: the base, the request, the base's texts and probes."""
    from patchhub.sandbox import load_world, model_path

    if directory.exists() and any(directory.iterdir()):
        if not (directory / MARK).is_file():
            raise ConflictError(
                "E308",
                f"{directory} is not empty, and no demo made it",
                hint="patchhub demo ANOTHER_DIRECTORY",
            )
        shutil.rmtree(directory)
    source = model_path()
    request = _request(fact)
    (directory / "registry").mkdir(parents=True)
    (directory / MARK).touch()
    shutil.copytree(source, directory / "base")
    fields = request.to_json()
    (directory / "fact.json").write_text(json.dumps(fields, indent=2, ensure_ascii=False))
    world = load_world()
    _write_material(world, directory)
    return request


def _request(fact: str) -> EditRequest:
    from patchhub.sandbox import load_world, request_for

    world = load_world()
    known = {each.id: each for each in world.facts}
    if fact not in known:
        near = get_close_matches(fact, list(known), n=3)
        raise NotFoundError("E109", f"the world has no fact {fact!r}", hint=", ".join(near) or None)
    return request_for(world, known[fact], random.Random(fact))


def _write_material(world: World, directory: Path) -> None:
    """The base's text for key statistics, and its own locality and drift probes."""
    from patchhub.guard.probes import BaseProbes
    from patchhub.sandbox import texts
    from patchhub.sandbox.questions import recall

    passages = [" ".join(text.split()) for text in texts(world, PASSAGES + DRIFT_TEXTS)]
    (directory / "texts.txt").write_text("\n".join(passages[DRIFT_TEXTS:]) + "\n", encoding="utf-8")
    questions = random.Random(0).sample(recall(world, held_out=False), BASE_QUESTIONS)
    BaseProbes(tuple(questions), tuple(passages[:DRIFT_TEXTS])).write(directory / "probes.jsonl")


def _questions(request: EditRequest) -> list[tuple[str, str]]:
    """The edited prompt and one of each probe that a reader understands at once."""
    first = {str(probe.kind): probe.prompt for probe in reversed(request.probes)}
    shown = {
        "same fact": "paraphrase",
        "neighbour": "neighbourhood",
        "other fact": "other_relation",
    }
    found = ((what, first.get(kind)) for what, kind in shown.items())
    return [("edited", request.prompt), *((what, prompt) for what, prompt in found if prompt)]


def _answers(reply: Reply) -> dict[str, str]:
    rows: Any = reply.data
    return {row["prompt"]: next(iter(row["answers"].values())) for row in rows}


def _digest(reply: Reply, key: str) -> str:
    data: Any = reply.data
    return str(data["model"][key])
