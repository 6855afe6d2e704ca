"""The frame: commands by file name, global options, every way to fail."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from patchhub.errors import ConflictError, GuardRefusedError
from patchhub_cli.main import COMMANDS, SECTIONS, Program, main, summary, verb
from patchhub_cli.output import Reply
from patchhub_cli.session import Session
from tests.cli.conftest import Run

NAMES = sorted(p.stem for p in COMMANDS.glob("*.py") if not p.stem.startswith("_"))


def _program(action: object) -> Program:
    """The program with one command, ``act``, that returns or raises ``action``."""

    @verb("act")
    def act(session: Session) -> Reply:
        """Act."""
        if isinstance(action, BaseException):
            raise action
        assert isinstance(action, Reply)
        session.warn("mind the gap")
        return action

    class Small(Program):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return ["act"]

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            return act if cmd_name == "act" else None

    return Small("patchhub")


def _call(
    capsys: pytest.CaptureFixture[str], action: object, *arguments: str
) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        _program(action).main(["act", *arguments])
    out, err = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out, err


def test_every_command_of_the_product_is_there() -> None:
    wanted = {name for _, names in SECTIONS for name in names}
    assert set(NAMES) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_help_of_each_command_says_something(name: str, run: Run) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"Usage: patchhub {name}" in result.stdout
    described = result.stdout.split("\n\n", 1)[1]
    assert len(described.strip().splitlines()[0].split()) >= 3
    assert "--json" not in result.stdout.split("Options:")[-1]


GROUPS = {
    "base": ("base add", "base link"),
    "bench": ("bench single", "bench report"),
    "stack": ("stack resolve",),
}
WITH_EXAMPLE = [word for name in NAMES for word in GROUPS.get(name, (name,))]


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_help_of_each_command_ends_with_an_example(name: str, run: Run) -> None:
    example = run(*name.split(), "--help").stdout.partition("\n  Example:\n")[2]
    lines = [line.strip() for line in example.splitlines()]
    assert any(f"patchhub {name}" in line for line in lines)
    assert max(map(len, lines)) <= 78


@pytest.mark.parametrize("name", NAMES)
def test_summaries_are_the_files_first_lines(name: str, run: Run) -> None:
    assert len(summary(name).split()) >= 3
    assert summary(name) in " ".join(run("--help").stdout.split())


def test_a_slip_of_the_finger_gets_the_nearest_name(run: Run) -> None:
    result = run("aply")
    assert result.exit_code == 2
    assert "No such command 'aply'. Did you mean 'apply'?" in result.stderr
    assert result.stdout == ""


def test_usage_errors_keep_the_envelope(run: Run) -> None:
    result = run("list", "--nonsense", "--json")
    body = json.loads(result.stdout)
    assert result.exit_code == body["exit"] == 2
    assert (body["ok"], body["error"]["code"]) == (False, "usage")
    assert body["command"] == "list"
    assert "--nonsense" in body["error"]["message"]


def test_text_goes_to_stdout_and_warnings_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert _call(capsys, Reply({"n": 1}, "one")) == (0, "one\n", "warning: mind the gap\n")
    assert _call(capsys, Reply({"n": 1}, "one"), "-q") == (0, "one\n", "")


def test_envelope(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = _call(capsys, Reply({"where": Path("a"), "ids": ("x",)}, "one"), "--json")
    assert (status, err) == (0, "")
    assert out == (
        '{"schema": "patchhub.out/1", "command": "act", "ok": true, "exit": 0, "error": null, '
        '"data": {"where": "a", "ids": ["x"]}, "warnings": ["mind the gap"]}\n'
    )


def test_errors_are_messages_with_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConflictError("E304", "plan is stale", expected=1, found=2, hint="again", seq=7)
    status, out, err = _call(capsys, error)
    assert (status, out) == (4, "")
    assert err == ("error[E304] plan is stale\n  expected  1\n  found     2\n  hint      again\n")
    status, out, err = _call(capsys, error, "--json")
    assert (status, err) == (4, "")
    assert json.loads(out)["error"] == {
        "code": "E304",
        "message": "plan is stale",
        "expected": "1",
        "found": "2",
        "hint": "again",
        "data": {"seq": 7},
    }


def test_a_no_of_the_guard_comes_with_its_data(capsys: pytest.CaptureFixture[str]) -> None:
    no = Reply({"n": 1}, "table", GuardRefusedError("E401", "guard said no"))
    status, out, err = _call(capsys, no)
    assert (status, out) == (3, "table\n")
    assert err.endswith("error[E401] guard said no\n")
    status, out, _ = _call(capsys, no, "--json")
    body = json.loads(out)
    assert (status, body["ok"], body["exit"], body["data"]) == (3, False, 3, {"n": 1})
    assert body["error"]["code"] == "E401"


def test_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = _call(capsys, KeyboardInterrupt())
    assert (status, out) == (130, "")
    assert err.strip().endswith("interrupted")
    status, out, _ = _call(capsys, KeyboardInterrupt(), "--json")
    assert (status, json.loads(out)["error"]["code"]) == (130, "interrupted")


def test_what_the_machine_refuses_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = _call(capsys, PermissionError(13, "Permission denied", "/some/where"))
    assert (status, out) == (1, "")
    assert err.startswith("error[E704] Permission denied: /some/where\n")
    status, out, err = _call(capsys, OSError(28, "No space left on device"), "--json")
    assert (status, err) == (1, "")
    assert json.loads(out)["error"]["message"] == "No space left on device"


def test_the_envelope_fits_any_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = _call(capsys, Reply({"answer": "Zürich →", "path": Path("\udcff")}), "--json")
    assert out.isascii()
    assert json.loads(out)["data"] == {"answer": "Zürich →", "path": "\udcff"}


def test_a_bug_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = _call(capsys, ZeroDivisionError("oops"))
    assert (status, out) == (1, "")
    assert "Traceback" in err
    assert "ZeroDivisionError: oops" in err
    status, out, _ = _call(capsys, ZeroDivisionError("oops"), "--json")
    assert (status, json.loads(out)["error"]["code"]) == (1, "bug")


def test_main_returns_the_status_when_asked() -> None:
    assert main.main(["--version"], standalone_mode=False) == 0
    assert main.main(["nonsense"], standalone_mode=False) == 2
