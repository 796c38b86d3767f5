"""Settings that people bring along, in a real training: the best checkpoint, early stopping, every linear layer."""

from __future__ import annotations

import json
from pathlib import Path

from engine.config.run_spec import RunSpec
from engine.protocol import events as ev
from tests.helpers.engine_process import Engine, with_changes
from tests.helpers.short_run import run_to_end, small


def test_early_stopping_keeps_the_best_checkpoint(demo: RunSpec, tmp_path: Path) -> None:
    training = {
        "max_steps": 12, "eval_steps": 2, "save_steps": 2, "warmup_steps": 0, "warmup_ratio": 0.2,
        "load_best_model_at_end": True, "early_stopping_patience": 2, "early_stopping_threshold": 50.0,
        "learning_rate": 0.05, "lr_scheduler_type": "warmup_stable_decay", "optim": "adafactor",
        "train_sampling_strategy": "group_by_length", "neftune_noise_alpha": 5.0, "max_grad_norm": 0.3,
        "per_device_eval_batch_size": 1, "eval_accumulation_steps": 1,
    }  # fmt: skip
    lora = {"target_modules": ("all-linear",), "modules_to_save": ("embed_tokens",)}
    spec = with_changes(small(demo, **training), lora=lora, dataset={"test_size": 0.02})
    engine = run_to_end(tmp_path / "run", spec, "--exit")
    finished = engine.events_of(ev.TrainingFinished)[0]
    assert (finished.outcome, finished.steps) == ("completed", 6), "three evaluations: two without so large a gain"
    notices = {notice.code: str(notice.message) for notice in engine.events_of(ev.Notice)}
    assert "ended early at step 6" in notices["stopped_early"]
    losses = {event.step: event.eval_loss for event in engine.events_of(ev.Evaluated)}
    best = min(losses, key=lambda step: losses[step])
    assert ("best_taken" in notices) == (best != 6)
    if best != 6:
        assert f"that of step {best}" in notices["best_taken"]
    assert engine.folder.has_result


def test_checkpoints_by_epoch(demo: RunSpec, tmp_path: Path) -> None:
    spec = with_changes(
        small(
            demo, max_steps=-1, num_train_epochs=2.0, save_strategy="epoch", eval_strategy="epoch", warmup_steps=0
        ),
        dataset={"test_size": 0.02, "split": "train[:12]"},
    )
    engine = run_to_end(tmp_path / "run", spec, "--exit")
    saved = [event.step for event in engine.events_of(ev.CheckpointSaved)]
    total = engine.events_of(ev.TrainingFinished)[0].steps
    assert saved == [total // 2, total]
    assert [event.step for event in engine.events_of(ev.Evaluated)] == saved


def test_new_tokens_are_trained_and_come_back_with_the_adapter(demo: RunSpec, tmp_path: Path) -> None:
    token = "<|a new token|>"
    spec = with_changes(small(demo, max_steps=4), model={"new_tokens": (token,)}, export={"merged_16bit": True})
    engine = run_to_end(tmp_path / "run", spec, "--exit")
    assert engine.events_of(ev.TrainingFinished)[0].outcome == "completed"
    assert token in (engine.folder.adapter / "tokenizer.json").read_text(encoding="utf-8")
    assert not [notice for notice in engine.events_of(ev.Notice) if notice.level == "warning"]
    (merged,) = [event for event in engine.events_of(ev.Exported) if event.kind == "merged_16bit"]
    assert token in (Path(merged.path) / "tokenizer.json").read_text(encoding="utf-8")
    adapter = json.loads((engine.folder.adapter / "adapter_config.json").read_text())
    assert set(adapter["modules_to_save"]) >= {"embed_tokens"}
    served = Engine(engine.folder.path, None, "--serve")
    served.wait_for_stage("serving")
    served.kill()
