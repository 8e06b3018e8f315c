"""Causal checks: what an answer's log-probability loses where image or attention are changed, sample by sample.

Δ is the log-probability (nats) of the answer's tokens under a perturbation minus that without: negative = it hurts.
NumPy kernels on one sample's arrays, and the table of all samples. Methods, causal checks.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from attention_atlas.analysis.blocks import image_blocks
from attention_atlas.analysis.corrected_maps import image_totals, of_condition, pooled_maps, sample_bias
from attention_atlas.analysis.corrections import ImageTotals
from attention_atlas.analysis.table_columns import read_table
from attention_atlas.errors import AtlasError, nearest

KINDS = (
    *("none", "occlusion", "knockout", "deletion", "deletion_random", "insertion", "insertion_random"),
    *("twin", "control_twin", "random_region"),
)
KEYS = ["sample_id", "kind", "index"]
COLUMNS = {"sample_id": "str", "kind": "str", "index": "int32", "step": "int32", "logprob": "float32"}
CURVES = tuple((check, order) for check in ("deletion", "insertion") for order in ("map", "random"))
NO_DELTAS = pd.Series(dtype=float)
# Drops of log p (nats) are ranked in steps of this size: the order of smaller ones is that of rounding errors, which
# differ between processors. Half of the demo's regions lower log p by less than 1e-5 nats.
LEAST_DROP = 1e-3


@dataclass(frozen=True)
class Effects:
    """What the perturbations of one sample did: Δ by index of each kind, NaN = failed; `reason` = why there is none."""

    logprob: float
    deltas: Mapping[str, pd.Series] = field(default_factory=dict)
    reason: str = ""

    def at(self, kind: str, indices: Any) -> np.ndarray:
        """Δ at indices of a kind; NaN where it failed or was not made."""
        return self.deltas.get(kind, NO_DELTAS).reindex(indices).to_numpy()

    def beside(self, kind: str) -> np.ndarray:
        """Δ of the random perturbations of a kind that were made: all but that of index 0."""
        own = self.deltas.get(kind, NO_DELTAS)
        return own[own.index > 0].to_numpy()


@dataclass(frozen=True)
class Quantity:
    """A number of one sample and the kinds that it rests on; `why` it is NaN where these are there; `remark` if not."""

    value: float
    kinds: tuple[str, ...]
    why: str = "a perturbation failed"
    remark: str = ""


def region_borders(pixels: int, regions: int) -> np.ndarray:
    """The borders, in whole pixels, of `regions` parts of an image's side of `pixels`."""
    return np.round(np.linspace(0, pixels, regions + 1))


