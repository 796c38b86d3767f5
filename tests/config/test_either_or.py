"""Of two settings that exclude each other, the one that was given counts; none is ignored in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.config.change import Change, apply_changes
from engine.config.check import build_spec
from engine.config.run_spec import RunSpec, TrainingSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec, save_spec


def training(values: dict[str, Any]) -> TrainingSpec:
    spec, errors = build_spec({"training": values})
    assert errors == []
    assert spec is not None
    return spec.training


@pytest.mark.parametrize(
    ("given", "steps", "epochs"),
    [
        ({}, 60, 1.0),
        ({"num_train_epochs": 3}, -1, 3.0),
        ({"num_train_epochs": "1"}, -1, 1.0),
        ({"max_steps": None, "num_train_epochs": 2}, -1, 2.0),
        ({"max_steps": None}, -1, 1.0),
        ({"max_steps": -1, "num_train_epochs": 2}, -1, 2.0),
        ({"max_steps": 90}, 90, 1.0),
        ({"max_steps": 90, "num_train_epochs": None}, 90, 1.0),
    ],
)
def test_whoever_gives_epochs_means_epochs(given: dict[str, Any], steps: int, epochs: float):
    found = training(given)
    assert (found.max_steps, found.num_train_epochs) == (steps, epochs)


@pytest.mark.parametrize(
    "given", [{"max_steps": 60, "num_train_epochs": 1}, {"max_steps": "9", "num_train_epochs": 2}]
)
def test_steps_and_epochs_together_are_an_error_that_says_which_to_remove(given: dict[str, Any]):
    _, errors = build_spec({"training": given})
    assert [error.field for error in errors] == ["training.num_train_epochs"]
    assert "Remove max_steps to train for" in str(errors[0].message)


def test_files_of_an_older_loris_have_both_and_steps_count(tmp_path: Path):
    old = tmp_path / "old.yaml"
    old.write_text(
        "training:\n  max_steps: 90\n  num_train_epochs: 3.0\n  optim: adamw_8bit\n  weight_decay: 0.01\n"
        "  seed: 1\n  logging_steps: 1\n  save_total_limit: 2\n  dataset_num_proc: 2\n  report_to: none\n"
    )
    assert load_spec(old).training.max_steps == 90


def test_a_saved_spec_names_only_what_counts(tmp_path: Path):
    path = tmp_path / "spec.yaml"
    save_spec(path, RunSpec(training=TrainingSpec(max_steps=90)))
    assert "num_train_epochs" not in path.read_text()
    save_spec(path, RunSpec(training=TrainingSpec(max_steps=-1, num_train_epochs=2.0)))
    assert load_spec(path).training.num_train_epochs == 2.0
    save_spec(path, RunSpec(training=TrainingSpec(max_steps=30)))
    assert "num_train_epochs" not in path.read_text()
    assert load_spec(path).training.max_steps == 30


def changed(spec: TrainingSpec, **values: Any) -> TrainingSpec:
    changes = tuple(Change(field=f"training.{key}", value=value) for key, value in values.items())
    return apply_changes(RunSpec(training=spec), changes).training


def test_set_of_epochs_or_steps_means_what_was_set():
    assert changed(TrainingSpec(), num_train_epochs="2").max_steps == -1
    by_epochs = TrainingSpec(max_steps=-1, num_train_epochs=3.0)
    assert changed(by_epochs, max_steps="200").max_steps == 200
    assert changed(by_epochs, max_steps="-1") == by_epochs
    assert changed(by_epochs, logging_steps=2).num_train_epochs == 3.0
    with pytest.raises(SpecError, match="both given"):
        changed(TrainingSpec(), max_steps="9", num_train_epochs="2")


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (2, 1), (5, 2), (6, 5), (60, 5), (-1, 5)])
def test_the_default_warm_up_shrinks_with_the_steps(steps: int, warmup: int):
    assert training({"max_steps": steps}).warmup_steps == warmup
    assert build_spec({"training": {"max_steps": 5, "warmup_steps": 5}})[1] != []


def test_a_warm_up_share_given_alone_means_a_share():
    found = training({"warmup_ratio": 0.1})
    assert (found.warmup_steps, found.warmup_ratio) == (0, 0.1)
    assert training({"warmup_ratio": 0}).warmup_steps == 5
    assert changed(TrainingSpec(), warmup_ratio="0.1").warmup_steps == 0
    assert changed(TrainingSpec(warmup_steps=0, warmup_ratio=0.1), warmup_steps="7").warmup_ratio == 0
    _, errors = build_spec({"training": {"warmup_ratio": 0.1, "warmup_steps": 5}})
    assert [error.field for error in errors] == ["training.warmup_ratio"]


def test_8_bits_given_alone_mean_not_4():
    spec, errors = build_spec({"model": {"model_name": "owner/model", "load_in_8bit": True}})
    assert errors == []
    assert spec is not None
    assert (spec.model.load_in_4bit, spec.model.load_in_8bit) == (False, True)
    _, errors = build_spec({"model": {"load_in_8bit": True, "load_in_4bit": True}})
    assert [error.field for error in errors] == ["model.load_in_8bit"]
