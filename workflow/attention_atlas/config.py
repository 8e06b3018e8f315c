"""Settings: their types, defaults and meaning; the default YAML, the JSON schema and the docs table are made from them.

Imported while Snakemake parses, so nothing heavy is imported here.
"""

import re
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from attention_atlas.errors import AtlasError, nearest
from attention_atlas.folding import spelling_key
from attention_atlas.reading import parse_json, read_text, shown, shown_path
from attention_atlas.yaml_reading import load_yaml

MOST_PROBLEMS = 50
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Grid = Literal["native"] | tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
Fraction = Annotated[float, Field(gt=0, lt=1)]


def batch_size_of(value: Any) -> int | Literal["auto"]:
    """A number of samples, or auto; one message for both."""
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"must be a whole number from 1, or auto, not {value!r}")


BatchSize = Annotated[
    int | Literal["auto"],
    PlainValidator(batch_size_of),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]}),
]


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Section)


class Run(Section):
    """One study asked of one model."""

    study: Name = Field(description="folder of the study below data/")
    model: Name = Field(description="name of an entry of config/models.yaml")
    grid: Grid | None = Field(None, description="token grid of this run instead of the model's: native or [rows, cols]")
    name: Name | None = Field(
        None,
        description="name of this run's folders, results/<phase>/<study>/<name>; null: the model's, followed by the "
        "grid where `grid` is given (shapes-tiny-8x8, shapes-tiny-native)",
    )

    @property
    def folder(self) -> str:
        """The name of the run's folders of results, one for each study, model and grid."""
        grid = "x".join(map(str, self.grid)) if isinstance(self.grid, tuple) else self.grid
        return self.name or (self.model if grid is None else f"{self.model}-{grid}")


class Extraction(Section):
    """How samples are put through the model."""

    batch_size: BatchSize = Field(
        96,
        description="samples generated together; part of the numbers (order of sums). auto: as many as fit into "
        "memory, so that numbers repeat within tolerances alone",
    )
    share_prefix: bool = Field(
        True,
        description="read what the queries of an image share (system prompt, image) once; false: each whole prompt, in "
        "the very sums of transformers' `generate`, which matters to tokens in bfloat16 and float16",
    )
    threads: int = Field(1, ge=1, description="torch threads of one job; part of the numbers (order of sums)")
    system_prompt: str = Field("", description="text of a system turn before the query; empty = none")


class Generation(Section):
    """How answers are generated."""

    max_new_tokens: int = Field(24, ge=1, description="most tokens of an answer")
    do_sample: bool = Field(False, description="draw tokens instead of taking the most likely one; needs a seed")
    temperature: float = Field(1.0, gt=0, description="temperature of drawing")
    seed: int | None = Field(None, ge=0, description="seed of drawing, per sample")

    @model_validator(mode="after")
    def sampling_needs_a_seed(self) -> Self:
        """Refuse sampling that nobody can repeat."""
        if self.do_sample and self.seed is None:
            raise ValueError("do_sample: true needs a seed, else nobody can repeat the run; set generation.seed")
        return self


class Capture(Section):
    """What is kept of the attention."""

    keys: Literal["vision", "all"] = Field(
        "vision", description="vision: weights on vision tokens; all: on every key too"
    )
    rows: Literal["last", "all"] = Field(
        "last", description="last: predicting rows; all: the prompt's whole matrix too"
    )
    full_samples: tuple[str, ...] = Field(
        (), description="sample ids, of any study, whose whole matrix is kept under rows: all"
    )
    value_weighted: bool = Field(False, description="keep weights times norm of the projected value too")
    hidden_states: bool = Field(
        False,
        description="keep the hidden states of vision tokens and of the first token, for sinks by massive dimensions",
    )
    keep_bits: int | None = Field(
        None,
        ge=1,
        le=23,
        description="bits of the mantissa that stored weights are rounded to; 15 moves no entropy by more than 1e-4 "
        "nats; null: not rounded",
    )

    @model_validator(mode="after")
    def whole_matrices_are_of_chosen_samples(self) -> Self:
        """Refuse rows: all without the samples it is for."""
        if self.rows == "all" and not self.full_samples:
            raise ValueError("rows: all keeps a whole matrix per sample; name the samples in capture.full_samples")
        return self


