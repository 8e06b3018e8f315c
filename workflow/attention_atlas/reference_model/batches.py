"""Scenes and questions as tensors: pixels as the image processor gives them, token ids as the chat layout has them."""

from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from PIL import Image
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from attention_atlas.inputs.questions import Question
from attention_atlas.inputs.scenes import COLOURS, KINDS, SIZE, Scene, draw_scene
from attention_atlas.reference_model.architecture import GRID, MERGE, PATCH, PIXELS
from attention_atlas.reference_model.examples import training_questions, training_scene
from attention_atlas.reference_model.tokenizer import IMAGE, VISION_END, VISION_START

NUM_CLASSES = 1 + len(KINDS) * len(COLOURS)
IGNORED = -100
BEARING, FORMATTING = 3.0, 0.3
MOST_DETAIL = 9  # tokens: two objects and their places; longer lists would pad every other question
BEARING_WORDS = frozenset(
    (*COLOURS, *KINDS, "Yes", "No", "left", "right", "top", "bottom", "centre", *map(str, range(10)))
)


@dataclass(frozen=True)
class Segments:
    """Questions as rows padded on the right: ids, labels and loss weights, each (questions, length)."""

    input_ids: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor


def scenes(random: Random, count: int) -> list[Scene]:
    """Fresh training scenes."""
    return [training_scene(random) for _ in range(count)]


def pixel_values(batch: list[Scene]) -> torch.Tensor:
    """Normalised patches of the scenes' pictures, (images x patches, values), in the order of Qwen3-VL's processor."""
    side = (PIXELS, PIXELS)
    pictures = [np.asarray(draw_scene(scene).resize(side, Image.Resampling.BICUBIC)) for scene in batch]
    values = torch.from_numpy(np.stack(pictures)).float().div(127.5).sub(1)
    blocks = values.view(len(batch), GRID[0], MERGE, PATCH, GRID[1], MERGE, PATCH, 3)
    patches = blocks.permute(
        0, 1, 4, 2, 5, 7, 3, 6
    )  # image, cell row, cell column, row and column in it, channel, y, x
    repeated = patches.unsqueeze(6).expand(*patches.shape[:6], 2, PATCH, PATCH)  # a still image is two equal frames
    return repeated.reshape(-1, 3 * 2 * PATCH * PATCH)


def cell_classes(batch: list[Scene]) -> torch.Tensor:
    """The class of the object whose centre lies in each cell, 0 = none: (images, rows x cols)."""
    classes = torch.zeros(len(batch), *GRID, dtype=torch.long)
    for number, scene in enumerate(batch):
        for shape in scene.shapes:
            x, y = shape.centre
            kind, colour = KINDS.index(shape.kind), list(COLOURS).index(shape.colour)
            classes[number, int(y * GRID[0] // SIZE), int(x * GRID[1] // SIZE)] = 1 + kind * len(COLOURS) + colour
    return classes.flatten(1)


def prefix_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token ids in front of a question: the user's turn up to the end of the image."""
    tokens = GRID[0] * GRID[1]
    return tokenizer.encode(f"<|im_start|>user\n{VISION_START}{IMAGE * tokens}{VISION_END}")


class SegmentEncoder:
    """Encodes questions with their answers; each sentence is tokenised once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.known: dict[str, list[int]] = {}
        self.turn = tokenizer.encode("<|im_end|>\n<|im_start|>assistant\n")
        words = [word for word in tokenizer.get_vocab() if word.lstrip("Ġ") in BEARING_WORDS]
        self.bearing = frozenset(tokenizer.convert_tokens_to_ids(words))

    def encode(self, batch: list[Question], detailed: bool) -> Segments:
        """The questions as padded segments; `detailed` answers end with what the search has found."""
        rows = [self.segment(question, detailed) for question in batch]
        length = max(len(ids) for ids, _ in rows)
        input_ids = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        labels = torch.full((len(rows), length), IGNORED)
        weights = torch.zeros(len(rows), length)
        for number, (ids, answer_start) in enumerate(rows):
            answer = ids[answer_start:]
            input_ids[number, : len(ids)] = torch.tensor(ids)
            # a position is labelled with the token that it predicts: the next one
            labels[number, answer_start - 1 : len(ids) - 1] = torch.tensor(answer)
            weights[number, answer_start - 1 : len(ids) - 1] = torch.tensor(
                [BEARING if token in self.bearing else FORMATTING for token in answer]
            )
        return Segments(input_ids, labels, weights)

    def segment(self, question: Question, detailed: bool) -> tuple[list[int], int]:
        """The ids of one question with its answer, and where the answer starts."""
        asked = self.ids(question.query) + self.turn
        answer = self.ids(question.answer)
        if detailed and question.detail:
            answer = answer + self.ids(f" {question.detail}")[:MOST_DETAIL]
        return asked + answer + [self.tokenizer.eos_token_id], len(asked)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text."""
        if text not in self.known:
            self.known[text] = self.tokenizer.encode(text)
        return self.known[text]


def questions_of(batch: list[Scene], random: Random) -> list[Question]:
    """The training questions of each scene, one scene after the other."""
    return [question for scene in batch for question in training_questions(scene, random)]
