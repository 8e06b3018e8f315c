"""Print the conda environment that the lockfile describes: atlas.yaml beside this file, which the rules name."""

import re
from pathlib import Path

HEADER = """\
# Made from requirements.lock by envs/conda.py (`make lock`). Used only where Snakemake is called with
# --software-deployment-method conda; the package itself is then installed by `pip install --no-deps -e .` in it.
name: attention-atlas
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def main() -> None:
    """Write the environment to standard output."""
    here = Path(__file__).parent
    torch = re.findall(r"^torch==\S+", (here / "requirements.in").read_text(), flags=re.MULTILINE)
    others = re.findall(r"^[\w.-]+==[^\s\\]+", (here / "requirements.lock").read_text(), flags=re.MULTILINE)
    print(HEADER + "\n".join(f"      - {pin}" for pin in [*torch, *others]))


if __name__ == "__main__":
    main()
