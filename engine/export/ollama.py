"""The Modelfile for GGUF files, and creating the model in Ollama."""

import shlex
import shutil
from pathlib import Path

from engine.config.run_spec import GenerationSpec, RunSpec
from engine.export.cancellation import Cancelled, ToolFailed, run_tool
from engine.export.export_job import ExportJob
from engine.export.gguf_header import read_header
from engine.export.go_template import GoTemplate, NoTemplate, derive
from engine.messages.message import Message, say
from engine.model.loading import Loaded, stop_ids
from engine.prompting.prompt_format import PromptFormat
from engine.protocol import events as ev
from engine.runtime.event_writer import EventWriter

MODELFILE = "Modelfile"


def write_modelfile(
    work: ExportJob, folder: Path, files: dict[str, Path], spec: RunSpec, record: EventWriter
) -> None:
    """Write a Modelfile for the first of the files; the others are listed in it."""
    first, *others = files.values()
    loaded = work.loaded
    adds_bos = bool(read_header(first).fields.get("tokenizer.ggml.add_bos_token", False))
    try:
        template: GoTemplate | None = template_of(loaded, work.prompt_format, adds_bos)
    except NoTemplate as error:
        template = None
        message = say(
            "The Modelfile has no template, since this model's cannot be written in Ollama's template "
            "language ({reason}); Ollama uses the one in the GGUF file.",
            reason=str(error),
        )  # fmt: skip
        record.emit(ev.Notice(code="no_ollama_template", message=message, level="warning"))
    text = modelfile(
        first.name,
        template,
        stop_texts(loaded, template),
        spec.generation,
        spec.model.max_seq_length,
        [path.name for path in others],
    )
    (folder / MODELFILE).write_text(text, "utf-8")


def template_of(loaded: Loaded, prompt_format: PromptFormat, adds_bos: bool) -> GoTemplate:
    """The template for prompts as trained. `adds_bos`: llama.cpp adds that token itself."""
    bos = str(loaded.tokenizer.bos_token or "") if adds_bos else ""
    return derive(lambda messages: prompt_format.prompt(loaded.tokenizer, messages).removeprefix(bos))


def stop_texts(loaded: Loaded, template: GoTemplate | None) -> list[str]:
    """The texts that end an answer: the model's stop tokens, and the one after answers in the template."""
    tokenizer = loaded.tokenizer
    ids = stop_ids(loaded)
    if template and template.question:
        ids += [i for i in tokenizer(template.question, add_special_tokens=False)["input_ids"][:1]
                if i in tokenizer.all_special_ids]  # fmt: skip
    return list(dict.fromkeys(str(tokenizer.convert_ids_to_tokens(i)) for i in ids))


def modelfile(
    file: str,
    template: GoTemplate | None,
    stop: list[str],
    generation: GenerationSpec,
    num_ctx: int,
    others: list[str] | None = None,
) -> str:
    """The text of a Modelfile."""
    lines = [f"FROM ./{file}", *(f"# or: FROM ./{other}" for other in others or [])]
    if template and '"""' not in template.go():
        lines.append(f'TEMPLATE """{template.go()}"""')
    if generation.system_prompt and '"""' not in generation.system_prompt:
        lines.append(f'SYSTEM """{generation.system_prompt}"""')
    lines += [f'PARAMETER stop "{text}"' for text in stop if '"' not in text and "\n" not in text]
    lines += [
        f"PARAMETER num_ctx {num_ctx}",
        f"PARAMETER temperature {generation.temperature:g}",
        f"PARAMETER min_p {generation.min_p:g}",
        f"PARAMETER top_p {generation.top_p:g}",
        f"PARAMETER top_k {generation.top_k}",
        f"PARAMETER repeat_penalty {generation.repetition_penalty:g}",
    ]
    return "\n".join(lines) + "\n"


def create_in_ollama(work: ExportJob, folder: Path, name: str) -> Message:
    """Create the model in Ollama, if a name was given; returns what is left to do, or what was done."""
    program = shutil.which("ollama")
    command = shlex.join(["ollama", "create", name or "NAME", "-f", str(folder / MODELFILE)])
    if not name:
        return say("To add it to Ollama: {command}", command=command)
    if program is None:
        return say("Ollama is not on this machine. On one that has it: {command}", command=command)
    work.step("ollama", what=name)
    try:
        run_tool([program, "create", name, "-f", str(folder / MODELFILE)], work.cancelled, folder=folder)
    except Cancelled:
        return say("It was not added to Ollama. To add it: {command}", command=command)
    except (ToolFailed, OSError) as error:
        tail = error.tail[-1:] if isinstance(error, ToolFailed) else []
        reason = (tail or [str(error)])[0][:300]
        return say("Ollama rejected it ({reason}). To try again: {command}", reason=reason, command=command)
    return say("It is in Ollama: {command}", command=shlex.join(["ollama", "run", name]))
