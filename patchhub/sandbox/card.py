"""The world card: `python -m patchhub.sandbox.card` measures a sandbox model and writes it down."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from patchhub import sandbox
from patchhub.loading import LoadedBase, load_base
from patchhub.locating.interchange import Moved, Where
from patchhub.sandbox.measure import Figure, editing, knowledge, location
from patchhub.sandbox.networks import network
from patchhub.sandbox.recipe import Recipe, load_recipe
from patchhub.sandbox.tokenizing import describe
from patchhub.sandbox.world import RELATIONS, Kind, World

METHOD = "rome"
PUBLISHED = {"steps": 20, "lr": 0.5}

_TRAINING = """\
## How it was trained

`python -m patchhub.sandbox.train --recipe {name}` trains it again from its seed ({steps} steps;
recipe: `patchhub/sandbox/recipes/{name}.json`). Two things are unusual, and they matter for every
result measured on it:

- **Subject funnel.** {funnel}
- **Attribute read-out.** During training a linear classifier on the output of {block}
  {last} at the subject's last token predicts all attributes of the subject; it was thrown away
  afterwards.

So facts lie in this model where the literature finds them in large ones: the subject is enriched at
its last token in the early MLPs and read from there later (Meng et al. 2022, arXiv:2202.05262; Geva
et al. 2023, arXiv:2304.14767). A result on this model shows that an editor does what its paper says
*where facts lie as the literature describes*. It promises nothing about every model.
"""

_FUNNEL = """\
In {share} of the training rows, positions after a subject cannot see its
  tokens in blocks 0 to {last}, and see only its last token from block {first} on."""

_FUNNEL_OF_TWO = """\
In {share} of the training texts, other positions of the encoder
  cannot see a subject's tokens in blocks 0 to {last}, nor these tokens anything else; from block
  {first} on all see its last token only, and that is all that the decoder sees of it."""

_KNOWS = """\
## What it knows

Free greedy generation from bare prompts; the text generated must begin with the answer.
"""

_WHERE = """\
## Where it knows it

Interchange test: the output of a block is replaced by that of the same question about another
subject. Shares of answers that became the other subject's (n = {n}).{stack}
"""

_ENCODER = """ Blocks are the
encoder's, which reads the question; its last position is that of the end token."""

_EDITS = """\
## Single edits with `{method}`

Each edit alone on the model, weights rounded to bfloat16 as stored. What must stay (neighbourhood,
other relation, distractor) counts where the model knew it before. Clamp 4, weight decay 0.5 and KL
factor 0.0625 are the published ones in both columns. The step size is not: 20 steps of 0.5 were
published for GPT-2 XL and GPT-J, 1,600 and 4,096 wide; at width {width} they overshoot and take the
subject's other facts with them. `config.json` recommends {recommended}, which methods use unless
told otherwise; still smaller steps trade paraphrases for other relations.
"""

_LIMITS = """\
## What it does not know

- Nothing outside its world: no general English, no arithmetic, no real person, place or book. All
  names are invented; where one exists, that is chance.
- One-hop chains are remembered, not composed: see the held-out chains above. Portability to them is
  to be read with its precondition, as for real models.
- Names that are not of its world get confident answers all the same.
- Text that looks unlike its training text (long prose, lists, code) is out of its reach.

Licence: Apache-2.0, as the code. Text, names and weights come from this repository alone. The
figures are printed by `python -m patchhub.sandbox.card` (`make card`).
"""


def render(
    recipe: Recipe,
    world: World,
    parameters: int,
    figures: Sequence[Figure],
    moved: Sequence[Moved],
    edits: Sequence[Figure],
    published: Sequence[Figure],
) -> str:
    """Return the card as Markdown; `edits` and `published` are of the same probes, or none."""
    parts = [
        f"# {recipe.name}: a small model of a fictional world\n",
        _about(recipe, world, parameters),
        _training(recipe),
        _KNOWS,
        _table(("question", "right", "n"), [_row(figure) for figure in figures]),
        _WHERE.format(
            n=moved[0].n if moved else 0, stack=_ENCODER if recipe.decoder_blocks else ""
        ),
        _table(("block", *Where), _interchange_rows(moved)),
        *(_edited(recipe, edits, published) if edits else ()),
        _LIMITS,
    ]
    return "\n".join(parts)


