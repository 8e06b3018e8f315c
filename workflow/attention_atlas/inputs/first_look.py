"""A first look: a folder with sixteen scenes of the demo's generator and settings that leave out what takes long.

Computed there (`make demo`), it shows the whole workflow in two minutes and leaves the published results alone.
"""

import os
from pathlib import Path
from typing import Any

import yaml

from attention_atlas.config import load_models
from attention_atlas.errors import AtlasError
from attention_atlas.inputs import scenes, shapes_study
from attention_atlas.settings_files import DEMO

STUDY, MODEL = "shapes", "shapes-tiny"
SEED = 2026
CONFIG = "config/config.yaml"
SCENES_PER_QUARTER = 4
# No contrasts and no perturbations, so hardly a simulation. The baselines of grounding stay; sixteen scenes are the
# fewest that have six in each split, of which heads are chosen.
SETTINGS = {
    **DEMO,
    "shards": 2,
    "statistics": {"resamples": 999},
    "controls": {"conditions": ["blank", "other_image", "random_weights"], "other_images": 1},
    "causal": {"checks": []},
    "contrasts": {},
    "tests": {"simulations": 100},
    "heads": {"random_sets": 99},
    "figures": {"dpi": 150},
}
# What a newcomer looks at, beside the folders of the full layout.
SHORT_CUTS = {
    "findings.md": f"results/paper/tables/{STUDY}/{MODEL}/findings.md",
    "figures": f"results/paper/figures/{STUDY}/{MODEL}",
    "tables": f"results/paper/tables/{STUDY}/{MODEL}",
}


def write_first_look(folder: Path, project: Path = Path()) -> None:
    """Write study, settings and model entry into a folder, which Snakemake takes as its working directory."""
    if folder.exists() and not (folder / CONFIG).exists() and any(folder.iterdir()):
        raise AtlasError(f"{folder} holds other files; name a folder that is not there, or remove it")
    entry = load_models(project / "config/models.yaml")[MODEL].model_dump(mode="json", exclude_defaults=True)
    entry["path"] = os.path.relpath(project / entry["path"], folder)
    write_yaml(folder / CONFIG, SETTINGS)
    write_yaml(folder / "config/models.yaml", {"models": {MODEL: entry}})
    study = folder / "data" / STUDY
    shapes_study.write_study(study, SEED, SCENES_PER_QUARTER)
    scenes.draw_study(study)
    for name, target in {**SHORT_CUTS, "envs": os.path.relpath(project / "envs", folder)}.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    """Write a mapping as YAML, in its order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
