"""What the folder of a model or an adapter is for. Reads its configuration only."""

import json
from pathlib import Path
from typing import Any


def is_reward_model(folder: Path) -> bool:
    """Whether the model or adapter in a folder scores texts. False where there is none."""
    adapter, model = _read(folder / "adapter_config.json"), _read(folder / "config.json")
    if adapter:
        return adapter.get("task_type") == "SEQ_CLS"
    return any(str(name).endswith("ForSequenceClassification") for name in model.get("architectures") or ())


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
