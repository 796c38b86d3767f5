"""`python -m engine.dataset.template_trial`: renders the chat template on stdin, with limits on time and memory.

Run in a process of its own, in the sandbox that transformers uses: a template is a program, and a file may come
from anywhere. Writes nothing if it renders a conversation, else one line that says why not.
"""

import json
import resource
import sys
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_SECONDS = 5
MEMORY_BYTES = 512 << 20
LONGEST_TEXT = 1 << 20  # of two short turns
CONVERSATION = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"})


class Generation(Extension):
    """The block that marks what the model generates; it changes no text."""

    tags = {"generation"}  # noqa: RUF012  as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, **how: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **how)


def render(source: str) -> str:
    """The text of a short conversation. Raises whatever the template raises."""
    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    sandbox.filters["tojson"] = _to_json
    sandbox.globals |= {
        "raise_exception": _raise_exception, "strftime_now": lambda form: datetime.now().strftime(form),
    }  # fmt: skip
    return sandbox.from_string(source).render(
        messages=CONVERSATION, tools=None, documents=None, add_generation_prompt=False, bos_token="<s>",
        eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
    )  # fmt: skip


def main() -> int:
    """Try the template; returns an exit code."""
    source = sys.stdin.read()
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        text = render(source)
    except MemoryError:
        return 1
    except Exception as error:  # templates raise anything
        print(" ".join(f"{type(error).__name__}: {error}".split())[:500])  # noqa: T201
        return 2
    return 1 if len(text) > LONGEST_TEXT else 0


if __name__ == "__main__":
    sys.exit(main())
