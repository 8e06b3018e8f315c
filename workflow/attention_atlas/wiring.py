"""What the rules ask while Snakemake parses: the runs, their shards and files, and the code and settings behind a rule.

`snakemake -n` must not need torch, so nothing here imports it.

No text that a user wrote may stand where Snakemake expands it: in a string of `params`, in the name of an input, in a
shell command. Settings and model entries reach commands as files, named by their hash, in `scratch/settings`; the
params hold what a job is compared by, key by key, as functions, whose values Snakemake takes as they are.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from attention_atlas import config, declared, preflight
from attention_atlas.attention.catalogue import intervention_settings
from attention_atlas.config import Causal, ModelEntry, Settings
from attention_atlas.errors import AtlasError
from attention_atlas.files import refuse_changed_results
from attention_atlas.inputs import controls
from attention_atlas.inputs import shards as sharding
from attention_atlas.inputs.causal_samples import causal_samples
from attention_atlas.inputs.conditions import RANDOM_WEIGHTS
from attention_atlas.inputs.picture_files import MEMORY, PictureFiles, file_hashes
from attention_atlas.inputs.study import Study, read_study, records
from attention_atlas.inputs.used_settings import used_by
from attention_atlas.inputs.views import SEPARATOR, all_images, images_of, of_one_image
from attention_atlas.paper import contents
from attention_atlas.paper.contents import visible_files
from attention_atlas.provenance import module_path

CONFIG = Path("config/config.yaml")
MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt")
SETTINGS_FOLDER = Path("scratch", "settings")
Param = Callable[[Any], str]


class Workflow:
    """The settings and models of one invocation of Snakemake, and what follows from them for its rules.

    `given` is Snakemake's merged configuration; its keys `study`, `model` and, if wanted, `grid` and `name`
    (`--config study=... model=... grid=native`) replace the list of runs by that one run, and `ask_model=false` makes
    jobs that ask a model fail. Paths are relative to the project's folder. The rules' wildcard `model` is the name of
    a run's folder: that of its model, unless the run has a grid or a name.
    """

    def __init__(self, given: Mapping[str, Any], models_yaml: Path | str = "config/models.yaml") -> None:
        if expands(str(Path.cwd())):  # the paths of `conda:` files, for one
            raise AtlasError(
                f"{Path.cwd()}: Snakemake expands braces in the path of a project; move it to a folder without any"
            )
        content = dict(given)
        self._ask_model = str(content.pop("ask_model", True)).lower()  # `--config` gives text
        if self._ask_model not in ("true", "false"):
            raise AtlasError(f"--config ask_model={self._ask_model}: must be true or false")
        self.settings = settings_of(content)
        self.models = config.load_models(models_yaml)
        self.runs = [(run.study, run.folder) for run in self.settings.runs]
        self.studies = sorted({run.study for run in self.settings.runs})
        self._models = {(run.study, run.folder): run.model for run in self.settings.runs}
        self._entries = {
            (run.study, run.folder): config.effective_entry(run, self.models) for run in self.settings.runs
        }
        # Before any job: Snakemake removes a job's old output when it starts it, and a mistake must lose nothing.
        self.values = declared.as_values(self.settings)
        query_types = self.values["query_types"]
        self._studies = {
            run.study: read_study(Path("data", run.study), query_types, images=()) for run in self.settings.runs
        }
        listed = {run["study"] for run in content.get("runs", ()) if isinstance(run, dict) and "study" in run}
        preflight.check(self.settings, self._studies, self._entries, listed)
        self._used = cache(lambda study, shard: used_by(self._part(study, shard), self.values))
        self._divided = cache(lambda study: divided(self._studies[study], self.settings.shards))
        self._donors = cache(self._donors_of)
        self._perturbed = cache(self._perturbed_of)
        self._control_shards = cache(self._control_shards_of)
        self._compared = cache(lambda study, shard, key: declared.compared(self._used(study, shard), key))
        self._settings_files = cache(self._written_settings)
        self._models_files = cache(self._written_models)
        self._random_shards = cache(self._random_shards_of)
        self._image_files = cache(self._images_in)
        self._mask_files = cache(self._masks_in)

    def environment(self) -> str:
        """Shell prefix of every job. It affects no result, so no job is compared by it."""
        return f"export ATLAS_LOG_LEVEL={self.settings.log_level} ATLAS_ASK_MODEL={self._ask_model}; "

    def read(self, keys: Iterable[str], of: Callable[[Any], Iterable[str]] | None = None) -> dict[str, Param]:
        """Params of a rule whose command reads these settings: for each key a short text, by which jobs are compared.

        `of` gives the keys that the job of some wildcards reads, where not all jobs of a rule read the same. Of
        settings by name (query types, contrasts) and by sample id a job is compared by those that its study, or its
        shard, uses. Snakemake compares params as a set of values, so a key that a job does not read has the value that
        is in every set.
        """
        names = [name for key in declared.expanded(keys) for name in declared.compared(self.values, key)]
        return {"unread": lambda wildcards: "", **{name: self._param(name, of) for name in names}}

    def _param(self, name: str, of: Callable[[Any], Iterable[str]] | None) -> Param:
        key = name.split(".")[0] if name.split(".")[0] in declared.BY_NAME else name

        def param(wildcards: Any) -> str:
            if of is not None and key not in declared.expanded(of(wildcards)):
                return ""
            return self._compared(wildcards.study, wildcards.get("shard"), key).get(name, "")

        return param

    def perturbations_read(self, wildcards: Any) -> tuple[str, ...]:
        """The settings that the perturbations of a job depend on."""
        return intervention_settings(self._used(wildcards.study, None)["causal"])

    def entry_read(self) -> dict[str, Param]:
        """Params of a rule whose command loads a model: its name, and each field of its entry."""
        return {f"model.{name}": self._entry_param(name) for name in ("name", *ModelEntry.model_fields)}

    def _entry_param(self, name: str) -> Param:
        def param(wildcards: Any) -> str:
            run = wildcards.study, wildcards.model
            fields = {"name": self._models[run], **self.entry(*run).model_dump(mode="json")}
            return declared.short(f"model.{name}", fields[name])

        return param

    def settings_file(self, wildcards: Any, input: Any) -> str:
        """The file of settings that a job's command is given: all that its study uses.

        A function of `input` too: Snakemake then compares no job by its name, which any edit changes.
        """
        return self._settings_files(wildcards.study)

    def _written_settings(self, study: str) -> str:
        return str(declared.write_once(SETTINGS_FOLDER, study, self._used(study, None)))

    def models_file(self, wildcards: Any, input: Any) -> str:
        """The file with the entry of a run's model, its grid that of the run; as `settings_file`."""
        return self._models_files(wildcards.study, wildcards.model)

    def _written_models(self, study: str, name: str) -> str:
        entry = self.entry(study, name).model_dump(mode="json")
        return str(declared.write_once(SETTINGS_FOLDER, name, {"models": {self._models[study, name]: entry}}))

    def model(self, wildcards: Any, input: Any) -> str:
        """The model of a run, as config/models.yaml calls it; as `settings_file`."""
        return self._models[wildcards.study, wildcards.model]

    def shards(self, study: str) -> list[str]:
        """The shards that a study's images fall into."""
        return list(self._divided(study))

    def images(self, study: str, shard: str | None = None) -> str:
        """The folder of a study's images; refuses rows, of one shard or of all, whose image is not there."""
        return self._image_files(study).folder_of(self._images_of(study, shard))

    @cache  # noqa: B019 - of several rules; the one workflow of a process lives as long as it
    def images_digest(self, study: str, shard: str | None = None) -> str:
        """`name = hash` of the pictures of one shard, or of a whole study, by their content."""
        return f"images = {self._image_files(study).digest(self._images_of(study, shard))}"

    def control_images(self, study: str, shard: str) -> str:
        """The same folder; refuses rows whose image is not there, of those that the shard's control conditions show."""
        return self._image_files(study).folder_of(self._images_shown(study, shard))

    def control_images_digest(self, study: str, shard: str) -> str:
        """`name = hash` of the pictures that the control conditions of a shard are made of."""
        return f"images = {self._image_files(study).digest(self._images_shown(study, shard))}"

    def masks(self, study: str, shard: str | None = None) -> list[str]:
        """The folder of the objects' masks, as a list of one; none where the study, or the shard, has no mask."""
        wanted = self._masks_of(study, shard)
        return [self._mask_files(study).folder_of(wanted)] if wanted else []

    def masks_digest(self, study: str, shard: str | None = None) -> str:
        """`name = hash` of the masks of a study's objects, or of those on one shard's images, by their content."""
        return f"masks = {self._mask_files(study).digest(self._masks_of(study, shard))}"

    @cache  # noqa: B019 - of several rules; the one workflow of a process lives as long as it
    def rows_digest(self, study: str, shard: str) -> str:
        """`name = hash` of what the extraction reads of a shard's rows."""
        return f"rows = {sharding.digest(records(self._divided(study)[shard].samples))}"

    def control_digest(self, study: str, shard: str) -> str:
        """`name = hash` of what the control samples of a shard depend on in the study's tables."""
        return f"rows and objects = {controls.digest(self._divided(study)[shard], self._donors(study))}"

    def control_shards(self, study: str) -> list[str]:
        """The shards that have any control sample."""
        return self._control_shards(study)

    def random_shards(self, study: str) -> list[str]:
        """The shards that have a sample of the study itself, to be asked of random weights; none where that is off."""
        return self._random_shards(study)

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

    def _random_shards_of(self, study: str) -> list[str]:
        if RANDOM_WEIGHTS not in self.settings.controls.conditions:
            return []
        return [shard for shard, part in self._divided(study).items() if (part.samples["condition"] == "").any()]

    def interventions(self, study: str, model: str) -> list[str]:
        """What perturbations did, a file for each shard that has a sample to perturb."""
        return [f"results/attention/{study}/{model}/interventions/{shard}.parquet" for shard in self._perturbed(study)]

    def intervention_digest(self, study: str, shard: str) -> str:
        """`name = hash` of what the perturbations of a shard depend on in the study's tables."""
        return f"rows and objects = {controls.digest(self._divided(study)[shard], self._perturbed(study)[shard])}"

    def _perturbed_of(self, study: str) -> dict[str, dict[str, list[str]]]:
        if not self.settings.causal.checks:
            return {}
        samples = self._studies[study].samples
        image_of = dict(zip(samples["sample_id"].tolist(), samples["image"].tolist(), strict=True))
        found: dict[str, dict[str, list[str]]] = {}
        causal = Causal.model_validate(self._used(study, None)["causal"])
        for name in causal_samples(self._studies[study], causal):
            shard = sharding.shard_of(image_of[name], self.settings.shards)
            found.setdefault(shard, {}).setdefault(image_of[name], []).append(name)
        return dict(sorted(found.items()))

    def parts(self, study: str) -> list[str]:
        """What beside the study itself is asked of its models, as ends of the paths of their results."""
        shards = {"/controls": self.control_shards(study), "/random_weights": self.random_shards(study)}
        return [part for part, own in shards.items() if own]

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
        """The files of a model that lies in a local folder; none for a model of the hub, whose commit says it all.

        Without those whose path Snakemake would expand (`weights_digest`).
        """
        return [path for path in self._weights_of(study, model) if not expands(path)]

    @cache  # noqa: B019 - of several rules; the one workflow of a process lives as long as it
    def weights_digest(self, study: str, model: str) -> str:
        """`name = hash` of the files of a model that cannot be inputs, since their path has braces; else empty."""
        paths = [path for path in self._weights_of(study, model) if expands(path)]
        hashes = file_hashes(paths, MEMORY / f"{study}_{model}.json")
        return f"weights = {declared.sha256(repr(hashes))[:16]}" if paths else ""

    def _weights_of(self, study: str, model: str) -> list[str]:
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
        of_part = {"/controls": self.control_shards, "/random_weights": self.random_shards}
        shards = of_part.get(part, self.shards)(study)
        return [f"results/attention/{study}/{model}{part}/{shard}.nc" for shard in shards]

    def paper_set(self, study: str, model: str) -> list[str]:
        """The tables and figures of a run."""
        return [str(path) for path in contents.expected(*paper_folders(study, model))]

    def strangers(self, study: str, model: str) -> list[str]:
        """Files among them that no rule makes."""
        return [str(path) for path in contents.strangers(*paper_folders(study, model))]

    def refuse_strange_results(self, snakemake: Any) -> None:
        """Refuse results that are not what their jobs wrote, and files among an analysis that no rule makes.

        Once for an invocation: a job that is planned anew on a node of a cluster is beside others that write.
        """
        if not snakemake.is_main_process:
            return
        refuse_changed_results()
        found = [path for run in self.runs for path in visible_files(Path("results/analysis", *run))]
        contents.refuse([path for path in found if not any(rule.is_producer(str(path)) for rule in snakemake.rules)])

    def all_maps(self) -> list[str]:
        """The shards of every run and part."""
        return [path for run in self.runs for part in ["", *self.parts(run[0])] for path in self.maps(*run, part)]


