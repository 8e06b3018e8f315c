"""Best and worst: the samples whose shown maps agree most and least with their targets, each as image and map."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from attention_atlas.paper.overlay import Selected, place_text, vision_mass_text
from attention_atlas.paper.sample_grid import Caption, draw_grid, largest_text
from attention_atlas.paper.style import house_style, message_figure


@house_style
def draw(samples: list[Selected], settings: Mapping[str, Any]) -> Figure:
    """The best samples in the first row, the worst in the second; titles give the AUROC of the map that is shown."""
    if not samples:
        return message_figure("No best and worst samples: no sample has both a target and a map to score.")
    ranks = [selected.told("rank") for selected in samples]
    header = (
        f"Best and worst of {samples[0].told('ranked')} samples by the AUROC of the shown map against the target, at "
        "most one sample an image. Shown of each query: its layer of highest mean AUROC, chosen on "
        f"{CHOSEN_ON[samples[0].told('layer_chosen_on')]}."
    )
    columns = max(ranks.count("best"), min(2, len(samples)))
    return draw_grid(samples, settings, columns, [caption(selected) for selected in samples], header)


CHOSEN_ON = {
    "split select": "images of the split select; ranked are those of the split evaluate",
    "the same samples": "the same samples, so the best ones flatter it",
}


def caption(selected: Selected) -> Caption:
    """Which of both a sample is, the score of the map that is shown, and which map that is."""
    layer = int(selected.told("shown_layer"))
    return Caption(
        f"{selected.told('rank')}: AUROC {selected.told('score'):.2f}, {selected.told('query_type')}",
        (
            f"layer {layer}, {vision_mass_text(selected, layer)}",
            largest_text(selected),
            f"mean of all layers: AUROC {selected.told('mean_score'):.2f}",
            place_text(selected),
            selected.sample_id,
        ),
    )
