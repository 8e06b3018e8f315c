"""Held-out accuracy of a model on fresh scenes of the study's design, by generation, on the study's own code path."""

from collections.abc import Callable
from random import Random

from attention_atlas.attention import generation, prompts
from attention_atlas.attention.models import VisionLanguageModel
from attention_atlas.config import Capture, Generation, Settings
from attention_atlas.inputs.answers import find_answer
from attention_atlas.inputs.questions import Question
from attention_atlas.inputs.scenes import Scene, draw_scene
from attention_atlas.inputs.shapes_study import study_questions, study_scenes

SEED = "held out 2026"
SCENES_PER_QUARTER = 250  # 1,000 questions of each query id
SCENES_AT_ONCE = 12
# What the model should reach, by query id; its card shows both.
BARS = {"q0": 0.95, "q1": 0.95, "q2": 0.98, "q3": 0.98, "q4": 0.98, "q5": 0.98, "q6": 0.80, "q7": 0.85}

Progress = Callable[[int, int], None]


def held_out_scenes(per_quarter: int = SCENES_PER_QUARTER) -> list[Scene]:
    """Scenes of the study's design that neither training nor the study has seen (a test compares them)."""
    return study_scenes(Random(SEED), per_quarter)


def accuracy_by_query(
    source: VisionLanguageModel,
    scenes: list[Scene],
    progress: Progress = lambda done, total: None,
) -> dict[str, dict[str, int]]:
    """query id -> how many questions were asked and how many answered rightly, each scene asked the study's eight."""
    asked = study_questions(scenes, Random(SEED))
    counts = {query_id: {"questions": 0, "correct": 0} for query_id in asked[0]}
    vocabularies = {
        name: entry.answers
        for name, entry in Settings.model_fields["query_types"].get_default(call_default_factory=True).items()
    }
    for start in range(0, len(scenes), SCENES_AT_ONCE):
        chunk = slice(start, start + SCENES_AT_ONCE)
        pairs = [item for by_id in asked[chunk] for item in by_id.items()]
        texts = answers_to(source, scenes[chunk], [question for _, question in pairs], len(asked[0]))
        for (query_id, question), text in zip(pairs, texts, strict=True):
            found = find_answer(text, vocabularies[question.query_type])
            counts[query_id]["questions"] += 1
            counts[query_id]["correct"] += found is not None and found.answer == question.expected_answer
        progress(min(start + SCENES_AT_ONCE, len(scenes)), len(scenes))
    return counts


def answers_to(source: VisionLanguageModel, scenes: list[Scene], questions: list[Question], each: int) -> list[str]:
    """The texts generated for `each` questions a scene, scene after scene."""
    images = [prompts.process_image(source, draw_scene(scene)) for scene in scenes]
    of_question = [number // each for number in range(len(questions))]
    built = [
        prompts.build_prompt(source, [images[scene]], question.query, "", f"held-out {number}")
        for number, (scene, question) in enumerate(zip(of_question, questions, strict=True))
    ]
    read = generation.read_images(source, built, Capture())
    made = generation.generate(source, built, read, Generation(), Capture())
    return [
        source.processor.tokenizer.decode(row[:steps], skip_special_tokens=True)
        for row, steps in zip(made.token_id, made.num_steps, strict=True)
    ]
