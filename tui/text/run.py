"""Describes in sentences what a run will do, and in which settings two specs differ."""

from operator import attrgetter

from engine.config.change import Change
from engine.config.fields import field_info
from engine.config.lora import ALL_LINEAR
from engine.config.presets import Difference
from engine.config.run_spec import TARGET_MODULES, LoraSpec, RunSpec
from tui.text.method import choice_of
from tui.text.sanitize import visible
from tui.text.training import amounts_of, describe_training
from tui.text.translation import _
from tui.text.values import describe_value


def describe_run(spec: RunSpec, rows: int) -> list[str]:
    """One line per part of the run. `rows`: in the dataset's file, or 0 when not known."""
    data, lora, training, full = spec.dataset, spec.lora, spec.training, spec.model.full_finetuning
    quantised = _("in 8 bits") if spec.model.load_in_8bit else _("in full precision")
    bits = _("in 4 bits") if spec.model.load_in_4bit else quantised
    choice = choice_of(training.method, full)
    lines = [
        _("Method: {method}.").format(method=_(choice.title)),
        _("Model: {model}, loaded {bits}, texts up to {length} tokens.").format(
            model=spec.model.model_name, bits=bits, length=spec.model.max_seq_length
        ),
        _("Dataset: {path}, split {split}.").format(path=data.path, split=data.split)
        + (" " + _("{rows} rows.").format(rows=rows) if rows else "")
        + (" " + _("Only the answers are learned.") if data.train_on_responses_only else ""),
        _("The whole model is trained, without an adapter.") if full else _describe_adapter(lora),
        _("Training: learning rate {rate}.").format(rate=f"{training.learning_rate:g}")
        + " "
        + describe_training(amounts_of(lambda field: attrgetter(field)(spec), rows)),
    ]
    then = [_("Then the model is saved.") if full else _("Then the adapter is saved.")]
    if spec.export.merged_16bit:
        then.append(_("The merged 16-bit model is written as well."))
    if spec.export.gguf:
        then.append(_("GGUF files are made: {names}.").format(names=", ".join(spec.export.gguf)))
    if spec.export.push_to:
        shut = _("private") if spec.export.push_private else _("public")
        then.append(
            _("Everything is pushed to the Hub: {repo} ({shut}).").format(repo=spec.export.push_to, shut=shut)
        )
    if spec.export.copy_to:
        then.append(_("The results are copied to {folder}.").format(folder=spec.export.copy_to))
    if spec.generation.prompts:
        then.append(
            _("Test prompts answered before and after: {count}.").format(count=len(spec.generation.prompts))
        )
    return [*lines, " ".join(then)]


def _describe_adapter(lora: LoraSpec) -> str:
    targets = lora.target_modules
    if ALL_LINEAR in targets:
        words = _("Adapter: rank {rank}, alpha {alpha}, on every linear layer.")
    elif set(targets) <= set(TARGET_MODULES):
        words = _("Adapter: rank {rank}, alpha {alpha}, on {layers} of {all} kinds of layers.")
    else:
        words = _("Adapter: rank {rank}, alpha {alpha}, on {names}.")
    return words.format(
        rank=lora.r, alpha=lora.lora_alpha, layers=len(targets), all=len(TARGET_MODULES), names=", ".join(targets)
    )


def describe_differences(found: list[Difference]) -> list[str]:
    """A heading and a line for each difference; a sentence where there is none."""
    if not found:
        return [_("All settings are as in the preset.")]
    lines = [_("Changed from the preset:")]
    for one in found:
        title = _(field_info(one.field).title)
        lines.append(f"• {title} ({one.field}): {describe_value(one.before)} → {describe_value(one.after)}")
    return lines


def describe_changes(changes: tuple[Change, ...], run: str) -> list[str]:
    """The settings with which a failed run should work, and the command that resumes it with them."""
    if not changes:
        return []
    options = " ".join(f"--set {change.field}={change.value}" for change in changes)
    return [
        _("Try: {settings}").format(settings=", ".join(map(describe_change, changes))),
        _("To resume with that: {command}").format(command=visible(f"loris resume {run} {options}")),
    ]


def describe_change(change: Change) -> str:
    """A setting and its new value."""
    try:
        title = _(field_info(change.field).title)
    except KeyError:
        title = ""  # of an engine of another version
    return visible(f"{title} ({change.field}): {describe_value(change.value)}".lstrip())
