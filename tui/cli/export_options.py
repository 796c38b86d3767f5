"""The options of `loris export`: light, because every start of Loris builds them."""

import argparse

from engine.config.quantizations import ALIASES, QUANTIZATIONS
from tui.text.translation import _


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `loris export`."""
    add = parser.add_argument
    add("run", metavar="RUN", help=_("the run: its name as in the list, or its folder"))
    add(
        "--rest", action="store_true",
        help=_("carry out what the run's spec asks for after training and is not done, then its confirmed command"),
    )  # fmt: skip
    add("--adapter", action="store_true", help=_("the LoRA adapter and its tokenizer"))
    add("--merged-16bit", action="store_true", help=_("adapter and base model in one, in 16 bits (vLLM)"))
    add("--merged-4bit", action="store_true", help=_("the same in 4 bits by bitsandbytes; needs a GPU"))
    add(
        "--gguf", metavar="NAME,NAME", default="",
        help=_("GGUF files for llama.cpp and Ollama: {names}").format(names=", ".join((*QUANTIZATIONS, *ALIASES))),
    )  # fmt: skip
    add("--to", metavar="DIR", default="", help=_("the folder to export to; without it, the run's own exports"))
    add("--overwrite", action="store_true", help=_("replace what an earlier export left there"))
    add("--llama-cpp", metavar="DIR", default="", help=_("where llama.cpp is, if not where Unsloth looks for it"))
    add(
        "--fetch-llama-cpp", action="store_true",
        help=_("download llama.cpp's sources and build it, if there is none: 37 MB or a little more, 3-15 "
               "minutes"),
    )  # fmt: skip
    add("--ollama", metavar="NAME", default="", help=_("add the GGUF file to Ollama under this name"))
    add(
        "--push",
        metavar="USER/NAME",
        default="",
        help=_("push what was exported to the Hub; of several kinds, each into a repository of its own"),
    )
    seen = parser.add_mutually_exclusive_group()
    seen.add_argument("--private", action="store_true", help=_("only you see the repository, which is the default"))
    seen.add_argument("--public", action="store_true", help=_("everyone sees the repository"))
    add("--stay", action="store_true", help=_("finish the export even if this command is killed or the line drops"))
    add("--json", action="store_true", help=_("print progress and results as JSON lines"))
