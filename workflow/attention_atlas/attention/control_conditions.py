"""What control conditions ask in a shard: the rows and pictures that the extraction is given instead of the study's."""

from pathlib import Path

from attention_atlas.attention.asking import Asked, image_file, shard_rows
from attention_atlas.attention.catalogue import CONTROL_MODULES
from attention_atlas.config import Controls
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.conditions import image_of
from attention_atlas.inputs.control_pictures import picture
from attention_atlas.inputs.controls import control_rows, donors, rows_with_random_weights
from attention_atlas.inputs.study import read_study
from attention_atlas.inputs.views import of_one_image


def control_samples(study_folder: Path, shard: str, shards: int, controls: Controls) -> Asked:
    """The control samples of the study's images in a shard, ordered by picture: each is encoded once and forgotten."""
    study, own = shard_rows(study_folder, shard, shards)
    others = donors(of_one_image(study.samples)["image"], controls.other_images, controls.seed)
    rows = list(control_rows(study.on({row["image"] for row in own}), controls, others))
    read_study(study_folder, query_types=None, images={image_of(row["image"]) for row in rows})  # before any weights
    if not rows:
        raise AtlasError(
            f"{study_folder / 'samples.csv'}: shard {shard} has no sample of {', '.join(controls.conditions)}: no "
            "target and no known wording. Name targets or paraphrases, or leave these out of controls.conditions"
        )
    return Asked(study, sorted(rows, key=lambda row: row["image"]), picture, CONTROL_MODULES)


def samples_of_random_weights(study_folder: Path, shard: str, shards: int, seed: int) -> Asked:
    """A shard's own samples, asked of the same architecture with random weights."""
    study, rows = shard_rows(study_folder, shard, shards)
    return Asked(study, rows_with_random_weights(rows), image_file, CONTROL_MODULES, weights_seed=seed)