class QueryType(Section):
    """How answers to one type of query are found."""

    answers: dict[str, tuple[str, ...]] = Field(description="each answer with its other spellings")
    needs_target: bool = Field(False, description="whether a sample of this type must name its target objects")
    without_target: str = Field(
        "", description="the right answer once the targets are painted over; empty = the question then has none"
    )

    @field_validator("answers")
    @classmethod
    def spellings_are_of_one_answer(cls, answers: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """Refuse a spelling of two answers, also where the two are written differently and read the same."""
        seen: dict[str, tuple[str, str]] = {}
        for answer, others in answers.items():
            for spelling in (answer, *others):
                key = spelling_key(spelling)
                first, of = seen.setdefault(key, (spelling, answer))
                told, told_first = f"{shown(spelling)} of {shown(answer)}", f"{shown(first)} of {shown(of)}"
                if not key:
                    raise ValueError(f"{told}: a spelling needs a character to be found by")
                if of != answer and first == spelling:
                    raise ValueError(f"{shown(spelling)} is a spelling of both {shown(of)} and {shown(answer)}")
                if of != answer:
                    raise ValueError(f"{told} reads the same as {told_first}; leave one out")
        return answers

    @model_validator(mode="after")
    def answer_without_target_is_known(self) -> Self:
        """Refuse an answer that the vocabulary does not have."""
        if self.without_target and self.without_target not in self.answers:
            raise ValueError(f"without_target {shown(self.without_target)} is not one of the answers")
        return self


Condition = Literal["blank", "other_image", "generic", "paraphrase", "twin", "control_twin", "random_weights"]


class Controls(Section):
    """What else is asked of which picture, beside the study itself; docs/methods.md says what each is for."""

    conditions: tuple[Condition, ...] = Field(get_args(Condition), description="control conditions that are made")
    other_images: int = Field(4, ge=1, description="other images that a sample's text is asked of")
    seed: int = Field(0, ge=0, description="seed of the draw of other images and of random weights")
    generic_query: str = Field(
        "Write a general description of the image.", description="text of the condition generic, asked once an image"
    )
    paraphrases: dict[str, str] = Field(
        default_factory=lambda: dict(PARAPHRASES),
        description="other wordings: regular expression over a whole query, and what stands in its place",
    )

    @field_validator("paraphrases")
    @classmethod
    def expressions_can_be_read(cls, paraphrases: dict[str, str]) -> dict[str, str]:
        """Refuse what is no regular expression, or names a group that it does not have."""
        for expression, replacement in paraphrases.items():
            try:
                re.compile(f"(?:{expression})|(?s:.*)").sub(replacement, "x", count=1)
            except (re.error, IndexError, OverflowError, RecursionError) as error:
                raise ValueError(f"{shown(expression)} -> {shown(replacement)} cannot be used: {error}") from None
        return paraphrases


class Steps(Section):
    """Which generated token's map a statistic is about."""

    selector: Literal["answer", "first", "final", "last", "all", "mean"] = Field(
        "answer", description="answer: first token of the answer; first; final: last before the end; last; all; mean"
    )


class Pooling(Section):
    """How heads become one map."""

    heads: Literal["max", "mean"] = Field("max", description="pooling over heads that tables and figures show")


class Bands(Section):
    """Where entropy counts as low, medium or high, and layers as early, middle or late."""

    entropy: tuple[float, float] = Field(
        (1.5, 3.0), description="cuts of entropy, nats, at the reference number of cells"
    )
    reference_cells: int = Field(64, ge=2, description="number of vision tokens that the entropy cuts are for")
    layers: tuple[int, int] = Field((11, 25), description="first middle and first late layer at the reference depth")
    reference_layers: int = Field(36, ge=3, description="number of layers that the layer cuts are for")

    @model_validator(mode="after")
    def cuts_ascend(self) -> Self:
        """Refuse cuts out of order."""
        if not 0 < self.entropy[0] < self.entropy[1]:
            raise ValueError(f"entropy cuts must ascend from above 0, not {list(self.entropy)}")
        if not 0 < self.layers[0] < self.layers[1] < self.reference_layers:
            raise ValueError(f"layer cuts must ascend between 0 and reference_layers, not {list(self.layers)}")
        return self


class Statistics(Section):
    """Intervals over images."""

    confidence: Fraction = Field(0.95, description="confidence level of intervals")
    resamples: int = Field(9999, ge=99, description="bootstrap resamples")
    seed: int = Field(0, ge=0, description="seed of the bootstrap")
    min_images: int = Field(6, ge=2, description="fewest images that an interval is given for")


class Margins(Section):
    """Differences that count as none, declared before any is seen."""

    entropy: float = Field(0.10, gt=0, description="nats; of entropy normalised by ln N, this divided by ln N at 64")
    auroc: float = Field(0.05, gt=0, description="area under the ROC curve of the map against the target's cells")
    ln_enrichment: float = Field(0.2231, gt=0, description="ln of the enrichment on the target: ln 1.25")
    js_excess: float = Field(0.02, gt=0, description="nats of Jensen-Shannon divergence beyond that of paraphrases")
    centre_excess: float = Field(0.5, gt=0, description="cells of centre shift beyond that of paraphrases")
    logprob: float = Field(0.1, gt=0, description="nats of the log-probability of the answer")


class Tests(Section):
    """How contrasts are tested, and how the tests are validated."""

    alpha: Fraction = Field(0.05, description="level of tests, after correction over a family")
    permutations: int = Field(9999, ge=999, description="fewest random permutations; all where there are fewer")
    simulations: int = Field(2000, ge=100, description="simulated datasets per test of the validation")
    margins: Margins = Field(default_factory=Margins, description="margins of equivalence by measure")


class Arm(Section):
    """The observations of one side of a contrast; what is left out does not restrict."""

    query_ids: tuple[str, ...] = Field((), description="queries")
    query_types: tuple[str, ...] = Field((), description="types of queries")
    layers: Literal["all", "early", "middle", "late"] = Field("all", description="band of layers that is averaged")
    correct: bool | None = Field(None, description="answers that are right (true) or wrong (false)")
    condition: Literal["", "blank", "paraphrase", "twin", "control_twin"] = Field(
        "", description="control condition whose maps are taken; empty = the study itself"
    )


class ContrastEntry(Section):
    """One declared comparison of two arms, first minus second, over images."""

    family: str = Field("all", description="contrasts that are corrected together")
    kind: Literal["paired", "unpaired", "lowest_step", "top_layers"] = Field(
        "paired",
        description="paired: the same images; unpaired: different ones; lowest_step: the answer step against each "
        "other step; top_layers: share of images whose lowest layer lies in the top sixth of the depth",
    )
    measure: Literal["entropy", "auroc", "ln_enrichment", "js_excess", "centre_excess"] = Field(
        "entropy",
        description="what is compared; an excess is the distance between the arms' maps beyond that to paraphrases",
    )
    first: Arm = Field(default_factory=Arm, description="first arm")
    second: Arm = Field(default_factory=Arm, description="second arm; of no use to lowest_step and top_layers")
    plane: bool = Field(
        False, description="test the arms on the layer x step plane too, by cluster permutation (paired entropy alone)"
    )
    direction: Literal["greater", "less"] | None = Field(None, description="what a claim says of first minus second")
    claim: str = Field("", description="the claim in words, for the table of claims")
    original: str = Field("", description="its value where it was first made, for the table of claims")

    @model_validator(mode="after")
    def steps_and_layers_are_of_entropy(self) -> Self:
        """Refuse kinds that only entropy has."""
        if self.kind in ("lowest_step", "top_layers") and self.measure != "entropy":
            raise ValueError(f"kind {self.kind} compares entropies; leave measure out")
        if self.measure in ("js_excess", "centre_excess") and (
            self.kind != "paired" or self.first.condition or self.second.condition
        ):
            raise ValueError(f"{self.measure} compares two queries of the same images; kind must be paired")
        if self.plane and (self.kind != "paired" or self.measure != "entropy"):
            raise ValueError("plane: true is for paired contrasts of entropy")
        return self


CONTRASTS: dict[str, dict[str, Any]] = {
    "lowest_at_answer": {
        "family": "claims",
        "kind": "lowest_step",
        "direction": "less",
        "claim": "entropy is lowest at the answer step and rises after it",
        "original": "lowest at the answer step",
    },
    "late_vs_early": {
        "family": "claims",
        "first": {"layers": "late"},
        "second": {"layers": "early"},
        "direction": "less",
        "claim": "late layers are lower in entropy than early ones",
        "original": "late below early",
    },
    "lowest_layer_on_top": {
        "family": "claims",
        "kind": "top_layers",
        "direction": "greater",
        "claim": "the layer of the minimum lies in the top sixth of the depth",
        "original": "top sixth",
    },
    "q3_vs_q4": {
        "family": "claims",
        "first": {"query_ids": ["q3"]},
        "second": {"query_ids": ["q4"]},
        "plane": True,
        "claim": "the two recognition questions are equivalent",
        "original": "means differ by 0.06 nats, read as no difference",
    },
    "counting_vs_spatial": {
        "family": "claims",
        "first": {"query_types": ["counting"]},
        "second": {"query_types": ["spatial"]},
        "plane": True,
        "direction": "greater",
        "claim": "counting has higher entropy than spatial",
        "original": "counting above spatial",
    },
    "spatial_vs_counting_auroc": {
        "family": "claims",
        "measure": "auroc",
        "first": {"query_types": ["spatial"]},
        "second": {"query_types": ["counting"]},
        "direction": "greater",
        "claim": "spatial aligns better with its objects than counting",
        "original": "spatial better",
    },
    "attribute_vs_recognition": {
        "family": "query types",
        "first": {"query_types": ["attribute"]},
        "second": {"query_types": ["recognition"]},
    },
    "counting_vs_recognition": {
        "family": "query types",
        "first": {"query_types": ["counting"]},
        "second": {"query_types": ["recognition"]},
    },
    "attribute_vs_spatial_auroc": {
        "family": "query types",
        "measure": "auroc",
        "first": {"query_types": ["attribute"]},
        "second": {"query_types": ["spatial"]},
    },
    "scene_vs_twin": {
        "family": "conditions",
        "second": {"condition": "twin"},
    },
    "scene_vs_control_twin": {
        "family": "conditions",
        "second": {"condition": "control_twin"},
    },
    "present_vs_absent": {
        "family": "conditions",
        "first": {"query_types": ["recognition"]},
        "second": {"query_types": ["recognition"], "condition": "twin"},
    },
    "scene_vs_twin_on_target": {
        "family": "conditions",
        "measure": "ln_enrichment",
        "second": {"condition": "twin"},
    },
    "q3_vs_q4_maps": {
        "family": "distances",
        "measure": "js_excess",
        "first": {"query_ids": ["q3"]},
        "second": {"query_ids": ["q4"]},
    },
    "q3_vs_q4_centres": {
        "family": "distances",
        "measure": "centre_excess",
        "first": {"query_ids": ["q3"]},
        "second": {"query_ids": ["q4"]},
    },
    "counting_vs_spatial_maps": {
        "family": "distances",
        "measure": "js_excess",
        "first": {"query_types": ["counting"]},
        "second": {"query_types": ["spatial"]},
    },
    "correct_vs_wrong": {
        "family": "answers",
        "kind": "unpaired",
        "first": {"correct": True},
        "second": {"correct": False},
    },
}


class Heads(Section):
    """Which heads localise: chosen on the split `select`, evaluated on the split `evaluate`."""

    count: int = Field(5, ge=1, description="heads that are frozen by their AUROC on the selection split")
    random_sets: int = Field(999, ge=99, description="random sets of as many heads that they are held against")
    most_focused: int = Field(10, ge=1, description="LocalizationHeads: heads of lowest spatial entropy in each sample")
    most_frequent: int = Field(3, ge=1, description="LocalizationHeads: heads that are most often among those")
    layer_share: Fraction = Field(0.1, description="VEA: share of the layers, those of highest AUROC, that is averaged")
    seed: int = Field(0, ge=0, description="seed of the random sets")


class Causal(Section):
    """What is done to image and attention to see whether the answer depends on it."""

    checks: tuple[Literal["occlusion", "knockout", "deletion", "counterfactual"], ...] = Field(
        ("occlusion", "knockout", "deletion", "counterfactual"),
        description="checks that are made; deletion has insertion with it",
    )
    samples: tuple[str, ...] = Field(
        (),
        description="sample ids to perturb; a study without any of them has one an image, query types with a target "
        "taking turns",
    )
    regions: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        (4, 4), description="rows and columns of regions that are painted over one by one"
    )
    layers: Literal["all", "early", "middle", "late"] = Field(
        "all", description="band of layers in which vision tokens are knocked out"
    )
    random_sets: int = Field(99, ge=99, description="random token sets of equal size beside the target's")
    steps: int = Field(16, ge=2, description="steps of deletion and insertion")
    random_orders: int = Field(1, ge=1, description="random orders beside the map's")
    random_regions: int = Field(8, ge=1, description="places that a region of the target's size is painted at instead")
    seed: int = Field(0, ge=0, description="seed of random sets, orders and places")


