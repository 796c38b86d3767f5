"""The next smaller setting after memory ran out."""

from __future__ import annotations

from engine.config.oom_fallback import next_smaller
from engine.config.run_spec import RunSpec
from tests.helpers.engine_process import with_changes


def test_smaller_and_smaller_until_nothing_is_left():
    spec, path = with_changes(RunSpec(), model={"load_in_4bit": False, "max_seq_length": 600}), []
    spec = with_changes(spec, training={"per_device_train_batch_size": 6, "gradient_accumulation_steps": 3})
    while changes := next_smaller(spec, gpu=True):
        for change in changes:
            section, _, field = change.field.partition(".")
            spec = with_changes(spec, **{section: {field: change.value}})
        training = spec.training
        path.append((training.per_device_train_batch_size, training.gradient_accumulation_steps,
                     spec.model.max_seq_length, spec.model.load_in_4bit))  # fmt: skip
    assert path == [(3, 6, 600, False), (1, 18, 600, False), (1, 18, 300, False), (1, 18, 256, False),
                    (1, 18, 256, True)]  # fmt: skip
    assert not next_smaller(with_changes(spec, model={"load_in_4bit": False}), gpu=False)


def test_fewer_processes_when_the_machine_had_no_memory_for_the_data() -> None:
    spec = with_changes(RunSpec(), training={"dataset_num_proc": 4, "per_device_train_batch_size": 2})
    (change,) = next_smaller(spec, gpu=True, host=True)
    assert (change.field, change.value) == ("training.dataset_num_proc", 1)
    fewer = next_smaller(with_changes(spec, training={"dataset_num_proc": 1}), gpu=True, host=True)
    assert fewer[0].field == "training.per_device_train_batch_size"
