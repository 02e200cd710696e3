"""The commands of docs/command-line.md run as written, with fewer epochs and images."""

import re
import shlex
from pathlib import Path

import pytest
from command_line import invoke

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
SMALLER = {"--epochs": "1", "--batch-size": "16"}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def commands():
    lines = "".join(blocks("console")).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("moda ")]


def smaller(words):
    """The same command on little data; the last of repeated options counts."""
    words = [SMALLER.get(before, word) for before, word in zip([None, *words], words, strict=False)]
    if "--data" in words:
        words += ["--samples-per-class", "6", "--test-samples-per-class", "4"]
    if "experiment" in words and "--list" not in words:
        few = {"samples_per_class": 6, "test_samples_per_class": 3, "epochs": 1, "subtasks": 9}
        few |= {"methods": "modular", "reuse.verified": 1}
        words += [part for key, value in few.items() for part in ("--set", f"{key}={value}")]
    return words


def test_commands_run_in_their_order(tmp_path, monkeypatch):
    pytest.importorskip("jinja2")
    monkeypatch.chdir(tmp_path)
    (settings,) = blocks("yaml")
    Path("digits.yaml").write_text(settings)
    assert len(commands()) >= 12
    for words in commands():
        result = invoke(*smaller(words))
        assert result.exit_code == 0, (words, result.output)
