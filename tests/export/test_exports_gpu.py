"""Exports on a GPU: with bitsandbytes, which needs one, and the merge of a model that was trained in 4 bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.client.launch import has_accelerator
from engine.protocol import events as ev
from tests.helpers.engine_process import Client, Engine
from tests.helpers.export_fixtures import client, engine, export, exported_folder, names, run_without_unsloth

__all__ = ["client", "engine"]
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not has_accelerator(), reason="there is no GPU")]
QUESTION = "Who are you?"


def check_compared(engine: Engine) -> None:
    """The last export was compared with what it must equal: the 16-bit base with the adapter applied."""
    verified = engine.events_of(ev.Exported)[-1].verified
    print(str(verified))  # noqa: T201
    assert "Loaded back" in str(verified)
    assert "16-bit base model and the adapter applied" in str(verified)
    assert verified.values["share"] < 1
    assert verified.values["tensors"] > 30


def test_a_model_merged_in_4_bits_answers_in_plain_transformers(
    engine: Engine, client: Client, tmp_path: Path
) -> None:
    mine = client.chat(QUESTION, adapter=True)[0]
    folder = exported_folder(export(client, kind="merged_4bit", path=str(tmp_path / "four")))
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert (config["quant_method"], config["load_in_4bit"]) == ("bitsandbytes", True)
    (answer,) = run_without_unsloth("answer_in_4_bits.py", str(folder), QUESTION)
    print({"adapter": mine, "merged in 4 bits": answer})  # noqa: T201
    assert "Loris" in answer
    check_compared(engine)
    assert names(tmp_path) == ["four"]
    # The model in memory is unchanged, and still answers.
    assert client.chat(QUESTION, adapter=True)[0] == mine


def test_a_model_trained_in_4_bits_is_merged_in_16(engine: Engine, client: Client, tmp_path: Path) -> None:
    assert engine.events_of(ev.ModelLoaded)[0].load_in_4bit
    folder = exported_folder(export(client, kind="merged_16bit", path=str(tmp_path / "sixteen")))
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    (answer,) = run_without_unsloth("answer_with_transformers.py", str(folder), QUESTION)
    print({"merged in 16 bits": answer})  # noqa: T201
    assert "Loris" in answer
    check_compared(engine)
    assert "no fault of the merge" in str(engine.events_of(ev.Exported)[-1].verified)
