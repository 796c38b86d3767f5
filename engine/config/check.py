"""Builds a run spec from plain values and checks it. All errors are reported at once, each at its field."""

from collections.abc import Mapping
from typing import Any

from engine.config.fields import FieldError, did_you_mean, parse_field, section_fields
from engine.config.methods import METHODS
from engine.config.prompt_templates import placeholders
from engine.config.role_names import role_name_error
from engine.config.run_spec import SECTIONS, RunSpec, sections_of
from engine.config.sources import parse_source
from engine.messages.message import say


def build_spec(values: Mapping[str, Any]) -> tuple[RunSpec | None, list[FieldError]]:
    """A spec from nested plain values, and all errors in them; missing fields get their defaults.

    The spec is None if a value is invalid. A spec that only breaks a rule across fields is returned along with the
    errors, so that a form can still show it.
    """
    errors: list[FieldError] = []
    top = _section("", values, errors, also=tuple(SECTIONS))
    parts: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        given = values.get(section)
        if given is None:
            parts[section] = kind()
        elif isinstance(given, Mapping):
            known = _section(section, given, errors)
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
    return spec, [*foreign, *check_spec(spec)]


def _section(
    section: str, values: Mapping[str, Any], errors: list[FieldError], also: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The valid values of one section; the others are added to `errors`."""
    fields = section_fields(section)
    known = {}
    for key, value in values.items():
        path = f"{section}.{key}" if section else str(key)
        if key in also:
            continue
        if key not in fields:
            errors.append(_unknown(path, str(key), [*fields, *also]))
            continue
        if value is None and fields[key].kind != "none":
            continue  # an empty YAML value means the default
        known[key], message = parse_field(fields[key], value)
        if message:
            errors.append(FieldError(path, message))
    return known


def _unknown(path: str, key: str, known: list[str]) -> FieldError:
    if near := did_you_mean(key, known):
        return FieldError(path, say('Unknown setting "{key}". Did you mean {near}?', key=key, near=near))
    return FieldError(path, say('Unknown setting "{key}". Known here: {known}.', key=key, known=", ".join(known)))


def check_spec(spec: RunSpec) -> list[FieldError]:
    """Check the rules across fields. An empty list means that the spec is valid."""
    errors: list[FieldError] = []
    data, training = spec.dataset, spec.training

    if training.max_steps == 0:
        errors.append(FieldError("training.max_steps", say("Give at least 1 step, or -1 to count in epochs.")))
    elif 0 < training.max_steps <= training.warmup_steps:
        errors.append(
            FieldError(
                "training.warmup_steps",
                say(
                    "The warm-up must be shorter than the {steps} steps of training.",
                    steps=training.max_steps,
                ),
            )
        )
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
    errors += [FieldError(field, message) for field, message in METHODS[training.method].rules(spec)]
    if len(set(spec.lora.target_modules)) < len(spec.lora.target_modules):
        errors.append(FieldError("lora.target_modules", say("A layer is named twice.")))
    return errors
