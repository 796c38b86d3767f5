"""Smaller settings after an out-of-memory error."""

from __future__ import annotations

from engine.config.change import apply_changes
from engine.config.check import check_spec
from engine.config.oom_fallback import smaller_settings
from engine.config.run_spec import RunSpec
from tests.helpers.engine_process import with_changes


def test_settings_get_smaller_until_nothing_is_left():
    spec, path = with_changes(RunSpec(), model={"load_in_4bit": False, "max_seq_length": 600}), []
    spec = with_changes(spec, training={"per_device_train_batch_size": 6, "gradient_accumulation_steps": 3})
    while changes := smaller_settings(spec, gpu=True):
        for change in changes:
            section, _, field = change.field.partition(".")
            spec = with_changes(spec, **{section: {field: change.value}})
        training = spec.training
        path.append((training.per_device_train_batch_size, training.gradient_accumulation_steps,
                     spec.model.max_seq_length, spec.model.load_in_4bit))  # fmt: skip
    assert path == [(3, 6, 600, False), (1, 18, 600, False), (1, 18, 300, False), (1, 18, 256, False),
                    (1, 18, 256, True)]  # fmt: skip
    assert not smaller_settings(with_changes(spec, model={"load_in_4bit": False}), gpu=False)


def test_fewer_processes_when_host_memory_ran_out() -> None:
    spec = with_changes(RunSpec(), training={"dataset_num_proc": 4, "per_device_train_batch_size": 2})
    (change,) = smaller_settings(spec, gpu=True, host=True)
    assert (change.field, change.value) == ("training.dataset_num_proc", 1)
    fewer = smaller_settings(with_changes(spec, training={"dataset_num_proc": 1}), gpu=True, host=True)
    assert fewer[0].field == "training.per_device_train_batch_size"


def test_fewer_and_shorter_answers_of_grpo_keep_to_its_rules() -> None:
    spec = with_changes(
        RunSpec(), model={"load_in_4bit": True, "max_seq_length": 600},
        training={"method": "grpo", "per_device_train_batch_size": 12, "gradient_accumulation_steps": 2},
        grpo={"num_generations": 8, "max_completion_length": 200, "rewards": ("answer",)},
        dataset={"train_on_responses_only": True},
    )  # fmt: skip
    assert not check_spec(spec)
    path = []
    while changes := smaller_settings(spec, gpu=True):
        spec = apply_changes(spec, changes)
        assert not check_spec(spec)
        training, grpo = spec.training, spec.grpo
        path.append((training.per_device_train_batch_size, training.gradient_accumulation_steps,
                     grpo.max_completion_length, grpo.num_generations, spec.model.max_seq_length))  # fmt: skip
    assert path == [
        (6, 4, 200, 8, 600), (3, 8, 200, 8, 600), (1, 24, 200, 8, 600), (1, 24, 100, 8, 600),
        (1, 24, 64, 8, 600), (1, 12, 64, 4, 600), (1, 6, 64, 2, 600), (1, 6, 64, 2, 300), (1, 6, 64, 2, 256),
    ]  # fmt: skip


def test_a_whole_model_is_never_loaded_in_4_bits_and_pieces_keep_their_length() -> None:
    least = {"per_device_train_batch_size": 1}
    whole = with_changes(RunSpec(), model={"full_finetuning": True, "load_in_4bit": False}, training=least)
    (shorter,) = smaller_settings(whole, gpu=True)
    assert shorter.field == "model.max_seq_length"
    assert not smaller_settings(with_changes(whole, model={"max_seq_length": 256}), gpu=True)
    pieces = with_changes(RunSpec(), training={**least, "method": "cpt"})
    assert not smaller_settings(pieces, gpu=True), "another length would make other rows"
    cut = with_changes(pieces, cpt={"long_documents": "cut"})
    assert smaller_settings(cut, gpu=True)[0].field == "model.max_seq_length"