def shares_of_cells(cell_borders: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Share of each cell's length that lies between two borders: (cells, regions)."""
    starts = np.maximum(cell_borders[:-1, None], borders[None, :-1])
    ends = np.minimum(cell_borders[1:, None], borders[None, 1:])
    return np.clip(ends - starts, 0, None) / np.diff(cell_borders)[:, None]


def region_attention(p: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Attention in each region, row-major: p (row, col), shares of rows (row, R) and of columns (col, C) -> (R C,)."""
    return (rows.T @ p @ cols).ravel()


def rank_correlation(attention: np.ndarray, drop: np.ndarray) -> float:
    """Spearman correlation over regions; NaN where either is the same everywhere or not finite."""
    if not np.isfinite([attention, drop]).all() or np.ptp(attention) == 0 or np.ptp(drop) == 0:
        return np.nan
    return float(stats.spearmanr(attention, drop).statistic)


def permutation_rank(target: float, random: np.ndarray) -> float:
    """(1 + number of random Δ <= the target's) / (1 + their number): the sample's one-sided permutation p."""
    if not len(random) or not np.isfinite([target, *random]).all():
        return np.nan
    return float((1 + (random <= target).sum()) / (1 + len(random)))


def fractions(num_cells: int, steps: int) -> np.ndarray:
    """Share of the cells that are painted over (deletion) or shown (insertion) after each of 0 ... `steps` steps."""
    return np.array([round(k * num_cells / steps) / num_cells for k in range(steps + 1)])


def curve(own: Effects, check: str, order: str, causal: Mapping[str, Any]) -> np.ndarray:
    """Δ after 0 ... `steps` steps, mean over orders: deletion from the picture to nothing, insertion back to it.

    Insertion begins where deletion ends, with all cells painted over. NaN where a step failed or was not made.
    """
    steps = causal["steps"]
    kind, orders = (check, 1) if order == "map" else (f"{check}_random", causal["random_orders"])
    inner = np.arange(1, steps + (check == "deletion"))
    between = np.mean([own.at(kind, number * steps + inner) for number in range(orders)], axis=0)
    return np.array([0, *between] if check == "deletion" else [*own.at("deletion", [steps]), *between, 0])


def read_interventions(paths: Iterable[Path]) -> pd.DataFrame:
    """The interventions of a run's shards as one table; without rows where no sample was perturbed."""
    tables = [read_table("interventions", path) for path in paths]
    return pd.concat([pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS), *tables], ignore_index=True)


def effects(interventions: pd.DataFrame, answers: pd.DataFrame) -> dict[str, Effects]:
    """The effects on each perturbed sample's answer, by sample id.

    `interventions` has a row a token: sample_id, kind, index, step, logprob (nats). The score is the log-probability of
    all that was said up to the answer's last token: "There is" already tells of one. A perturbation is known where all
    these steps are, and fails where one is NaN or missing. Refuses rows that occur twice and unknown kinds.
    """
    check_interventions(interventions)
    interventions = interventions.astype({"sample_id": str, "kind": str})
    spans = answers.set_index("sample_id")[["answer_step", "answer_last_step"]]
    unknown = sorted(set(interventions["sample_id"]) - set(spans.index))
    if unknown:
        told = ", ".join(unknown[:5])
        raise AtlasError(f"interventions: {len(unknown)} sample(s) are not of this run ({told}); make them again")
    last = spans.loc[interventions["sample_id"], "answer_last_step"].to_numpy()
    said = interventions["step"] <= last
    logprob = interventions["logprob"].astype(float).where(said)
    sums = interventions.assign(logprob=logprob).groupby(KEYS)["logprob"].agg(["sum", "count"]).reset_index()
    length = (spans["answer_last_step"] + 1).loc[sums["sample_id"]].to_numpy()
    sums["score"] = sums["sum"].where(sums["count"] == length)
    found = spans["answer_step"] >= 0
    return {
        str(name): effects_of(rows) if found[name] else Effects(np.nan, reason="no answer found")
        for name, rows in sums.groupby("sample_id")
    }


def check_interventions(interventions: pd.DataFrame) -> None:
    """Refuse perturbations that nothing here reads, and those that are there twice."""
    for kind in interventions["kind"].unique():
        if kind not in KINDS:
            raise AtlasError(f"interventions: unknown kind {kind!r}.{nearest(kind, list(KINDS))}")
    twice = interventions[interventions.duplicated([*KEYS, "step"])]
    if not twice.empty:
        row = twice.iloc[0]
        where = f"sample {row['sample_id']}, {row['kind']} {row['index']}, step {row['step']}"
        raise AtlasError(f"interventions: {len(twice)} row(s) occur twice, the first: {where}; give each file once")


def effects_of(scores: pd.DataFrame) -> Effects:
    """The effects on one sample from the scores (nats) of its perturbations."""
    by_kind = {str(kind): rows.set_index("index")["score"] for kind, rows in scores.groupby("kind")}
    logprob = float(by_kind.pop("none", NO_DELTAS).get(0, np.nan))
    if np.isnan(logprob):
        return Effects(np.nan, reason="no score of the unperturbed answer")
    return Effects(logprob, {kind: own - logprob for kind, own in by_kind.items()})


def attention_in_regions(
    nodes: Mapping[str, xr.Dataset],
    generic: Mapping[str, xr.Dataset],
    wanted: Collection[str],
    settings: Mapping[str, Any],
) -> dict[str, dict[str, np.ndarray]]:
    """Sample id -> correction -> attention in each region, of the `wanted` samples: mean over layers, pooled heads.

    `nodes` and `generic` are step maps, of the latter the generic query's alone.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, own in of_condition(nodes, "").items():
        is_wanted = np.isin(own["sample"].values, list(wanted))
        totals = image_totals(own) if is_wanted.any() else None
        for place in image_blocks(own["attention"], own["image"].values):
            if is_wanted[place].any():
                found |= block_regions(own.isel(sample=place).load(), generic.get(name), totals, settings)
    return {name: found[name] for name in wanted if name in found}


def block_regions(
    node: xr.Dataset, generic: xr.Dataset | None, totals: ImageTotals | None, settings: Mapping[str, Any]
) -> dict[str, dict[str, np.ndarray]]:
    """The same of all samples of some whole images of one grid, whose images' totals are given."""
    pooled = pooled_maps(node, settings["pooling"]["heads"], generic, sample_bias(node, totals))
    shape = node.sizes["row"], node.sizes["col"]
    means = {how: maps.mean(axis=1).reshape(-1, *shape) for how, maps in pooled.items()}
    found = {}
    for number, sample_id in enumerate(node["sample"].values):
        shares = region_shares(node.isel(sample=number), settings["causal"]["regions"])
        found[str(sample_id)] = {how: region_attention(maps[number], *shares) for how, maps in means.items()}
    return found


def region_shares(sample: xr.Dataset, regions: tuple[int, int]) -> list[np.ndarray]:
    """Shares of the rows and of the columns of cells in each row and column of regions."""
    sides = zip(("row_edge", "col_edge"), ("image_height", "image_width"), regions, strict=True)
    return [
        shares_of_cells(sample[edges].values, region_borders(int(sample[pixels]), count))
        for edges, pixels, count in sides
    ]


def causal_samples(
    interventions: pd.DataFrame,
    nodes: Mapping[str, xr.Dataset],
    generic: Mapping[str, xr.Dataset] | None,
    samples: pd.DataFrame,
    answers: pd.DataFrame,
    settings: Mapping[str, Any],
) -> pd.DataFrame:
    """What the checks found in each perturbed sample, long: a row a sample and quantity; `note` says why one is NaN.

    `nodes` are the run's step maps, `generic` step maps that hold those of the condition `generic`, where it was made.
    Quantities are those of the checks that are switched on: Δ in nats, correlations, a permutation p, areas in nats.
    """
    asked = of_condition(generic or {}, "generic")
    found = effects(interventions, answers)
    attention = attention_in_regions(nodes, asked, list(found), settings)
    described = samples.set_index("sample_id")[["image", "query_id", "query_type", "num_cells"]].to_dict("index")
    corrections = ["raw", "without_sinks", *(["relative"] if asked else [])]
    rows = []
    for sample_id, own in found.items():
        sample = described[sample_id]
        maps = {how: attention.get(sample_id, {}).get(how) for how in corrections}
        keys = {name: sample[name] for name in ("image", "query_id", "query_type")}
        for name, quantity in quantities(own, maps, int(sample["num_cells"]), settings["causal"]):
            told = {"quantity": name, "value": quantity.value, "note": note_of(own, quantity)}
            rows.append({"sample_id": sample_id, **keys, **told})
    columns = ["sample_id", "image", "query_id", "query_type", "quantity", "value", "note"]
    return pd.DataFrame(rows, columns=columns).astype({"value": float})


def quantities(
    own: Effects, maps: Mapping[str, np.ndarray | None], num_cells: int, causal: Mapping[str, Any]
) -> Iterator[tuple[str, Quantity]]:
    """The quantities of one sample, by name; `maps` is its attention in regions by correction."""
    checks = causal["checks"]
    yield "logprob", Quantity(own.logprob, ())
    if "occlusion" in checks:
        drop = -own.at("occlusion", np.arange(np.prod(causal["regions"])))
        for correction, regions in maps.items():
            yield f"spearman_{correction}", correlation(drop, regions)
    if "knockout" in checks:
        target, random = own.at("knockout", [0]).item(), own.beside("knockout")
        beside = mean_of_random(random, "knockout", causal["random_sets"])
        yield "knockout_target", Quantity(target, ("knockout",))
        yield "knockout_random", beside
        yield "knockout_rank", replace(beside, value=permutation_rank(target, random))
    if "deletion" in checks:
        share = fractions(num_cells, causal["steps"]) if num_cells else np.full(causal["steps"] + 1, np.nan)
        for check, order in CURVES:
            kind = check if order == "map" else f"{check}_random"
            area = np.trapezoid(curve(own, check, order, causal), share)
            yield f"{check}_{order}", Quantity(float(area), ("deletion", kind))
    if "counterfactual" in checks:
        yield "twin", Quantity(own.at("twin", [0]).item(), ("twin",))
        yield "control_twin", Quantity(own.at("control_twin", [0]).item(), ("control_twin",))
        places = own.beside("random_region")
        yield "random_region", mean_of_random(places, "random_region", causal["random_regions"])


def mean_of_random(random: np.ndarray, kind: str, declared: int) -> Quantity:
    """The mean Δ of random perturbations of a kind, with a remark where they are fewer than declared."""
    remark = "fewer random ones than declared" if len(random) < declared else ""
    if not len(random):
        return Quantity(np.nan, (kind,), "no random ones")
    return Quantity(float(random.mean()), (kind,), remark=remark)


def correlation(drop: np.ndarray, regions: np.ndarray | None) -> Quantity:
    """The rank correlation of a sample's drops with its attention, both by region."""
    if not np.isfinite(drop).all():
        return Quantity(np.nan, ("occlusion",))
    if regions is None or not np.isfinite(regions).all():
        return Quantity(np.nan, ("occlusion",), "no attention map")
    steps = np.round(drop / LEAST_DROP)
    return Quantity(rank_correlation(regions, steps), ("occlusion",), "attention or drops are the same in all regions")


def note_of(own: Effects, quantity: Quantity) -> str:
    """What is to be told about a quantity: where it is not defined, the first reason in the order of the work."""
    if np.isfinite(quantity.value):
        return quantity.remark
    absent = [f"no {kind.replace('_', ' ')}" for kind in quantity.kinds if kind not in own.deltas]
    return own.reason or next(iter(absent), quantity.why)
