"""The question that an answer is to, without the prompt format around it."""

from engine.config.run_spec import RunSpec
from engine.dataset.detection import detect
from engine.dataset.mapping import BadRow
from engine.rewards.reward import AnswerSample


def question_of(sample: AnswerSample, spec: RunSpec) -> str:
    """The question in the sample's row; the prompt if the row has none."""
    found = detect([sample.row], spec.dataset, spec.training.method) if sample.row else None
    if found is None or found.problem:
        return sample.prompt
    try:
        turns = found.mapping.example(sample.row).as_chat()
    except BadRow:
        return sample.prompt
    return str(turns[-2]["content"]) if len(turns) > 1 else sample.prompt
