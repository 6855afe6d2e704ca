"""`advise`: tables, the proposal, what speaks against it, and a no that says what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Data, Run
from tests.evaluation.made import Maker, provenance


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of single edits, and of batches without what they took."""
    home = tmp_path_factory.mktemp("bench")
    maker = Maker(cases=20)
    for name, results in (("single", maker.single()), ("batch", maker.batch(sizes=(5,)))):
        (home / name).mkdir()
        results.write(home / name / "results.json")
    provenance().write(home / "single" / "provenance.json")
    return home


def test_a_proposal_with_its_figures(bench: Path, run: Run) -> None:
    made = run("advise", bench / "single", "--reliability-floor", "0.3", "--memory", "1GiB")
    assert made.exit_code == 0, made.output
    for text in ("reliability.target", "≥ 0.3", "to", "met", str(bench / "single"), "proposal"):
        assert text in made.stdout
    assert "unedited" not in made.stdout.partition("proposal")[0]
    assert made.stdout.index("single edits") < made.stdout.index("proposal")


def test_as_json(bench: Path, data: Data) -> None:
    made = data("advise", bench / "single", "--reliability-floor", "0.3", "--latency", "1.1")
    chosen = made["proposal"]
    assert chosen == made["ranking"][0]
    assert chosen["meets_all"] is True
    assert [one["constraint"] for one in chosen["findings"]] == ["reliability", "latency"]
    figure = chosen["findings"][0]["figure"]
    assert figure["low"] >= 0.3
    assert (figure["n"], figure["source"]) == (20, str(bench / "single"))
    assert "lower end" in chosen["findings"][0]["text"]
    assert made["constraints"]["reliability_floor"] == 0.3
    assert made["constraints"]["unlearning"] is False
    assert made["why"].startswith(chosen["method"])
    assert {one["method"] for one in made["ranking"]} == {"rome", "ft", "lora", "memit"}
    assert next(o for o in made["ranking"] if o["method"] == "memit")["refused"] == 2


def test_nothing_meets_all(bench: Path, run: Run) -> None:
    asked = ("advise", bench / "single", bench / "batch", "--edits-per-day", "5", "--unlearning")
    made = run(*asked, "--locality-floor", "1")
    assert made.exit_code == 3
    assert "error[E405] no method meets every constraint; the nearest is" in made.stderr
    assert "misses: locality; nothing shows: unlearning, edits per day" in made.stderr
    assert "against   missed: locality" in made.stdout
    body = json.loads(run(*asked, "--locality-floor", "1", "--json").stdout)
    assert (body["ok"], body["exit"], body["data"]["proposal"]) == (False, 3, None)
    assert body["data"]["nearest"] == body["error"]["data"]["nearest"]
    assert body["data"]["ranking"][0]["state"] == {"experiment": "batch", "size": 5, "step": 5}


def test_the_directory_above_stands_for_all_in_it(bench: Path, run: Run) -> None:
    every = sorted(file.parent for file in bench.glob("*/results.json"))
    above, named = run("advise", bench, "--json"), run("advise", *every, "--json")
    assert (above.exit_code, len(every)) == (named.exit_code, 2)
    assert json.loads(above.stdout)["data"] == json.loads(named.stdout)["data"]


def test_reading_results_needs_no_torch(bench: Path) -> None:
    code = (
        "import sys\n"
        "from patchhub_cli.main import main\n"
        f"main(['-q', 'advise', {str(bench / 'single')!r}], standalone_mode=False)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--reliability-floor", "1.5"), 2),
        (("--memory", "lots"), 2),
        (("--edits-per-day", "0"), 2),
        (("--latency", "0"), 2),
        (("--protocol", "luck"), 2),
        (("--model", "other"), 7),
    ],
)
def test_what_makes_no_sense(
    bench: Path, run: Run, arguments: tuple[str, ...], status: int
) -> None:
    assert run("advise", bench / "single", *arguments).exit_code == status
    assert run("advise").exit_code == 2
    assert run("advise", bench / "none").exit_code == 7


@pytest.mark.parametrize(
    ("text", "value"),
    [("4096", 4096), ("4K", 4096), ("1.5GiB", 1.5 * 2**30), ("2 mb", 2**21), ("1T", 2**40)],
)
def test_bytes(text: str, value: float) -> None:
    from patchhub_cli.options import size

    assert size(text) == value
