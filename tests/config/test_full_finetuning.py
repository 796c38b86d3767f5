"""Settings of a run that trains all weights."""

from __future__ import annotations

from engine.config.check import build_spec, unused_settings


def test_what_belongs_to_an_adapter_is_told_where_it_was_changed() -> None:
    for method in ("sft", "cpt"):
        values = {"model": {"model_name": "owner/model", "full_finetuning": True}, "training": {"method": method}}
        spec, errors = build_spec(values)
        assert spec
        assert not errors
        assert not spec.model.load_in_4bit
        assert spec.training.learning_rate == 2e-5
        assert unused_settings(spec) == []
        lora = {"r": 7, "use_gradient_checkpointing": False}
        changed, errors = build_spec({**values, "lora": lora})
        assert changed
        assert unused_settings(changed) == ["lora.r"]
        adapter, _ = build_spec({"training": {"method": method}, "lora": lora})
        assert adapter
        assert unused_settings(adapter) == []
