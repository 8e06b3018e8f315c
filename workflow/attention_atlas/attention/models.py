"""Models: from an entry of config/models.yaml to weights and processor ready to be asked, with their provenance."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import model_info, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from PIL import Image
from safetensors import SafetensorError
from transformers import BitsAndBytesConfig
from transformers.utils import is_bitsandbytes_available
from transformers.utils.logging import disable_progress_bar

from attention_atlas.attention.capture import KERNEL
from attention_atlas.attention.checkpoints import grid_problem
from attention_atlas.attention.device_errors import first_line, out_of_memory
from attention_atlas.attention.devices import devices_of_process
from attention_atlas.attention.families import FAMILIES, Family, SquareFamily
from attention_atlas.config import ModelEntry
from attention_atlas.errors import AtlasError
from attention_atlas.provenance import file_sha256

logger = logging.getLogger(__name__)
KERNELS = {"text_config": KERNEL, "vision_config": "sdpa"}
HUB_TIMEOUT = 10  # seconds
NEEDED_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt"]
SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_STRETCH = 0.05
MORE_MEMORY = (
    "Use a device with more memory, `device_map: auto` with more `gpus`, `quantization`, or a smaller model "
    "(config/models.yaml); random weights lie whole on one device, and are left out without `random_weights` among "
    "controls.conditions"
)


@dataclass(frozen=True)
class VisionLanguageModel:
    """A model with its processor; `weights_sha256` names the weights whatever folder they lie in."""

    name: str
    model: Any
    processor: Any
    family: Family
    grid: str | tuple[int, int]
    revision: str
    weights_sha256: str
    quantization: str = "none"

    @property
    def text_config(self) -> Any:
        """The configuration of the language model."""
        return self.model.config.get_text_config()

    @property
    def decoder_layers(self) -> Sequence[torch.nn.Module]:
        """The layers of the language model, by depth."""
        return self.model.model.language_model.layers

    @property
    def captured_layers(self) -> list[int]:
        """Depth indices of the full-attention layers."""
        types = (
            getattr(self.text_config, "layer_types", None) or ["full_attention"] * self.text_config.num_hidden_layers
        )
        return [layer for layer, kind in enumerate(types) if kind == "full_attention"]

    @property
    def refused(self) -> dict[str, str]:
        """What cannot be kept of this model, by the setting of `capture`, with the reason."""
        quantized = getattr(self.model, "is_quantized", False)
        packed = {"value_weighted": "its projections are packed in few bits, and norms of projected values need them"}
        return {**self.family.refused, **(packed if quantized else {})}

    @property
    def shares_prefix(self) -> bool:
        """Whether what comes before a query can be read once for all queries, and padded behind.

        Sliding windows and recurrent states would count the padding.
        """
        return len(self.captured_layers) == self.text_config.num_hidden_layers

    @property
    def cell_pixels(self) -> int:
        """Side of the square of processed pixels behind one vision token."""
        return self.family.cell_pixels(self.processor)

    @property
    def markers(self) -> tuple[int, int]:
        """The ids of the tokens before and after an image's span."""
        first, last = (getattr(self.model.config, name, None) for name in self.family.markers)
        if first is None or last is None:
            first, last = (getattr(self.processor, name) for name in self.family.markers)
        return first, last


def load(name: str, entry: ModelEntry, random_seed: int | None = None) -> VisionLanguageModel:
    """Load a model for inference with the capturing attention; errors say what to do where it cannot be had.

    With `random_seed` the same architecture, processor and grid with weights drawn anew (Adebayo et al. 2018).
    """
    folder = model_folder(name, entry)
    family = family_of(name, folder)
    processor = load_processor(name, family, folder)
    check_grid(name, entry.grid, family, processor)
    if random_seed is None:
        weights = checked_weights(name, entry, folder)
        model = load_weights(family, folder, entry)
    else:
        weights = f"drawn with seed {random_seed}"
        model = random_weights(family, folder, entry, random_seed)
    return VisionLanguageModel(
        name=name,
        model=model,
        processor=processor,
        family=family,
        grid=entry.grid,
        revision=entry.revision or "local folder",
        weights_sha256=weights,
        quantization=(entry.quantization if random_seed is None else None) or "none",
    )


def model_folder(name: str, entry: ModelEntry) -> Path:
    """The local folder of a model: its `path`, or the hub's snapshot of the pinned commit."""
    if entry.path is not None:
        if not (Path(entry.path) / "config.json").is_file():
            raise AtlasError(
                f"model {name!r}: {entry.path} holds no config.json. Put the checkpoint's files there, "
                "or correct `path` in config/models.yaml"
            )
        return Path(entry.path)
    try:
        return snapshot(str(entry.hub), str(entry.revision))
    except Exception as error:  # the hub's client raises many kinds
        raise AtlasError(
            f"model {name!r}: cannot get {entry.hub} at commit {entry.revision}: {reason_of(error)} "
            f"({type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no details'}). "
            f"Or download the files elsewhere and name their folder as `path` of {name!r} in config/models.yaml"
        ) from error


