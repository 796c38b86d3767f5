"""A chat template from a file, tried in a sandbox with limits on time and memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec
from engine.dataset import template_file
from engine.dataset.template_file import read_template
from engine.messages.errors import UserError

GOOD = (
    "{%- for m in messages -%}\n<|{{ m.role }}|>{% generation %}{{ m['content'] | trim }}{% endgeneration %}"
    "{{ eos_token }}\n{% if loop.last %}{% break %}{% endif %}{% endfor %}"
)
BAD = {
    "a syntax error": ("{% for m in %}", "TemplateSyntaxError"),
    "a refusal": ("{{ raise_exception('no system') }}", "no system"),
    "an escape from the sandbox": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
    "a change of the turns": ("{{ messages[0].update({'role': 'x'}) }}", "SecurityError"),
    "too much memory": ("{{ ('a' * 100000) * 100000 }}", "too much time or memory"),
    "too much time": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
        "{% endfor %}", "too much time or memory",
    ),
    "a text without end": ("{{ 'a' * 9000000 }}", "too much time or memory"),
}  # fmt: skip


def test_a_template_that_renders_is_read(tmp_path: Path) -> None:
    path = tmp_path / "my.jinja"
    path.write_text(GOOD, encoding="utf-8")
    assert read_template(str(path)) == GOOD


@pytest.mark.parametrize("name", BAD)
def test_a_template_that_fails_or_takes_too_much_is_rejected(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, words = BAD[name]
    monkeypatch.setattr(template_file, "TRIAL_SECONDS", 15)
    path = tmp_path / "my.jinja"
    path.write_text(source, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        read_template(str(path))
    assert refused.value.field == "dataset.chat_template"
    assert words in str(refused.value.message)


def test_what_is_no_text_file_is_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jinja")
    (tmp_path / "binary.jinja").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large.jinja").write_text("a" * 300_000)
    for name in ("fifo.jinja", "binary.jinja", "large.jinja", "missing.jinja", ""):
        with pytest.raises(UserError):
            read_template(str(tmp_path / name))


def test_a_path_in_a_spec_is_relative_to_the_spec(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("dataset:\n  path: ./d.jsonl\n  chat_template: ./my.jinja\n")
    spec: RunSpec = load_spec(tmp_path / "spec.yaml")
    assert spec.dataset.chat_template == str(tmp_path / "my.jinja")
