"""The command line as the user meets it, run inside the test process."""

import dataclasses

import pytest

from remedis_jax.cli import main as cli


@dataclasses.dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def remedis(capsys, monkeypatch):
    """Runs `remedis ARGUMENTS` and returns exit code and output."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["remedis", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def refused(remedis):
    """Runs a command that must end in one line on standard error with a given exit code."""

    def run(*arguments: object, code: int = 2) -> str:
        outcome = remedis(*arguments)
        assert outcome.code == code, outcome
        lines = [line for line in outcome.err.splitlines() if "error:" in line]
        assert len(lines) == 1 and "Traceback" not in outcome.err, outcome.err
        return lines[0]

    return run
