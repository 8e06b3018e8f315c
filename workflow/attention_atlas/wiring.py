"""What the rules ask while Snakemake parses: the runs, their shards and files, and the code and settings behind a rule.

`snakemake -n` must not need torch, so nothing here imports it.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from attention_atlas import config
from attention_atlas.config import ModelEntry, Settings
from attention_atlas.errors import AtlasError
from attention_atlas.inputs import controls
from attention_atlas.inputs import shards as sharding
from attention_atlas.inputs.causal_samples import causal_samples
from attention_atlas.inputs.conditions import RANDOM_WEIGHTS
from attention_atlas.inputs.picture_files import PictureFiles
from attention_atlas.inputs.study import Study, read_study, records
from attention_atlas.inputs.views import SEPARATOR, all_images, images_of, of_one_image
from attention_atlas.paper import contents
from attention_atlas.provenance import module_path

CONFIG = Path("config/config.yaml")
MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt")


class Workflow:
    """The settings and models of one invocation of Snakemake, and what follows from them for its rules.

    `given` is Snakemake's merged configuration; its keys `study`, `model` and, if wanted, `grid`
    (`--config study=... model=... grid=native`) replace the list of runs by that one run, and `ask_model=false` makes
    jobs that ask a model fail. Paths are relative to the project's folder.
    """

    def __init__(self, given: Mapping[str, Any], models_yaml: Path | str = "config/models.yaml") -> None:
        content = dict(given)
        self._ask_model = str(content.pop("ask_model", True)).lower()  # `--config` gives text
        if self._ask_model not in ("true", "false"):
            raise AtlasError(f"--config ask_model={self._ask_model}: must be true or false")
        self.settings = settings_of(content)
        self.models = config.load_models(models_yaml)
        self.runs = [(run.study, run.model) for run in self.settings.runs]
        self._entries = {(run.study, run.model): config.effective_entry(run, self.models) for run in self.settings.runs}
        # Before any job: Snakemake removes a job's old output when it starts it, and a mistake must lose nothing.
        query_types = self.settings.model_dump(mode="json")["query_types"]
        self._studies = {
            run.study: read_study(Path("data", run.study), query_types, images=()) for run in self.settings.runs
        }
        self._divided = cache(lambda study: divided(self._studies[study], self.settings.shards))
        self._donors = cache(self._donors_of)
        self._perturbed = cache(self._perturbed_of)
        self._control_shards = cache(self._control_shards_of)
        self._image_files = cache(self._images_in)
        self._mask_files = cache(self._masks_in)

    def environment(self) -> str:
        """What the shell of every job begins with: what changes no result, and by which no job is compared."""
        return f"export ATLAS_LOG_LEVEL={self.settings.log_level} ATLAS_ASK_MODEL={self._ask_model}; "

    def sections(self, *names: str) -> str:
        """Sections of the settings as JSON: what a rule passes to its command, and compares."""
        return config.section_json(self.settings, *names)

    def shards(self, study: str) -> list[str]:
        """The shards that a study's images fall into."""
        return list(self._divided(study))

    def images(self, study: str, shard: str | None = None) -> str:
        """The folder of a study's images; refuses rows, of one shard or of all, whose image is not there."""
        return self._image_files(study).folder_of(self._images_of(study, shard))

    @cache  # noqa: B019 - of several rules; the one workflow of a process lives as long as it
    def images_digest(self, study: str, shard: str | None = None) -> str:
        """A hash of the pictures of one shard, or of a whole study, by their content."""
        return self._image_files(study).digest(self._images_of(study, shard))

    def control_images(self, study: str, shard: str) -> str:
        """The same folder; refuses rows whose image is not there, of those that the shard's control conditions show."""
        return self._image_files(study).folder_of(self._images_shown(study, shard))

    def control_images_digest(self, study: str, shard: str) -> str:
        """A hash of the pictures that the control conditions of a shard are made of."""
        return self._image_files(study).digest(self._images_shown(study, shard))

    def masks(self, study: str, shard: str | None = None) -> list[str]:
        """The folder of the objects' masks, as a list of one; none where the study, or the shard, has no mask."""
        wanted = self._masks_of(study, shard)
        return [self._mask_files(study).folder_of(wanted)] if wanted else []

    def masks_digest(self, study: str, shard: str | None = None) -> str:
        """A hash of the masks of a study's objects, or of those on one shard's images, by their content."""
        return self._mask_files(study).digest(self._masks_of(study, shard))

    @cache  # noqa: B019 - of several rules; the one workflow of a process lives as long as it
    def rows_digest(self, study: str, shard: str) -> str:
        """A hash of what the extraction reads of a shard's rows."""
        return sharding.digest(records(self._divided(study)[shard].samples))

    def control_digest(self, study: str, shard: str) -> str:
        """A hash of what the control samples of a shard depend on in the study's tables."""
        return controls.digest(self._divided(study)[shard], self._donors(study))

    def control_shards(self, study: str) -> list[str]:
        """The shards that have any control sample."""
        return self._control_shards(study)

    def _part(self, study: str, shard: str | None) -> Study:
        return self._studies[study] if shard is None else self._divided(study)[shard]

    def _images_of(self, study: str, shard: str | None = None) -> set[str]:
        return all_images(self._part(study, shard).samples["image"].tolist())

    def _images_shown(self, study: str, shard: str) -> set[str]:
        own = self._images_of(study, shard)
        return own.union(*(self._donors(study).get(image, ()) for image in own))

    def _masks_of(self, study: str, shard: str | None = None) -> set[str]:
        return {mask for mask in self._part(study, shard).objects.get("mask", []) if mask}

    def _images_in(self, study: str) -> PictureFiles:
        rows = self._studies[study].samples[["image", "line"]]
        rows = rows.assign(image=rows["image"].str.split(SEPARATOR, regex=False)).explode("image")
        return PictureFiles(
            Path("data", study, "images"), Path("data", study, "samples.csv"), rows["image"], rows["line"]
        )

    def _masks_in(self, study: str) -> PictureFiles:
        objects = self._studies[study].objects
        masked = objects[objects["mask"] != ""] if "mask" in objects else objects.iloc[:0].assign(mask="")
        return PictureFiles(
            Path("data", study, "masks"), Path("data", study, "objects.csv"), masked["mask"], masked["line"]
        )

    def _donors_of(self, study: str) -> dict[str, tuple[str, ...]]:
        wanted = self.settings.controls
        if "other_image" not in wanted.conditions:
            return {}
        return controls.donors(of_one_image(self._studies[study].samples)["image"], wanted.other_images, wanted.seed)

    def _control_shards_of(self, study: str) -> list[str]:
        return [
            shard
            for shard, part in self._divided(study).items()
            if any(controls.control_rows(part, self.settings.controls, self._donors(study)))
        ]

    def interventions(self, study: str, model: str) -> list[str]:
        """What perturbations did, a file for each shard that has a sample to perturb."""
        return [f"results/attention/{study}/{model}/interventions/{shard}.parquet" for shard in self._perturbed(study)]

    def intervention_digest(self, study: str, shard: str) -> str:
        """A hash of what the perturbations of a shard depend on in the study's tables."""
        return controls.digest(self._divided(study)[shard], self._perturbed(study)[shard])

    def _perturbed_of(self, study: str) -> dict[str, dict[str, list[str]]]:
        if not self.settings.causal.checks:
            return {}
        samples = self._studies[study].samples
        image_of = dict(zip(samples["sample_id"].tolist(), samples["image"].tolist(), strict=True))
        found: dict[str, dict[str, list[str]]] = {}
        for name in causal_samples(self._studies[study], self.settings.causal):
            shard = sharding.shard_of(image_of[name], self.settings.shards)
            found.setdefault(shard, {}).setdefault(image_of[name], []).append(name)
        return dict(sorted(found.items()))

    def parts(self, study: str) -> list[str]:
        """What beside the study itself is asked of its models, as ends of the paths of their results."""
        random = RANDOM_WEIGHTS in self.settings.controls.conditions
        return [*(["/controls"] if self.control_shards(study) else []), *(["/random_weights"] if random else [])]

    def part(self, study: str, model: str, part: str, name: str) -> list[str]:
        """A result of a part of a run, as a list of one; none where the settings leave that part out."""
        made = f"/{part}" in self.parts(study)
        return [f"results/analysis/{study}/{model}/{part}/{name}"] if made else []

    def manifests(self) -> list[str]:
        """The manifests of every run and part."""
        return [
            f"results/attention/{study}/{model}{part}/manifest.json"
            for study, model in self.runs
            for part in ["", *self.parts(study)]
        ]

    def entry(self, study: str, model: str) -> ModelEntry:
        """The model entry of a run."""
        return self._entries[study, model]

    def gpus(self, study: str, model: str) -> int | None:
        """The GPUs that a job with a run's model asks for; None, the resource left out, where it uses none.

        Not 0: the Kubernetes executor takes a job that names the resource `gpu` for one that needs a GPU node.
        """
        return self.entry(study, model).num_gpus or None

    def weights(self, study: str, model: str) -> list[str]:
        """The files of a model that lies in a local folder; none for a model of the hub, whose commit says it all."""
        folder = self.entry(study, model).path
        return [] if folder is None else sorted(str(path) for kind in MODEL_FILES for path in Path(folder).glob(kind))

    def of_each_run(self, *patterns: str, **values: Iterable[str]) -> list[str]:
        """Patterns with {study} and {model} filled in for every run, and further names for each of their values."""
        from itertools import product

        return [
            pattern.format(study=study, model=model, **dict(zip(values, chosen, strict=True)))
            for study, model in self.runs
            for pattern in patterns
            for chosen in product(*values.values())
        ]

    def maps(self, study: str, model: str, part: str = "") -> list[str]:
        """The shards of a run, or of a part of it, as files."""
        shards = self.control_shards(study) if part == "/controls" else self.shards(study)
        return [f"results/attention/{study}/{model}{part}/{shard}.nc" for shard in shards]

    def paper_set(self, study: str, model: str) -> list[str]:
        """The tables and figures of a run."""
        return [str(path) for path in contents.expected(*paper_folders(study, model))]

    def strangers(self, study: str, model: str) -> list[str]:
        """Files among them that no rule makes."""
        return [str(path) for path in contents.strangers(*paper_folders(study, model))]

    def all_maps(self) -> list[str]:
        """The shards of every run and part."""
        return [path for run in self.runs for part in ["", *self.parts(run[0])] for path in self.maps(*run, part)]


