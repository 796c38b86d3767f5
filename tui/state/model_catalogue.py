"""The models that Loris suggests, from `presets/catalogue/models.yaml`."""

from functools import cache

import msgspec

from engine.config.presets import shipped_folder


class CatalogueModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`bnb_4bit` and `plain`: its Hub ids. The rest is explained in the file."""

    title: str
    bnb_4bit: str
    plain: str
    parameters: float
    memory_4bit: int
    memory_16bit: int

    def hub_id(self, load_in_4bit: bool) -> str:
        """The repository to load: quantised weights are a quarter of the download."""
        return self.bnb_4bit if load_in_4bit else self.plain

    def memory(self, load_in_4bit: bool) -> int:
        return self.memory_4bit if load_in_4bit else self.memory_16bit


@cache
def catalogue() -> tuple[CatalogueModel, ...]:
    """All of them. The first call needs some 50 ms: call it in a thread."""
    from ruamel.yaml import YAML

    text = (shipped_folder() / "catalogue" / "models.yaml").read_text("utf-8")
    return msgspec.convert(YAML(typ="safe").load(text), tuple[CatalogueModel, ...])