def divided(study: Study, shards: int) -> dict[str, Study]:
    """Shard -> the part of a study on its images, rows in the tables' order.

    Objects that no sample sees, and shards without a sample, are left out.
    """
    shard_of = {named: sharding.shard_of(named, shards) for named in set(study.samples["image"].tolist())}
    shards_of_rows = np.array([shard_of[named] for named in study.samples["image"].tolist()])
    samples = {shard: study.samples[shards_of_rows == shard] for shard in sorted(set(shard_of.values()))}
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
    return " ".join(f"{name} {shlex.quote(path)}" for path in paths)


def expands(path: str) -> bool:
    """Whether Snakemake might take a part of a path for a wildcard, even where a function returns it."""
    return "{" in path or "}" in path


def any_of(names: Iterable[str]) -> str:
    """A regular expression that matches these names alone."""
    return "|".join(map(re.escape, sorted(set(names))))


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
    one_run = {name: content.pop(name) for name in ("study", "model", "grid", "name") if name in content}
    if one_run:
        if not {"study", "model"} <= one_run.keys():
            raise AtlasError(
                "--config needs both study=... and model=..., or neither; grid=... and name=... go with both alone"
            )
        content["runs"] = [one_run]
    return config.checked(Settings, content, "config/config.yaml")


def modules(names: Iterable[str]) -> list[str]:
    """The files of modules, relative to the project's folder: inputs of the rules whose output they decide."""
    root = Path.cwd()
    paths = [str(path.relative_to(root) if path.is_relative_to(root) else path) for path in map(module_path, names)]
    for path in filter(expands, paths):
        raise AtlasError(
            f"{path}: Snakemake takes braces in the name of a file for a wildcard; install the package in a folder "
            "without braces"
        )
    return paths