class Figures(Section):
    """How figures look."""

    dpi: int = Field(300, ge=72, description="resolution of PNG figures")
    smoothing: bool = Field(False, description="blend the cells of a map over the image instead of showing them")
    gallery: tuple[str, ...] = Field(
        (),
        description="sample ids of the gallery; a study without any of them shows the first answered of each query",
    )
    layers_page: str = Field(
        "", description="sample id of the all-layers page; a study without it shows the gallery's third"
    )


PARAPHRASES: dict[str, str] = {  # the second wording of each of the demo's questions (inputs/questions)
    r"How many shapes are in the image\?": "How many shapes are there?",
    r"How many (\w+) shapes are in the image\?": r"How many \1 shapes are there?",
    r"What colour is the (.+)\?": r"Which colour does the \1 have?",
    r"Is there (.+) in the image\?": r"Does the image show \1?",
    r"Is the (.+) to the left or to the right of the (.+)\?": r"On which side of the \2 is the \1, left or right?",
    r"Where is the (.+)\?": r"In which place is the \1?",
}
NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
QUERY_TYPES: dict[str, dict[str, Any]] = {
    "counting": {
        "answers": {
            str(number): [word, *(["no", "none"] if number == 0 else [])] for number, word in enumerate(NUMBERS)
        },
        "needs_target": False,
        "without_target": "0",
    },
    "recognition": {
        "answers": {"yes": ["yeah", "yep"], "no": ["nope"]},
        "needs_target": False,
        "without_target": "no",
    },
    "attribute": {
        "answers": {
            **{
                colour: [] for colour in ("red", "green", "blue", "yellow", "orange", "black", "white", "brown", "pink")
            },
            "purple": ["violet"],
            "grey": ["gray"],
        },
        "needs_target": True,
    },
    "spatial": {
        "answers": {
            "left": ["middle left", "centre left", "center left"],
            "right": ["middle right", "centre right", "center right"],
            "top": [
                *("upper middle", "upper centre", "upper center"),
                *("top middle", "top centre", "top center", "middle top", "centre top", "center top"),
            ],
            "bottom": [
                *("lower middle", "lower centre", "lower center"),
                *("bottom middle", "bottom centre", "bottom center", "middle bottom", "centre bottom", "center bottom"),
            ],
            "centre": ["center", "middle"],
            "top left": ["upper left", "left top", "left upper"],
            "top right": ["upper right", "right top", "right upper"],
            "bottom left": ["lower left", "left bottom", "left lower"],
            "bottom right": ["lower right", "right bottom", "right lower"],
        },
        "needs_target": True,
    },
}


