"""Prompt templates for instruction data. The English one is the Alpaca format, as published."""

import re

ALPACA = """\
Below is an instruction that describes a task, paired with an input that provides further context. \
Write a response that appropriately completes the request.

### Instruction:
{instruction}

### Input:
{input}

### Response:
{output}"""

ALPACA_ZH = """\
下面是一条描述任务的指令，并附有提供更多背景的输入。请写出恰当完成该请求的回答。

### 指令：
{instruction}

### 输入：
{input}

### 回答：
{output}"""

PROMPT_TEMPLATES = {"alpaca": ALPACA, "alpaca-zh": ALPACA_ZH}

PLACEHOLDERS = ("system", "instruction", "input", "output")
_IN_ORDER = {2: ("instruction", "output"), 3: ("instruction", "input", "output")}
_FORMAT_BRACES = re.compile(r"\{\{|\}\}|\{\}")
_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")


def placeholders(template: str) -> set[str]:
    """The names among `PLACEHOLDERS` that a prompt template uses. Other braces are plain text."""
    return set(_PLACEHOLDER.findall(template))


def with_names(template: str) -> str:
    """A prompt template with names. The notebooks write `{}` in order, as `str.format` fills it."""
    names = _IN_ORDER.get(template.count("{}"))
    if names is None or placeholders(template):
        return template
    named = iter(names)
    return _FORMAT_BRACES.sub(lambda match: f"{{{next(named)}}}" if match[0] == "{}" else match[0][0], template)


def fill(template: str, **values: str) -> str:
    """Fill a prompt template in one pass, so that braces inside a value stay as they are."""
    if template.startswith("{system}") and not values.get("system"):
        template = template.removeprefix("{system}").lstrip("\n")
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], ""), template)


def before_answer(template: str) -> str:
    """The part of a prompt template before the answer: the prompt that the model continues."""
    return template.partition("{output}")[0]
