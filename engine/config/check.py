"""Builds a run spec from plain values and checks it. All errors are reported at once, each at its field."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from engine.config.either_or import both_given, complete
from engine.config.fields import MOST_CHARACTERS, FieldError, did_you_mean, parse_field, section_fields
from engine.config.lora import ALL_LINEAR, FULLY_TRAINED, LoraSpec
from engine.config.methods import FULL_FINETUNING, METHODS, method_defaults
from engine.config.prompt_templates import placeholders
from engine.config.role_names import role_name_error
from engine.config.run_spec import SECTIONS, RunSpec, sections_of
from engine.config.sources import parse_source
from engine.config.training_rules import check_training
from engine.messages.message import Message, say

# Settings that the libraries have renamed.
RENAMED = {
    "training.group_by_length": "train_sampling_strategy: group_by_length",
    "training.evaluation_strategy": "eval_strategy",
    "training.max_seq_length": "model.max_seq_length",
    "training.max_length": "model.max_seq_length",
}

GRADIENT_CHECKPOINTING = "lora.use_gradient_checkpointing"  # the only one of lora that training all weights uses
MOST_UNKNOWN = 20  # unknown settings of a section that are reported one by one: a file may have thousands


def build_spec(values: Mapping[str, Any]) -> tuple[RunSpec | None, list[FieldError]]:
    """A spec from nested plain values, and all errors in them; missing fields get their defaults.

    The spec is None if a value is invalid. A spec that only breaks a rule across fields is returned along with the
    errors, so that a form can still show it.
    """
    errors: list[FieldError] = []
    values = with_method_defaults(values)
    top = _section("", values, errors, also=tuple(SECTIONS))
    parts: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        given = values.get(section)
        if given is None:
            parts[section] = kind()
        elif isinstance(given, Mapping):
            known = _section(section, complete(section, given), errors)
            if not errors:
                parts[section] = kind(**known)
        else:
            errors.append(
                FieldError(
                    section,
                    say('This is a block of settings: write "{name}:" and indent them.', name=section),
                )
            )
    if errors:
        return None, errors
    spec = RunSpec(**top, **parts)
    used, method = sections_of(spec.training.method), spec.training.method
    message = say("These settings are not those of the method {method}: leave them out.", method=method)
    foreign = [FieldError(name, message) for name in SECTIONS if name in values and name not in used]
    return spec, [*foreign, *both_given(values.get("training") or {}), *check_spec(spec)]


def with_method_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a spec, with the defaults of its training method where nothing is given."""
    found = dict(values)
    training, model = values.get("training"), values.get("model")
    method = training.get("method") if isinstance(training, Mapping) else None
    full = isinstance(model, Mapping) and model.get("full_finetuning") in (True, "true")
    for path, value in method_defaults(method if isinstance(method, str) else "sft", full).items():
        section, _, key = path.partition(".")
        given = found.get(section)
        if given is None:
            given = {}
        if isinstance(given, Mapping) and given.get(key) is None:
            found[section] = {**given, key: value}
    return found


