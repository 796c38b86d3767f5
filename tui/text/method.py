"""The ways to train as the wizard offers them, and how each is described."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from textual.content import Content

from engine.config.fields import field_info
from engine.config.methods import METHODS, method_defaults
from tui.text.translation import N_, _
from tui.text.values import describe_value


@dataclass(frozen=True)
class MethodChoice:
    """A method, or SFT of the whole model. `name`: as `loris demo` takes it. For the texts, see `Method`."""

    name: str
    method: str
    full_finetuning: bool
    title: str
    description: str
    data: str
    memory: str
    preset: str


def _choice(name: str, title: str = "") -> MethodChoice:
    of = METHODS[name]
    return MethodChoice(
        name, name, False, title or of.title, of.description, of.data, of.memory, of.preset
    )  # fmt: skip


_FULL = MethodChoice(
    name="full",
    method="sft",
    full_finetuning=True,
    title=N_("Full fine-tuning"),
    description=N_(
        "As SFT, but all weights are trained instead of an adapter. Right when an adapter no longer learns enough, "
        "with much data."
    ),
    data=N_("As for SFT, but thousands of rows: with few, the model forgets more than it learns."),
    memory=N_("4 to 8 times that of SFT, and each run saves a whole model. It cannot load in 4-bit."),
    preset="demo-full",
)
CHOICES: dict[str, MethodChoice] = {
    "sft": _choice("sft", N_("SFT with an adapter (LoRA, QLoRA)")),
    "full": _FULL,
    **{name: _choice(name) for name in METHODS if name != "sft"},
}


def choice_of(method: str, full_finetuning: bool) -> MethodChoice:
    """The line for these settings. Continued pretraining stays what it is when it trains the whole model."""
    return _FULL if full_finetuning and method == _FULL.method else CHOICES[method]


_NAMES = {"reward": N_("reward model"), "full": N_("full fine-tuning")}  # in lists of runs; others: in capitals


def short_name(method: str, full_finetuning: bool) -> str:
    """For a list of runs: "DPO", "reward model"; empty for SFT with an adapter, which needs no word."""
    choice = CHOICES.get("full" if full_finetuning and method == "sft" else method)
    if choice is None:
        return method  # of a later Loris
    return "" if choice.name == "sft" else _(_NAMES.get(choice.name, choice.name.upper()))


def describe_choice(choice: MethodChoice, demo: str) -> Content:
    """All about a method. `demo`: how to load its preset, empty without one."""
    rows = [(_("Data"), _(choice.data)), (_("Memory"), _(choice.memory))]
    if demo:
        rows.append((_("Demo"), demo))
    facts = [part for label, words in rows for part in (("\n" + label + "  ", "dim"), words)]
    return Content.assemble(_(choice.description), *facts)


def describe_method_settings(value: Callable[[str], Any], choice: MethodChoice) -> list[str]:
    """Which settings of other steps follow from the chosen method, and which stay. `value`: of a field."""
    usual = method_defaults(choice.method, choice.full_finetuning)
    follows = {path: wanted for path, wanted in usual.items() if value(path) == wanted}
    kept = {path: value(path) for path in usual if path not in follows}
    lines = []
    if follows:
        lines.append(_("It sets, in other steps: {settings}.").format(settings=_listed(follows)))
    if kept:
        words = _("Your own values, or the preset's, stay: {settings}. Usual here: {usual}.")
        lines.append(words.format(settings=_listed(kept), usual=_listed({path: usual[path] for path in kept})))
    return lines


def _listed(values: dict[str, Any]) -> str:
    """For example "Learning rate 5e-06, Rank 128"."""
    return ", ".join(f"{_(field_info(path).title)} {describe_value(value)}" for path, value in values.items())