def snapshot(hub: str, revision: str) -> Path:
    """Return the folder of a commit's files: downloaded, or from the hub's cache where the hub does not answer.

    The hub is asked once before the download, which would try for half a minute to reach one that is not there.
    """
    wanted: dict[str, Any] = {"revision": revision, "allow_patterns": NEEDED_FILES}
    try:
        model_info(hub, revision=revision, timeout=HUB_TIMEOUT)
    except Exception as refusal:  # the hub's client raises many kinds
        try:
            return Path(snapshot_download(hub, **wanted, local_files_only=True))
        except LocalEntryNotFoundError:
            if isinstance(refusal, HfHubHTTPError):  # it answered, and knows better than the cache what is wrong
                raise refusal from None
            raise LocalEntryNotFoundError(f"{type(refusal).__name__}: {refusal}") from refusal
    return Path(snapshot_download(hub, **wanted))


def reason_of(error: Exception) -> str:
    """What a failed download most likely means, and what to do."""
    reasons = {
        GatedRepoError: "its authors give it to those who ask: accept its terms on its page, then `hf auth login`",
        RevisionNotFoundError: "it has no such commit: take `revision` from its page of files",
        RepositoryNotFoundError: "there is no such repository, or it is private: check `hub`, or `hf auth login`",
        LocalEntryNotFoundError: "the hub cannot be reached, and the files are not in its cache: check the network",
        OSError: "the hub cannot be reached, or the disk is full: check the network and the space of the hub's cache",
    }
    return next((told for kind, told in reasons.items() if isinstance(error, kind)), "the download failed")


def checked_weights(name: str, entry: ModelEntry, folder: Path) -> str:
    """The hash of a checkpoint's weights; refuses files that are not what the hub, or the model's entry, says.

    The hub's cache names large files by their SHA-256.
    """
    hashes = {path: file_sha256(path) for path in sorted(folder.glob("*.safetensors"))}
    for path, sha256 in hashes.items():
        promised = path.resolve().name
        if SHA256.fullmatch(promised) and promised != sha256:
            raise AtlasError(
                f"model {name!r}: {path.name} is damaged: its SHA-256 is {sha256}, the hub's {promised}. Remove "
                f"{path.resolve()} and run again, which downloads it anew"
            )
    found = weights_sha256(hashes)
    if entry.weights_sha256 not in (None, found):
        raise AtlasError(
            f"model {name!r}: the weights in {folder} have the hash {found}, config/models.yaml says "
            f"{entry.weights_sha256}. Put the right files there, or correct `weights_sha256`"
        )
    return found


def family_of(name: str, folder: Path) -> Family:
    """The family of a checkpoint's model; refuses checkpoints that cannot be asked or lack their weights."""
    try:
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise AtlasError(f"model {name!r}: {folder / 'config.json'} cannot be read ({error})") from error
    if model_type not in FAMILIES:
        raise AtlasError(
            f"model {name!r}: {folder} is of model_type {model_type!r}; those that can be asked: "
            f"{', '.join(FAMILIES)}. Name another model in config/models.yaml"
        )
    if not any(folder.glob("*.safetensors")):
        raise AtlasError(f"model {name!r}: {folder} holds no *.safetensors weights; put the checkpoint's files there")
    return FAMILIES[model_type]


def load_processor(name: str, family: Family, folder: Path) -> Any:
    """The tokenizer, chat template and image processor of a checkpoint."""
    try:
        return family.processor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise AtlasError(f"model {name!r}: {folder} has no usable processor files ({error})") from error


def load_weights(family: Family, folder: Path, entry: ModelEntry) -> Any:
    """The weights on their devices, text attention captured, vision attention by the stock kernel."""
    disable_progress_bar()  # a bar of weights among the lines of many jobs says nothing; the log has the time
    with fitting(folder):
        try:
            model = family.model.from_pretrained(
                folder,
                dtype=getattr(torch, entry.dtype),
                attn_implementation=KERNELS,
                quantization_config=quantization_of(entry),
                **placement(entry),
            )
        except SafetensorError as error:
            raise AtlasError(
                f"{folder}: its weights cannot be read ({error}); put the checkpoint's files there anew"
            ) from error
        if not entry.device_map and not entry.quantization:
            return model.to(device_of(entry)).eval()
    aside = {str(place) for place in (getattr(model, "hf_device_map", None) or {}).values()} & {"cpu", "disk"}
    if aside and device_of(entry).type == "cuda":
        raise AtlasError(f"{folder}: part of the weights does not fit onto the {entry.num_gpus} GPU(s). {MORE_MEMORY}")
    return model.eval()