def _section(
    section: str, values: Mapping[str, Any], errors: list[FieldError], also: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The valid values of one section; the others are added to `errors`."""
    fields = section_fields(section)
    known, unknown = {}, 0
    for key, value in values.items():
        name = str(key)[:MOST_CHARACTERS]
        path = f"{section}.{name}" if section else name
        if key in also:
            continue
        if key not in fields:
            unknown += 1
            if unknown <= MOST_UNKNOWN:
                errors.append(_unknown(path, name, [*fields, *also]))
            continue
        if value is None and fields[key].kind != "none":
            continue  # an empty YAML value means the default
        known[key], message = parse_field(fields[key], value)
        if message:
            errors.append(FieldError(path, message))
    if unknown > MOST_UNKNOWN:
        count = unknown - MOST_UNKNOWN
        errors.append(FieldError(section, say("{count} more settings are not known here.", count=count)))
    return known


def _unknown(path: str, key: str, known: list[str]) -> FieldError:
    if path in RENAMED:
        return FieldError(path, say("{key} has another name now: write {now}.", key=key, now=RENAMED[path]))
    if near := did_you_mean(key, known):
        return FieldError(path, say('Unknown setting "{key}". Did you mean {near}?', key=key, near=near))
    return FieldError(path, say('Unknown setting "{key}". Known here: {known}.', key=key, known=", ".join(known)))


def check_spec(spec: RunSpec) -> list[FieldError]:
    """Check the rules across fields. An empty list means that the spec is valid."""
    errors = list(check_training(spec))
    data, training = spec.dataset, spec.training
    if spec.model.load_in_8bit and spec.model.load_in_4bit:
        errors.append(FieldError("model.load_in_8bit", say("8 bits and 4 bits are both on: turn one off.")))
    elif spec.model.load_in_8bit and spec.model.model_name.lower().endswith("bnb-4bit"):
        stored = say("This model is stored in 4 bits: name the one without bnb-4bit to load it in 8.")
        errors.append(FieldError("model.load_in_8bit", stored))
    missing = [
        f"{{{name}}}" for name in ("instruction", "output") if name not in placeholders(data.prompt_template)
    ]
    if data.format in ("auto", "alpaca") and data.written_with != "chat_template" and missing:
        errors.append(
            FieldError(
                "dataset.prompt_template",
                say("The prompt template needs {missing}.", missing=" and ".join(missing)),
            )
        )
    if data.last_answer_only and not data.train_on_responses_only:
        needs = say("This needs training on responses only: turn that on.")
        errors.append(FieldError("dataset.last_answer_only", needs))
    if data.test_size and (data.eval_path or data.eval_split):
        errors.append(
            FieldError(
                "dataset.test_size",
                say("Rows are held out and evaluation data is given: set this to 0, or empty the other."),
            )
        )
    errors += [
        FieldError("dataset.mix", message) for line in data.mix if (message := parse_source(line)[1]) is not None
    ]
    errors += [
        FieldError("dataset.role_names", message) for line in data.role_names if (message := role_name_error(line))
    ]
    if bool(data.instruction_part) != bool(data.response_part):
        empty = "response_part" if data.instruction_part else "instruction_part"
        errors.append(FieldError(f"dataset.{empty}", say("Give both markers, or leave both empty.")))
    errors += _full_finetuning_errors(spec)
    errors += [FieldError(field, message) for field, message in METHODS[training.method].rules(spec)]
    return errors + [FieldError(f"lora.{key}", message) for key, message in _lora_errors(spec.lora)]


def _full_finetuning_errors(spec: RunSpec) -> Iterator[FieldError]:
    if not spec.model.full_finetuning:
        return
    if not METHODS[spec.training.method].full_finetuning:
        message = say("The method {method} trains an adapter: turn this off.", method=spec.training.method)
        yield FieldError(FULL_FINETUNING, message)
    for name in ("load_in_4bit", "load_in_8bit"):
        if getattr(spec.model, name):
            message = say("The whole model cannot be trained in few bits: turn this off, or train an adapter.")
            yield FieldError(f"model.{name}", message)
    if spec.model.model_name.lower().endswith("bnb-4bit"):
        message = say("This model is stored in 4 bits: name the one without bnb-4bit to train all of it.")
        yield FieldError("model.model_name", message)


def unused_settings(spec: RunSpec) -> list[str]:
    """The settings of an adapter that were changed, in a spec that trains all weights. They have no effect."""
    if not spec.model.full_finetuning:
        return []
    defaults = method_defaults(spec.training.method, full_finetuning=True)
    return [
        path
        for name, value in msgspec.structs.asdict(spec.lora).items()
        if (path := f"lora.{name}") != GRADIENT_CHECKPOINTING
        and value != defaults.get(path, getattr(LoraSpec(), name))
    ]


def _lora_errors(lora: LoraSpec) -> Iterator[tuple[str, Message]]:
    targets = lora.target_modules
    if len(set(targets)) < len(targets):
        yield "target_modules", say("A layer is named twice.")
    if ALL_LINEAR in targets and len(targets) > 1:
        yield "target_modules", say("all-linear already means every layer: leave out the others.")
    for name in lora.modules_to_save:
        leaf = name.rpartition(".")[2]
        if leaf not in FULLY_TRAINED and "norm" not in leaf:
            message = say("Only embed_tokens, lm_head and norms can be trained in full, not {name}.", name=name)
            yield "modules_to_save", message
        elif name in targets:
            yield "modules_to_save", say("{name} gets an adapter: name it in one place only.", name=name)
