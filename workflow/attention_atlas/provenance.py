"""Where numbers come from: hashes of files, a fingerprint of code, versions of libraries."""

import hashlib
import importlib.metadata
import io
import json
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attention_atlas.errors import AtlasError

PACKAGE = Path(__file__).parent


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_sha256(value: Any) -> str:
    """SHA-256 of a value written as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def module_path(module: str) -> Path:
    """The file of a module named relative to the package: "attention.capture"."""
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def code_fingerprint(modules: Iterable[str]) -> str:
    """One hash over the source of modules (names as in `module_path`)."""
    return text_sha256({module: file_sha256(module_path(module)) for module in modules})


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed versions by distribution name; what follows a plus sign (the build) is left out."""
    return {name: importlib.metadata.version(name).split("+")[0] for name in names}


def committed_files(folder: Path, output: Path) -> None:
    """Write the files of a folder of this repository, as git's last commit has them, below `output`."""
    archived = subprocess.run(["git", "archive", "HEAD", "--", str(folder)], capture_output=True, check=False)
    if archived.returncode:
        raise AtlasError(
            f"git has no committed {folder} here ({archived.stderr.decode().strip()}); name a folder with --published"
        )
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as files:
        if hasattr(tarfile, "data_filter"):
            files.extraction_filter = tarfile.data_filter  # Python before 3.11.4 has none; the archive is git's own
        files.extractall(output)
