"""What a terminal shows fits it; what is piped is one line per row."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from patchhub_cli.fitting import fitted, hanging, widths
from tests.cli.conftest import Data, Run

COLUMNS = (["tensor", "transformer.h.1.mlp.c_proj.weight", "short"], ["bytes", "16,384", "7"])


def test_what_fits_stays_as_it_is() -> None:
    assert fitted(COLUMNS, " r", 80) == [
        "tensor                              bytes",
        "---------------------------------  ------",
        "transformer.h.1.mlp.c_proj.weight  16,384",
        "short                                   7",
    ]


def test_the_widest_columns_give_way() -> None:
    assert widths(COLUMNS, 30) == [22, 6]
    lines = fitted(COLUMNS, " r", 30)
    assert lines[2:4] == ["transformer.h.1.mlp.c_  16,384", "proj.weight"]
    assert max(map(len, lines)) <= 30
    assert widths(COLUMNS, 5) == [8, 6]  # no narrower than that


def test_a_value_goes_on_below_itself() -> None:
    assert hanging("who", "one two three four", 4, 26) == "who   one two three four"
    assert hanging("who", "one two three four five", 4, 26) == (
        "who   one two three four\n      five"
    )


def _in_terminal(columns: int, *arguments: str, **environment: str) -> list[str]:
    """Lines that a real process prints on a terminal of some width."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    process = subprocess.Popen(
        [Path(sys.executable).with_name("patchhub"), *arguments],
        stdout=follower,
        stderr=subprocess.DEVNULL,
        env={**kept, **environment},
    )
    os.close(follower)
    data = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        data += part
    os.close(leader)
    assert process.wait() == 0
    return data.decode().replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_is_not_overrun(columns: int, registry: Path, data: Data) -> None:
    data("apply", "born", "--stack", "prod", "--model", "../model")
    for command in (
        ["list"],
        ["status", "--model", "../model"],
        ["plan", "born", "--revert", "--stack", "prod", "--model", "../model"],
        ["find", "tolven"],
        ["diff", "--stat", "pico", "prod"],
        ["identify", "../model"],
        ["doctor"],
    ):
        lines = _in_terminal(columns, *command)
        assert len(lines) > 2
        assert max(map(len, lines)) <= columns, command
        assert not any("\x1b" in line for line in lines)


def test_piped_rows_are_lines(registry: Path, run: Run, data: Data) -> None:
    data("apply", "born", "--stack", "prod")
    lines = run("plan", "born", "--revert", "--stack", "prod").stdout.splitlines()
    rows = [line for line in lines if line.startswith("transformer.")]
    assert all(row.split()[-1] == "base" for row in rows)
    assert rows