class Settings(Section):
    """The whole of config/config.yaml."""

    runs: tuple[Run, ...] = Field(min_length=1, description="the studies and models to run")
    shards: int = Field(
        4, ge=1, le=999, description="jobs that a run's images are divided over; fixed for a study's life"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="detail of the logs")
    extraction: Extraction = Field(default_factory=Extraction)
    generation: Generation = Field(default_factory=Generation)
    capture: Capture = Field(default_factory=Capture)
    query_types: dict[Name, QueryType] = Field(
        default_factory=lambda: {name: QueryType(**parts) for name, parts in QUERY_TYPES.items()},
        description="types of queries: their answers with other spellings, and whether a target is needed",
    )
    controls: Controls = Field(default_factory=Controls)
    steps: Steps = Field(default_factory=Steps)
    pooling: Pooling = Field(default_factory=Pooling)
    bands: Bands = Field(default_factory=Bands)
    statistics: Statistics = Field(default_factory=Statistics)
    tests: Tests = Field(default_factory=Tests)
    contrasts: dict[Name, ContrastEntry] = Field(
        default_factory=lambda: {name: ContrastEntry(**parts) for name, parts in CONTRASTS.items()},
        description="comparisons that are tested, declared before any number is seen",
    )
    heads: Heads = Field(default_factory=Heads)
    causal: Causal = Field(default_factory=Causal)
    figures: Figures = Field(default_factory=Figures)

    @field_validator("runs")
    @classmethod
    def runs_differ(cls, runs: tuple[Run, ...]) -> tuple[Run, ...]:
        """Refuse two runs of a study that are called the same: both would write the same files."""
        pairs = [(run.study, run.folder) for run in runs]
        twice = sorted({pair for pair in pairs if pairs.count(pair) > 1})
        if twice:
            raise ValueError(
                f"two runs are called the same: {', '.join(' x '.join(pair) for pair in twice)}; "
                "leave one out, or give it a `name`"
            )
        return runs