def _training(recipe: Recipe) -> str:
    last, first = recipe.enriching_blocks - 1, recipe.enriching_blocks
    funnel = _FUNNEL_OF_TWO if recipe.decoder_blocks else _FUNNEL
    return _TRAINING.format(
        name=recipe.name,
        steps=f"{recipe.steps:,}",
        funnel=funnel.format(share=f"{recipe.funnel:.0%}", last=last, first=first),
        block="the encoder's block" if recipe.decoder_blocks else "block",
        last=last,
    )


def _edited(recipe: Recipe, edits: Sequence[Figure], published: Sequence[Figure]) -> list[str]:
    recommended = ", ".join(f"{k} {v}" for k, v in recipe.settings[METHOD].items())
    head = ("probe", "recommended step", "n", "published step", "n")
    rows = [(*_row(a), *_row(b)[1:]) for a, b in zip(edits, published, strict=True)]
    return [
        _EDITS.format(method=METHOD, width=recipe.width, recommended=recommended),
        _table(head, rows),
    ]


def _about(recipe: Recipe, world: World, parameters: int) -> str:
    people = world.of_kind(Kind.PERSON)
    counts = ", ".join(
        f"{len(world.of_kind(kind))} {word}"
        for kind, word in (
            (Kind.CITY, "cities"), (Kind.COUNTRY, "countries"), (Kind.COMPANY, "companies"),
            (Kind.UNIVERSITY, "universities"), (Kind.WORK, "books"), (Kind.LANGUAGE, "languages"),
        )
    )  # fmt: skip
    aliased = sum(person.alias is not None for person in people)
    model = (
        f"{network(recipe.family).describe(recipe)}, width {recipe.width}, {recipe.heads} heads, "
        f"trained on up to {recipe.context} tokens, {describe(recipe)}; "
        f"{parameters / 1e6:.2f} M parameters, bfloat16. Edit at block "
        f"{recipe.enriching_blocks - 1} (`config.patchhub.edit_layer`)."
    )
    contents = (
        f"The world has {len(people)} people ({aliased} with a second name), {counts}; "
        f"{len(world.facts):,} facts in {len(RELATIONS)} relations, each fact trained in five of "
        "eight wordings."
    )
    return f"{textwrap.fill(model, 100)}\n\n{textwrap.fill(contents, 100)}\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _row(figure: Figure) -> tuple[str, str, str]:
    return figure.name.replace("_", " "), f"{figure.share:.1%}", f"{figure.n:,}"


def _interchange_rows(moved: Sequence[Moved]) -> list[list[str]]:
    shares = {(m.block, m.where): m.share for m in moved}
    blocks = sorted({m.block for m in moved})
    return [[str(block), *(f"{shares[block, where]:.1%}" for where in Where)] for block in blocks]


def measure(base: LoadedBase, recipe: Recipe, edits: int) -> str:
    """Measure a model and return its card; edits only where the recipe recommends how."""
    world = sandbox.load_world(recipe.world)
    tried: list[Mapping[str, object]] = [{}, PUBLISHED] if METHOD in recipe.settings else []
    by_steps = [editing(base, world, METHOD, s, n=edits, progress=_show) for s in tried]
    return render(
        recipe, world, base.model.num_parameters(),
        knowledge(base, world, _show), location(base, world), *(by_steps or ([], [])),
    )  # fmt: skip


def _show(what: str, done: int, total: int) -> None:
    end = "\r" if sys.stderr.isatty() else "\n"
    if end == "\r" or done % 20 == 0:
        sys.stderr.write(f"{what} {done}/{total}{end}")
        sys.stderr.flush()


def main() -> None:
    """Measure a shipped model (or one in a directory) and print its card."""
    parser = argparse.ArgumentParser(prog="python -m patchhub.sandbox.card", description=__doc__)
    parser.add_argument("--model", default="sandbox-gpt2", help="name of a shipped model")
    parser.add_argument("--directory", type=Path, help="another directory of the same recipe")
    parser.add_argument("--edits", type=int, default=200, help="facts to edit")
    parser.add_argument("--write", action="store_true", help="write WORLD_CARD.md beside the model")
    arguments = parser.parse_args()
    directory = arguments.directory or sandbox.model_path(arguments.model)
    card = measure(load_base(directory), load_recipe(arguments.model), arguments.edits)
    sys.stdout.write(card)
    if arguments.write:
        (directory / "WORLD_CARD.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