def divided(study: Study, shards: int) -> dict[str, Study]:
    """Shard -> the part of a study on its images, rows in the tables' order.

    Objects that no sample sees, and shards without a sample, are left out.
    """
    shard_of = {named: sharding.shard_of(named, shards) for named in set(study.samples["image"].tolist())}
    samples = dict(list(study.samples.groupby([shard_of[named] for named in study.samples["image"].tolist()])))
    seen_in: dict[str, set[str]] = {}
    for named, shard in shard_of.items():
        for image in images_of(named):
            seen_in.setdefault(image, set()).add(shard)
    places: dict[str, list[int]] = {shard: [] for shard in samples}
    for place, image in enumerate(study.objects["image"].tolist()):
        for shard in seen_in.get(image, ()):
            places[shard].append(place)
    return {shard: Study(study.folder, mine, study.objects.iloc[places[shard]]) for shard, mine in samples.items()}


def option(name: str, paths: Iterable[str]) -> str:
    """An option of a command, once for each path; nothing where a part of a run is not made."""
    return " ".join(f"{name} {path}" for path in paths)


def folders(paths: Iterable[str]) -> list[str]:
    """The folders that files lie in, each once."""
    return sorted({str(Path(path).parent) for path in paths})


def paper_folders(study: str, model: str) -> tuple[Path, Path]:
    """Where the tables and the figures of a run are."""
    return Path("results/paper/tables", study, model), Path("results/paper/figures", study, model)


def check_config_files(given: Iterable[Path | str]) -> None:
    """Refuse files of settings that hold a setting twice, or what YAML reads as something else than it says.

    `given` are the files that Snakemake was told of, beside the project's. It reads them itself, and passes over both.
    """
    files = [Path(path) for path in given]
    for path in dict.fromkeys([*files, *([CONFIG] if CONFIG.exists() or not files else [])]):
        config.read_yaml(path)


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Snakemake's merged configuration as checked settings."""
    content = dict(given)
    one_run = {name: content.pop(name) for name in ("study", "model", "grid") if name in content}
    if one_run:
        if not {"study", "model"} <= one_run.keys():
            raise AtlasError("--config needs both study=... and model=..., or neither; grid=... goes with both alone")
        content["runs"] = [one_run]
    return config.checked(Settings, content, "config/config.yaml")


def modules(names: Iterable[str]) -> list[str]:
    """The files of modules, relative to the project's folder: inputs of the rules whose output they decide."""
    root = Path.cwd()
    return [str(path.relative_to(root) if path.is_relative_to(root) else path) for path in map(module_path, names)]
