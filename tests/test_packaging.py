"""What the wheel holds: three packages, their typing marks, and the data the program needs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_wheel_has_three_packages_and_their_data(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("patchhub-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {n.split("/")[0] for n in names if ".dist-info/" not in n}
    assert tops == {"patchhub", "patchhub_registry", "patchhub_cli"}
    for needed in (
        "patchhub/py.typed",
        "patchhub_registry/py.typed",
        "patchhub_cli/py.typed",
        "patchhub/architectures/gpt2.json",
        "patchhub/guard/default_policy.toml",
        "patchhub/sandbox/models/sandbox-gpt2/model.safetensors",
        "patchhub/sandbox/models/sandbox-gpt2/tokenizer.json",
    ):
        assert needed in names