NO_GPUS = ("cpu", "mps")  # devices that no scheduler hands out


class ModelEntry(Section):
    """One model of config/models.yaml: a hub id with its commit, or a local folder."""

    hub: str | None = Field(None, description="hub id, organisation/name")
    revision: str | None = Field(None, description="commit of the hub's repository: 40 hexadecimal digits")
    path: str | None = Field(
        None, description="local folder with weights, configuration, tokenizer; used before the hub"
    )
    weights_sha256: str | None = Field(
        None, description="hash that the weights must have, as `weights_sha256` in the dataset says it; null = any"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "bfloat16", description="number format of the weights in use"
    )
    grid: Grid = Field("native", description="native: the processor's choice; [rows, cols]: resize to that many tokens")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="device; auto: a GPU where there is one"
    )
    device_map: Literal["auto", "balanced", "sequential"] | None = Field(
        None, description="spread the layers over all GPUs of a job (accelerate's maps) instead of one device"
    )
    quantization: Literal["8bit", "4bit"] | None = Field(
        None, description="load the weights in 8 or 4 bits, by bitsandbytes; other numbers than dtype's"
    )
    gpus: int | None = Field(
        None, ge=0, description="GPUs that one job asks a scheduler for; null = 1, or 0 where `device` is cpu or mps"
    )

    @property
    def num_gpus(self) -> int:
        """GPUs that one job asks for."""
        return int(self.device not in NO_GPUS) if self.gpus is None else self.gpus

    @model_validator(mode="after")
    def gpus_fit_the_device(self) -> Self:
        """Refuse GPUs for a device that uses none, none for one that needs them, several for one by its number."""
        fits = {**dict.fromkeys(NO_GPUS, self.num_gpus == 0), "auto": True, "cuda": self.num_gpus >= 1}
        if not fits.get(self.device, self.num_gpus == 1):
            raise ValueError(f"`gpus: {self.gpus}` does not fit `device: {self.device}`; leave `gpus` out")
        return self

    @model_validator(mode="after")
    def weights_have_one_meaning(self) -> Self:
        """Refuse weights that may change under the same name."""
        if self.hub is None and self.path is None:
            raise ValueError("needs `hub` with `revision`, or `path`")
        if self.hub is not None and not is_commit(self.revision):
            raise ValueError(
                f"needs a pinned revision: 40 hexadecimal digits of a commit, not {self.revision!r} "
                "(a branch name changes under you; take the commit from the hub's page of files)"
            )
        return self


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a full commit hash."""
    return revision is not None and len(revision) == 40 and set(revision) <= set("0123456789abcdef")


class Models(Section):
    """The whole of config/models.yaml."""

    models: dict[Name, ModelEntry]


def load_settings(path: Path | str, overrides: dict[str, Any] | None = None) -> Settings:
    """Read and check config.yaml, or settings in JSON; lists every problem. `overrides` replace top-level keys."""
    return checked(Settings, {**read_yaml(path), **(overrides or {})}, path)


def load_models(path: Path | str) -> dict[str, ModelEntry]:
    """Read and check models.yaml, or models in JSON; lists every problem."""
    return checked(Models, read_yaml(path), path).models


def read_yaml(path: Path | str) -> dict[str, Any]:
    """The mapping that a YAML file holds, or a JSON file by its ending."""
    missing = f"is not there; `git checkout {path}` brings the one that ships."
    is_json = Path(path).suffix == ".json"
    content = parse_json(read_text(Path(path), missing), path) if is_json else load_yaml(Path(path), missing)
    if not isinstance(content, dict):
        raise AtlasError(f"{shown_path(path)} must hold a mapping of settings, not {shown(content)}")
    return content


def checked(section: type[S], content: dict[str, Any], source: Path | str) -> S:
    """Content as a section; a ValidationError becomes one error that lists each problem with its nearest valid name."""
    try:
        return section.model_validate(content)
    except ValidationError as error:
        lines = [f"  {describe(section, problem)}" for problem in error.errors(include_url=False) if told_once(problem)]
        told = list(dict.fromkeys(lines))
        more = [f"  ... and {len(told) - MOST_PROBLEMS} more"] if len(told) > MOST_PROBLEMS else []
        first = f"{shown_path(source)}: {len(lines)} problem(s)"
        raise AtlasError("\n".join([first, *told[:MOST_PROBLEMS], *more])) from None


def told_once(problem: Any) -> bool:
    """Whether a problem is one of its own: a list whose items are all refused is called too short as well."""
    return problem["type"] != "too_short" or not problem["input"]


def describe(section: type[Section], problem: Any) -> str:
    """One line for one problem: where, what, and the nearest valid name."""
    where = [
        shown_path(str(part))
        for part in problem["loc"]
        if part not in ("native",) and not str(part).startswith(("tuple[", "literal"))
    ]
    place, given = ".".join(where), problem["input"]
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown setting.{nearest(where[-1], known_keys(section, where[:-1]))}"
    if problem["type"] == "literal_error":
        options = [option.strip(" '") for option in problem["ctx"]["expected"].replace(" or ", ",").split(",")]
        return f"{place}: {shown(given)} is not one of {', '.join(options)}.{nearest(str(given), options)}"
    if problem["type"] == "string_type" and isinstance(given, bool | int | float):
        written = "yes, no, on and off without quotes are true and false" if isinstance(given, bool) else "a number"
        return f"{place}: {shown(given)} is not a text ({written}); write it in quotes"
    if problem["type"] == "missing":
        return f"{place}: is missing"
    if problem["type"] == "value_error":
        return f"{place}: {problem['ctx']['error']}".removeprefix(": ")
    told = problem["msg"].replace("tuple", "list").replace("dictionary or instance of", "mapping of")
    return f"{place}: {shown(given)}: {told[0].lower()}{told[1:]}"


def known_keys(section: Any, where: list[str]) -> list[str]:
    """The keys that may stand at a place of the settings."""
    for part in where:
        if is_section(section):
            section = section.model_fields[part].annotation
        else:  # an item of a list, or a value of a mapping
            section = next((argument for argument in get_args(section) if is_section(argument)), None)
    return list(section.model_fields) if is_section(section) else []


def is_section(annotation: Any) -> bool:
    """Whether an annotation is a section of settings."""
    return (
        isinstance(annotation, type)
        and not isinstance(annotation, types.GenericAlias)
        and issubclass(annotation, Section)
    )


def effective_entry(run: Run, models: dict[str, ModelEntry]) -> ModelEntry:
    """The model entry of a run, with the run's own grid where it names one."""
    if run.model not in models:
        raise AtlasError(f"config/config.yaml: runs: unknown model {run.model!r}.{nearest(run.model, list(models))}")
    entry = models[run.model]
    return entry if run.grid is None else entry.model_copy(update={"grid": run.grid})
