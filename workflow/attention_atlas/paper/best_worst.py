"""Best and worst: the samples whose maps agree most and least with their targets, as image and map over the image."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from attention_atlas.paper.overlay import Selected
from attention_atlas.paper.sample_grid import draw_grid
from attention_atlas.paper.style import house_style, message_figure


@house_style
def draw(samples: list[Selected], settings: Mapping[str, Any]) -> Figure:
    """The best samples in the first row, the worst in the second; each map is of the layer of its highest AUROC."""
    if not samples:
        return message_figure("No best and worst samples: no sample has both a target and a map to score.")
    ranks = [selected.told("rank") for selected in samples]
    header = (
        f"Best and worst of {samples[0].told('ranked')} samples by the AUROC of the map against the target, mean over "
        "layers, at most one sample an image. Shown: the layer of the sample's highest AUROC."
    )
    columns = max(ranks.count("best"), min(2, len(samples)))
    return draw_grid(samples, settings, columns, title, score_text, header)


def title(selected: Selected) -> str:
    """The title of a sample: whether it is one of the best or of the worst, and by which score."""
    return f"{selected.told('rank')}: AUROC {selected.told('score'):.2f}, {selected.told('query_type')}"


def score_text(selected: Selected, layer: int) -> str:
    """The score of the map that is shown."""
    return f"AUROC here {selected.told('shown_score'):.2f}"