@contextmanager
def fitting(folder: Path) -> Iterator[None]:
    """Tell weights that do not fit into memory as such."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise AtlasError(
            f"{folder}: the weights do not fit into memory ({first_line(error)}). {MORE_MEMORY}"
        ) from error


def quantization_of(entry: ModelEntry) -> BitsAndBytesConfig | None:
    """How weights are packed while they are loaded: linear layers alone, sums in the entry's dtype."""
    if entry.quantization is None:
        return None
    if not is_bitsandbytes_available():
        raise AtlasError(
            f"quantization: {entry.quantization} needs the package bitsandbytes, which is not installed; "
            "`pip install bitsandbytes`, or leave quantization out"
        )
    if entry.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, entry.dtype)
    )


def random_weights(family: Family, folder: Path, entry: ModelEntry, seed: int) -> Any:
    """The architecture of a checkpoint with weights as its authors would draw them before training, on one device."""
    config = family.model.config_class.from_pretrained(folder)
    with fitting(folder), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = family.model._from_config(config, dtype=getattr(torch, entry.dtype), attn_implementation=KERNELS)
        return model.to(device_of(entry)).eval()


def placement(entry: ModelEntry) -> dict[str, Any]:
    """How the layers are spread while they are loaded: over the GPUs of this job; nothing to say for one device."""
    if entry.device_map is None:
        return {"device_map": device_of(entry)} if entry.quantization else {}
    if device_of(entry).type != "cuda":
        return {"device_map": entry.device_map}
    free = {device.index: int(0.9 * torch.cuda.mem_get_info(device)[0]) for device in claimed_gpus(entry)}
    return {"device_map": entry.device_map, "max_memory": free}


def device_of(entry: ModelEntry) -> torch.device:
    """The device of an entry; auto takes a GPU of this job where there is one. Refuses a GPU where there is none."""
    there = torch.cuda.is_available()
    if entry.device == "auto":
        return claimed_gpus(entry)[0] if there and entry.num_gpus else torch.device("cpu")
    if entry.device.startswith("cuda") and not there:
        raise AtlasError(
            f"config/models.yaml says `device: {entry.device}`, but torch finds no GPU here: see `nvidia-smi`, "
            "install a CUDA build of torch, or set the device to auto or cpu"
        )
    return claimed_gpus(entry)[0] if entry.device == "cuda" else torch.device(entry.device)


def claimed_gpus(entry: ModelEntry) -> tuple[torch.device, ...]:
    """The GPUs that this process has for itself."""
    return devices_of_process(entry.num_gpus)


def weights_sha256(hashes: Mapping[Path, str]) -> str:
    """One hash over a model's weight files with their hashes, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(hashes):
        digest.update(f"{path.name} {hashes[path]}\n".encode())
    return digest.hexdigest()


def check_grid(name: str, grid: str | tuple[int, int], family: Family, processor: Any) -> None:
    """Refuse a grid that the processor would not keep."""
    if isinstance(grid, str):
        return
    cell = family.cell_pixels(processor)
    means = f"model {name!r}: grid {list(grid)} means {grid[0] * cell} x {grid[1] * cell} px"
    if isinstance(family, SquareFamily):
        side = family.side(processor)
        if grid != (side, side):
            raise AtlasError(f"{means}, but it sees every image as {side} x {side} cells. Choose that grid, or native")
        return
    size = processor.image_processor.size
    problem = grid_problem(name, grid, cell, size.shortest_edge, size.longest_edge)
    if problem:
        raise AtlasError(problem)


def resize_to_grid(image: Image.Image, grid: str | tuple[int, int], cell: int) -> Image.Image:
    """The image as the processor is to see it: unchanged (native), or of rows x cols cells of `cell` pixels."""
    if isinstance(grid, str):
        return image
    rows, cols = grid
    return image.resize((cols * cell, rows * cell), Image.Resampling.BICUBIC)


def stretch(image: Image.Image, grid: str | tuple[int, int]) -> float:
    """How much a grid changes the aspect ratio of an image: 0 = kept, 0.1 = one side 10 % longer."""
    if isinstance(grid, str):
        return 0.0
    ratio = (image.width / image.height) / (grid[1] / grid[0])
    return max(ratio, 1 / ratio) - 1


def warn_of_stretched(names: list[str], grid: str | tuple[int, int]) -> None:
    """Tell how many images a grid distorts by more than `MOST_STRETCH`."""
    if names:
        logger.warning(
            "grid %s changes the aspect ratio of %d image(s) by more than %d %%: %s. With `grid: native` it is kept",
            grid,
            len(names),
            round(100 * MOST_STRETCH),
            ", ".join(names[:5]) + (", ..." if len(names) > 5 else ""),
        )
