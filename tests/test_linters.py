"""The linters are content: each is a test, so that `make test` says it all."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINTERS = {
    "ruff check": "ruff check .",
    "ruff format": "ruff format --check .",
    "snakefmt": "snakefmt --check Snakefile workflow/rules",
    "mypy": "mypy",
    "import-linter": "lint-imports",
    "snakemake --lint": "snakemake --lint",
}


@pytest.mark.parametrize("name", LINTERS)
def test_the_linter_is_content(name):
    program, *arguments = LINTERS[name].split()
    command = [str(Path(sys.executable).parent / program), *arguments]
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
