"""Edit a trained language model, apply the patch, revert it, prove the bytes."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from patchhub_cli.main import verb
from patchhub_cli.output import Reply, table
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub.request import EditRequest
    from patchhub_cli.tour import Tour

MARK = ".patchhub-demo"
BASE, STACK, NAME = "sandbox", "prod", "demo-fact"
METHOD = "rome"
FACT = "person:0/born_in"
PASSAGES = 3000
BASE_QUESTIONS = 400
DRIFT_TEXTS = 40


@verb("demo")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default="demo")
@click.option("--fact", default=FACT, show_default=True, help="Which fact of the world to edit.")
def command(session: Session, directory: Path, fact: str) -> Reply:
    """Edit one fact of the small trained model that PatchHub ships, and take it back.

    Works in DIRECTORY (./demo); every command is shown as you would type it. A directory of an
    earlier demo is replaced.
    """
    from patchhub_cli.tour import Tour

    tour = Tour(session)
    request, model = _prepare(directory, fact)
    with contextlib.chdir(directory / "registry"):
        answers, digests = _walk(tour, request, model)
    equal = digests["reverted"] == digests["base"]
    rows = [
        (what, prompt, *(answers[when][prompt] for when in ("before", "after", "reverted")))
        for what, prompt in _questions(request)
    ]
    word = "yes" if equal else "NO"
    lines = [
        "",
        table(("", "prompt", "before", "after", "reverted"), rows),
        "",
        f"bytes equal to base: {word} (sha256 {digests['reverted']})",
    ]
    data = {"fact": fact, "answers": answers, "digests": digests, "bytes_equal": equal}
    return Reply(data, "\n".join(lines), None if equal else _unequal(digests))


def _walk(tour: Tour, request: EditRequest) -> tuple[dict[str, Any], dict[str, str]]:
    """The main path, command by command, from inside the registry's directory."""
    prompts = [prompt for _, prompt in _questions(request)]
    tour.show("cd", str(Path.cwd()))
    tour.tell("A registry, and a base: a directory that from_pretrained reads, by its fingerprint.")
    tour.run("init", ".")
    tour.run(
        "base", "add", BASE, "../base", "--texts", "../texts.txt", "--probes", "../probes.jsonl"
    )
    answers = {"before": _answers(tour.run("ask", *prompts, "--base", BASE))}
    tour.tell(f"From now on: {request.prompt} {request.target}.")
    tour.run("edit", METHOD, "../fact.json", "--stack", STACK, "--name", NAME)
    tour.tell("Put the patch on a stack; the model directory follows in the same step.")
    tour.run("apply", f"{NAME}@1", "--stack", STACK, "--model", "../model")
    answers["after"] = _answers(tour.run("ask", *prompts, "--model", "../model"))
    digests = _digests(tour.run("status", "--model", "../model"), "applied")
    tour.tell("Take it back. Nothing is subtracted: the tensors are the base's own again.")
    tour.run("revert", f"{NAME}@1", "--stack", STACK, "--model", "../model")
    answers["reverted"] = _answers(tour.run("ask", *prompts, "--model", "../model"))
    tour.run("log", STACK)
    digests |= _digests(tour.run("verify", "--model", "../model"), "reverted")
    return answers, digests


def _prepare(directory: Path, fact: str) -> EditRequest:
    """Lay out the demo's directory: the base, the request, the base's texts and probes."""
    from patchhub.sandbox import load_world, model_path

    if directory.exists() and any(directory.iterdir()):
        if not (directory / MARK).is_file():
            raise _not_ours(directory)
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
    import random

    from patchhub.sandbox import load_world, request_for

    world = load_world()
    known = {each.id: each for each in world.facts}
    if fact not in known:
        raise _no_fact(fact, list(known))
    return request_for(world, known[fact], random.Random(fact))


def _write_material(world: World, directory: Path) -> None:
    """The base's text for key statistics, and its own locality and drift probes."""
    from patchhub.sandbox import texts

    passages = texts(world, PASSAGES)
    (directory / "texts.txt").write_text("\n".join(p.replace("\n", " ") for p in passages) + "\n")
