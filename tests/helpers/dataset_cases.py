"""Typical datasets, good and bad: the format of each, and what is learned from its first row."""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config.prompt_templates import ALPACA, ALPACA_ZH, fill
from engine.prompting.parts_as_text import TOOLS
from tests.helpers.dataset_files import (
    arrow,
    duplicate_columns_parquet,
    file,
    files,
    lines,
    parquet,
    saved_to_disk,
    table,
    zst,
)


@dataclass(frozen=True)
class Case:
    """A dataset and its expected result. `path`: the user's input, relative to the case's folder.

    `kind`: its format; `mapping`: roles and their fillers; `text`: what is learned from the first usable row;
    `rows`: how many are learned. `error`: (field, text) of the error when nothing can be learned. `late`: only
    the engine reports it, because it has the tokenizer or reads more rows. `lacks`: the parts that texts lack.
    """

    name: str
    path: str
    write: Callable[[Path], None]
    kind: str = ""
    mapping: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    rows: int = 1
    settings: dict[str, Any] = field(default_factory=dict)
    error: tuple[str, str] = ("", "")
    late: bool = False
    dropped: int = 0
    lacks: tuple[str, ...] = ()


def alpaca(instruction: str, extra: str, output: str, template: str = ALPACA) -> str:
    return fill(template, instruction=instruction, input=extra, output=output) + "</s>"


def chat(*turns: tuple[str, str]) -> str:
    ends = {"assistant": "</s>"}
    return "".join(f"<|{role}|>{content}{ends.get(role, '')}" for role, content in turns)


FULL = {"instruction": "Add.", "input": "1, 2", "output": "3"}
FULL_TEXT = alpaca("Add.", "1, 2", "3")
PAIR = {"instruction": "Who?", "output": "Loris"}
PAIR_TEXT = alpaca("Who?", "", "Loris")
QA = {"question": "Who?", "answer": "Loris"}
HI = chat(("user", "Hi"), ("assistant", "Yo"))
USER, BOT, SYSTEM = ({"role": r, "content": c} for r, c in (("user", "Hi"), ("assistant", "Yo"), ("system", "S")))
HUMAN, GPT = {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}
ROLES = {"instruction": "instruction", "output": "output"}
ASKS = {"instruction": "question", "output": "answer"}
TOOL = {"role": "tool", "content": "5"}
MESSAGES, SHARE = {"messages": [USER, BOT]}, {"conversations": [HUMAN, GPT]}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
WITH_TOOLS = {
    "messages": [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "5", "tool_call_id": "c1"},
        BOT,
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
}
TOOL_TEXT = chat(("user", "Hi"), ("assistant", ""), ("assistant", "Yo"))
TOOLS_AS_TEXT = chat(
    ("system", TOOLS.format(tools=json.dumps(WITH_TOOLS["tools"][0]))),
    ("user", "Hi"),
    ("assistant", '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'),
    ("user", "<tool_response>\n5\n</tool_response>"),
    ("assistant", "Yo"),
)
PARTS = [{"type": "text", "text": "Yo"}]
UNION_OF_ARGUMENTS = {
    "messages": [USER, *({"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": a}}]}
                         for a in ({"x": "1"}, {"y": "2"}))],
}  # fmt: skip
UNION_TEXT = chat(
    ("user", "Hi"),
    *(
        ("assistant", f'<tool_call>\n{{"name": "f", "arguments": {a}}}\n</tool_call>')
        for a in ('{"x": "1"}', '{"y": "2"}')
    ),
)
EMOJI = {"instruction": "你好 🦥 مرحبا", "output": "👩‍👩‍👧 é \u200d नमस्ते"}
LONG = {"instruction": "Sum up.", "output": "na " * 350_000}
PREFERENCE = {"prompt": "Who?", "chosen": "Loris", "rejected": "Qwen"}
INPUT_ONLY = {"instruction_column": "", "input_column": "instruction"}

GOOD = [
    # Pairs, by file type
    Case("alpaca.json", "d.json", file("d.json", json.dumps([FULL, FULL])), "alpaca",
         ROLES | {"input": "input"}, FULL_TEXT, 2),
    Case("alpaca.jsonl", "d.jsonl", file("d.jsonl", lines([FULL, FULL])), "alpaca",
         ROLES | {"input": "input"}, FULL_TEXT, 2),
    Case("alpaca.csv", "d.csv", file("d.csv", table([FULL])), "alpaca", ROLES | {"input": "input"}, FULL_TEXT),
    Case("alpaca.tsv", "d.tsv", file("d.tsv", table([FULL], "\t")), "alpaca", ROLES | {"input": "input"}, FULL_TEXT),
    Case("alpaca.parquet", "d.parquet", parquet("d.parquet", [FULL]), "alpaca", ROLES, FULL_TEXT),
    Case("alpaca.arrow stream", "d.arrow", arrow("d.arrow", [FULL], True), "alpaca", ROLES, FULL_TEXT),
    Case("alpaca.arrow file", "d.arrow", arrow("d.arrow", [FULL], False), "alpaca", ROLES, FULL_TEXT),
    Case("alpaca.jsonl.gz", "d.jsonl.gz", file("d.jsonl.gz", gzip.compress(lines([FULL]).encode())),
         "alpaca", ROLES, FULL_TEXT),
    Case("alpaca.json.gz", "d.json.gz", file("d.json.gz", gzip.compress(json.dumps([FULL]).encode())),
         "alpaca", ROLES, FULL_TEXT),
    Case("alpaca.csv.gz", "d.csv.gz", file("d.csv.gz", gzip.compress(table([FULL]).encode())),
         "alpaca", ROLES, FULL_TEXT),
    Case("alpaca.jsonl.zst", "d.jsonl.zst", file("d.jsonl.zst", zst(lines([FULL, FULL]).encode())),
         "alpaca", ROLES, FULL_TEXT, 2),
    Case("alpaca in Chinese", "d.json", file("d.json", json.dumps([FULL])), "alpaca", ROLES,
         alpaca("Add.", "1, 2", "3", ALPACA_ZH), settings={"prompt_template": ALPACA_ZH}),
    Case("own prompt text", "d.json", file("d.json", json.dumps([FULL])), "alpaca", ROLES,
         "### Q: Add. (1, 2)\n### A: 3</s>", settings={"prompt_template": "### Q: {instruction} ({input})\n### A: {output}"}),
    Case("table by columns", "d.json", file("d.json", json.dumps({"instruction": ["Who?", "q"], "output": ["Loris", "a"]})),
         "alpaca", ROLES, PAIR_TEXT, 2),
    # Instruction and output alone
    Case("ruozhiba", "d.json", file("d.json", json.dumps([PAIR])), "alpaca", ROLES | {"input": ""}, PAIR_TEXT),
    Case("ruozhiba as input", "d.json", file("d.json", json.dumps([PAIR])), "alpaca",
         {"instruction": "", "input": "instruction"}, alpaca("", "Who?", "Loris"), settings=INPUT_ONLY),
    Case("ruozhiba with a constant", "d.json", file("d.json", json.dumps([PAIR])), "alpaca",
         {"input": "instruction"}, alpaca("Answer {well}.", "Who?", "Loris"),
         settings=INPUT_ONLY | {"instruction_column": "= Answer {well}."}),
    Case("output alone, a constant asks", "d.json", file("d.json", json.dumps([{"output": "Once"}])), "alpaca",
         {"output": "output"}, alpaca("Write.", "", "Once"), settings={"instruction_column": "=Write."}),
    # Other pairs
    Case("question/answer", "d.jsonl", file("d.jsonl", lines([QA])), "alpaca", ASKS, PAIR_TEXT),
    Case("question/context/answer", "d.jsonl", file("d.jsonl", lines([QA | {"context": "A game."}])), "alpaca",
         ASKS | {"input": "context"}, alpaca("Who?", "A game.", "Loris")),
    Case("prompt/completion", "d.csv", file("d.csv", table([{"prompt": "Who?", "completion": "Loris"}])), "alpaca",
         {"instruction": "prompt", "output": "completion"}, PAIR_TEXT),
    Case("prompt/response.parquet", "d.parquet", parquet("d.parquet", [{"prompt": "Who?", "response": "Loris"}]),
         "alpaca", {"instruction": "prompt", "output": "response"}, PAIR_TEXT),
    Case("input/output", "d.tsv", file("d.tsv", table([{"input": "Who?", "output": "Loris"}], "\t")), "alpaca",
         {"instruction": "input", "input": ""}, PAIR_TEXT),
    Case("问题/回答", "d.csv", file("d.csv", table([{"问题": "Who?", "回答": "Loris"}])), "alpaca",
         {"instruction": "问题", "output": "回答"}, PAIR_TEXT),
    Case("names in capitals", "d.csv", file("d.csv", table([{"Question": "Who?", "Answer": "Loris"}])), "alpaca",
         {"instruction": "Question", "output": "Answer"}, PAIR_TEXT),
    Case("two unknown columns of text", "d.csv", file("d.csv", table([{"en": "Who?", "de": "Loris"}])), "alpaca",
         {"instruction": "en", "output": "de"}, PAIR_TEXT),
    Case("columns named by the user", "d.jsonl", file("d.jsonl", lines([{"x": "Who?", "y": "Loris", "z": 1}])),
         "alpaca", {"instruction": "x", "output": "y"}, PAIR_TEXT,
         settings={"instruction_column": "x", "output_column": "y"}),
    Case("a template of columns", "d.jsonl", file("d.jsonl", lines([{"title": "T", "body": "B", "summary": "S"}])),
         "alpaca", {"output": "summary"}, alpaca("T\nB", "", "S"),
         settings={"instruction_column": "{title}\\n{body}"}),
    Case("an answer of two columns", "d.jsonl", file("d.jsonl", lines([{"question": "Q", "why": "W", "answer": "A"}])),
         "alpaca", {"instruction": "question"}, alpaca("Q", "", "W\n\nA"),
         settings={"output_column": "{why}\n\n{answer}"}),
    Case("a pair as a chat", "d.jsonl", file("d.jsonl", lines([FULL])), "alpaca", ROLES,
         chat(("user", "Add.\n\n1, 2"), ("assistant", "3")), settings={"written_with": "chat_template"}),
    Case("a pair as a chat, with a system text", "d.jsonl", file("d.jsonl", lines([QA])), "alpaca", ASKS,
         chat(("system", "You are kind."), ("user", "Who?"), ("assistant", "Loris")),
         settings={"written_with": "chat_template", "system_column": "=You are kind."}),
    # Chats
    Case("sharegpt.json", "d.json", file("d.json", json.dumps([SHARE])), "messages", {"turns": ("conversations",)}, HI),
    Case("sharegpt.parquet", "d.parquet", parquet("d.parquet", [SHARE]), "messages", {"turns": ("conversations",)}, HI),
    Case("sharegpt with extra keys", "d.json",
         file("d.json", json.dumps([{"id": 7, "conversations": [HUMAN | {"weight": 0}, GPT | {"score": 0.5}]}])),
         "messages", {"turns": ("conversations",)}, HI),
    Case("sharegpt with a system column", "d.jsonl", file("d.jsonl", lines([SHARE | {"system": "S"}])), "messages",
         {"system": "system"}, chat(("system", "S")) + HI),
    Case("messages.jsonl", "d.jsonl", file("d.jsonl", lines([MESSAGES, MESSAGES])), "messages",
         {"turns": ("messages",)}, HI, 2),
    Case("messages.arrow", "d.arrow", arrow("d.arrow", [MESSAGES], True), "messages", {"turns": ("messages",)}, HI),
    Case("messages with a system turn", "d.jsonl", file("d.jsonl", lines([{"messages": [SYSTEM, USER, BOT]}])),
         "messages", {}, chat(("system", "S")) + HI),
    Case("messages with tools, without what is missing", "d.jsonl", file("d.jsonl", lines([WITH_TOOLS])), "messages",
         {"tools": "tools"}, TOOL_TEXT, settings={"missing_parts": "accept"},
         lacks=("tools", "tool_call", "tool_result", "empty_answer")),
    Case("messages with tools, as text", "d.jsonl", file("d.jsonl", lines([WITH_TOOLS])), "messages",
         {"tools": "tools"}, TOOLS_AS_TEXT, settings={"missing_parts": "text"}),
    Case("a thought in a key of its own", "d.jsonl",
         file("d.jsonl", lines([{"messages": [USER, BOT | {"reasoning_content": "Greet."}]}])), "messages", {}, HI,
         lacks=("thought",)),
    Case("a thought as text", "d.jsonl",
         file("d.jsonl", lines([{"messages": [USER, BOT | {"reasoning_content": "Greet."}]}])), "messages", {},
         chat(("user", "Hi"), ("assistant", "<think>\nGreet.\n</think>\n\nYo")), settings={"missing_parts": "text"}),
    Case("turns after the last answer", "d.jsonl", file("d.jsonl", lines([{"messages": [USER, BOT, USER]}])),
         "messages", {}, HI, lacks=("unanswered",)),
    Case("an Alpaca system column", "d.jsonl", file("d.jsonl", lines([PAIR | {"system": "Be kind."}])), "alpaca",
         {"system": "system"}, PAIR_TEXT, lacks=("system",)),
    Case("an Alpaca system column in the prompt template", "d.jsonl",
         file("d.jsonl", lines([PAIR | {"system": "Be kind."}])), "alpaca", {"system": "system"},
         "Be kind.\n\n" + PAIR_TEXT, settings={"prompt_template": "{system}\n\n" + ALPACA}),
    Case("an input that the prompt template has no place for", "d.jsonl", file("d.jsonl", lines([FULL])), "alpaca",
         ROLES, "### Q: Add.\n### A: 3</s>", settings={"prompt_template": "### Q: {instruction}\n### A: {output}"},
         lacks=("column",)),
    Case("a prompt template of a notebook", "d.json", file("d.json", json.dumps([FULL])), "alpaca", ROLES,
         "### Q: Add. (1, 2)\n### A: 3</s>", settings={"prompt_template": "### Q: {} ({})\n### A: {}"}),
    Case("an empty part of a content", "d.jsonl",
         file("d.jsonl", lines([{"messages": [USER, BOT | {"content": [*PARTS, {"type": "text", "text": ""}]}]}])),
         "messages", {}, HI),
    Case("an object as an answer", "d.jsonl", file("d.jsonl", lines([{"question": "Q", "answer": {"a": "b"}}])),
         "alpaca", ASKS, alpaca("Q", "", '{"a": "b"}'), lacks=("json_answer",)),
    Case("nulls of a table in tool arguments", "d.parquet", parquet("d.parquet", [UNION_OF_ARGUMENTS]), "messages", {},
         UNION_TEXT, settings={"missing_parts": "text"}),
    Case("messages as text in a csv", "d.csv", file("d.csv", table([{"messages": json.dumps([USER, BOT])}])),
         "messages", {"turns": ("messages",)}, HI),
    Case("contents in parts", "d.jsonl",
         file("d.jsonl", lines([{"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, BOT]}])),
         "messages", {}, HI),
    Case("contents now text, now parts", "d.jsonl",
         file("d.jsonl", lines([MESSAGES, {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, BOT]}])),
         "messages", {}, HI, 2),
    Case("turns in a column of any name", "d.jsonl", file("d.jsonl", lines([{"exchange": [USER, BOT]}])), "messages",
         {"turns": ("exchange",)}, HI),
    Case("prompt and completion of turns", "d.jsonl", file("d.jsonl", lines([{"prompt": [USER], "completion": [BOT]}])),
         "messages", {"turns": ("prompt", "completion")}, HI),
    Case("one object, one chat", "d.json", file("d.json", json.dumps(MESSAGES)), "messages", {}, HI),
    Case("chatml by name", "d.jsonl", file("d.jsonl", lines([MESSAGES])), "messages", {},
         "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n", settings={"chat_template": "chatml"}),
    # Text
    Case("text.jsonl", "d.jsonl", file("d.jsonl", lines([{"text": "Once."}])), "text", {"text": "text"}, "Once.</s>"),
    Case("text.parquet", "d.parquet", parquet("d.parquet", [{"text": "Once.", "url": "u"}]), "text", {}, "Once.</s>"),
    Case("lines.txt", "d.txt", file("d.txt", "Once.\r\nTwice.\r\n"), "text", {"text": "text"}, "Once.</s>", 2),
    Case("paragraphs.txt", "d.txt", file("d.txt", "Once\nmore.\n\nTwice.\n"), "text", {}, "Once\nmore.</s>", 2),
    Case("text.txt.gz", "d.txt.gz", file("d.txt.gz", gzip.compress(b"Once.")), "text", {}, "Once.</s>"),
    Case("a text of the user's columns", "d.csv", file("d.csv", table([{"title": "T", "body": "B", "n": 1}])), "text",
         {"text": "{title}: {body}"}, "T: B</s>", settings={"format": "text", "text_column": "{title}: {body}"}),
    Case("text that ends already", "d.jsonl", file("d.jsonl", lines([{"text": "Once.</s>"}])), "text", {}, "Once.</s>"),
    Case("a list of texts", "d.json", file("d.json", '["Once.", "b"]'), "text", {"text": "text"}, "Once.</s>", 2),
    Case("lines of texts", "d.jsonl", file("d.jsonl", lines(["Once.", "b"])), "text", {}, "Once.</s>", 2),
    # The content decides, not the name
    Case("a list in .jsonl", "d.jsonl", file("d.jsonl", json.dumps([PAIR] * 6)), "alpaca", ROLES, PAIR_TEXT, 6),
    Case("a list over lines in .jsonl", "d.jsonl", file("d.jsonl", json.dumps([PAIR] * 6, indent=2)), "alpaca", ROLES,
         PAIR_TEXT, 6),
    Case("a list, a row a line, in .jsonl", "d.jsonl", file("d.jsonl", json.dumps([PAIR] * 6).replace("}, ", "},\n")),
         "alpaca", ROLES, PAIR_TEXT, 6),
    Case("pretty objects in .jsonl", "d.jsonl", file("d.jsonl", "\n".join([json.dumps(PAIR, indent=4)] * 3)), "alpaca",
         ROLES, PAIR_TEXT, 3),
    Case("pretty chats in .json", "d.json", file("d.json", "\n".join([json.dumps(MESSAGES, indent=4)] * 3)),
         "messages", {}, HI, 3),
    Case("one pretty object in .jsonl", "d.jsonl", file("d.jsonl", json.dumps(MESSAGES, indent=1)), "messages", {}, HI),
    Case("lines in .json", "d.json", file("d.json", lines([PAIR] * 3)), "alpaca", ROLES, PAIR_TEXT, 3),
    Case("lines in .txt", "d.txt", file("d.txt", lines([PAIR] * 3)), "alpaca", ROLES, PAIR_TEXT, 3),
    Case("a list in .csv", "d.csv", file("d.csv", json.dumps([PAIR] * 3, indent=1)), "alpaca", ROLES, PAIR_TEXT, 3),
    Case("Parquet in .json", "d.json", parquet("d.json", [PAIR] * 3), "alpaca", ROLES, PAIR_TEXT, 3),
    Case("gzip without .gz", "d.jsonl", file("d.jsonl", gzip.compress(lines([PAIR] * 3).encode())), "alpaca", ROLES,
         PAIR_TEXT, 3),
    Case("semicolons", "d.csv", file("d.csv", table([PAIR, {"instruction": "a, b; c", "output": "d,e"}], ";")),
         "alpaca", ROLES, PAIR_TEXT, 2),
    Case("tabs in .csv", "d.csv", file("d.csv", table([PAIR] * 3, "\t")), "alpaca", ROLES, PAIR_TEXT, 3),
    Case("commas in .tsv", "d.tsv", file("d.tsv", table([PAIR] * 3)), "alpaca", ROLES, PAIR_TEXT, 3),
    Case("bars", "d.csv", file("d.csv", table([PAIR] * 3, "|")), "alpaca", ROLES, PAIR_TEXT, 3),
    Case("sep= of Excel", "d.csv", file("d.csv", "sep=;\r\n" + table([PAIR] * 3, ";")), "alpaca", ROLES, PAIR_TEXT, 3),
    Case("lists of turns", "d.json", file("d.json", json.dumps([[USER, BOT]] * 3)), "messages", {}, HI, 3),
    Case("lists of turns, one a line", "d.jsonl", file("d.jsonl", lines([[USER, BOT]] * 3)), "messages", {}, HI, 3),
    Case("one list of turns", "d.json", file("d.json", json.dumps([HUMAN, GPT])), "messages", {}, HI),
    Case("GBK, converted", "d.csv", file("d.csv", "问题,回答\nWho?,Loris\n谁,懒猴\n".encode("gbk")), "alpaca",
         {"instruction": "问题"}, PAIR_TEXT, 2, settings={"encoding": "gb18030"}),
    Case("Big5, converted", "d.jsonl",
         file("d.jsonl", lines([QA, {"question": "誰", "answer": "懶猴"}]).encode("big5")), "alpaca", ASKS, PAIR_TEXT, 2,
         settings={"encoding": "big5"}),
    Case("cp1252, converted", "d.txt", file("d.txt", "Once.\nCafé – “good”\n".encode("cp1252")), "text", {},
         "Once.</s>", 2, settings={"encoding": "cp1252"}),
    # Preference data, from which the chosen answers are learned
    Case("chosen answers", "d.jsonl", file("d.jsonl", lines([PREFERENCE])), "alpaca",
         {"instruction": "prompt", "output": "chosen"}, PAIR_TEXT,
         settings={"format": "alpaca", "instruction_column": "prompt", "output_column": "chosen"}),
    Case("chosen chats", "d.jsonl", file("d.jsonl", lines([{"chosen": [USER, BOT], "rejected": [USER, BOT]}])),
         "messages", {"turns": ("chosen",)}, HI, settings={"format": "messages", "messages_column": "chosen"}),
    # Locations
    Case("folder", ".", files({"a.jsonl": lines([PAIR]), "b.jsonl": lines([FULL]), "README.md": "x"}), "alpaca", ROLES,
         PAIR_TEXT, 2),
    Case("folder with splits", ".", files({"train.jsonl": lines([PAIR]), "test.jsonl": lines([FULL, FULL])}), "alpaca",
         ROLES, PAIR_TEXT),
    Case("folder, its test split", ".", files({"train.jsonl": lines([FULL]), "test.jsonl": lines([PAIR, FULL])}),
         "alpaca", ROLES, PAIR_TEXT, 2, settings={"split": "test"}),
    Case("pattern", "part-*.jsonl", files({"part-1.jsonl": lines([PAIR]), "part-2.jsonl": lines([FULL]), "x.jsonl": "{"}),
         "alpaca", ROLES, PAIR_TEXT, 2),
    Case("save_to_disk", "saved", saved_to_disk([PAIR, FULL | {"input": ""}]), "alpaca", ROLES, PAIR_TEXT, 2),
    Case("save_to_disk with splits", "saved", saved_to_disk([PAIR], ("train", "test")), "alpaca", ROLES, PAIR_TEXT),
    Case("a mix with weights", "a.jsonl", files({"a.jsonl": lines([PAIR]), "b.jsonl": lines([QA] * 4)}), "alpaca", ROLES,
         PAIR_TEXT, 5, settings={"mix": ("./b.jsonl, weight=0.5", "./a.jsonl, weight=2")}),
    Case("pairs and chats mixed", "a.jsonl", files({"a.jsonl": lines([QA]), "b.jsonl": lines([SHARE])}), "alpaca", ASKS,
         chat(("user", "Who?"), ("assistant", "Loris")), 2, settings={"mix": ("./b.jsonl",)}),
    Case("columns of a source in the mix", "a.jsonl",
         files({"a.jsonl": lines([{"x": "Who?", "y": "Loris"}]), "b.jsonl": lines([{"p": "q", "r": "a", "s": 1}] * 2),
                "c.jsonl": lines([QA])}), "alpaca", {"instruction": "x", "output": "y"}, PAIR_TEXT, 4,
         settings={"instruction_column": "x", "output_column": "y",
                   "mix": ("./b.jsonl, instruction_column=p, output_column=r", "./c.jsonl")}),
    Case("slice", "d.jsonl", file("d.jsonl", lines([QA, PAIR, FULL])), "alpaca", {"instruction": "instruction"},
         PAIR_TEXT, 1, settings={"split": "train[1:2]"}),
    Case("slice before a broken line", "d.jsonl", file("d.jsonl", lines([PAIR]) + "{"), "alpaca", ROLES, PAIR_TEXT, 1,
         settings={"split": "train[:1]"}),
    Case("slice in per cent", "d.jsonl", file("d.jsonl", lines([PAIR] * 10)), "alpaca", ROLES, PAIR_TEXT, 5,
         settings={"split": "train[:50%]"}),
    Case("sample", "d.jsonl", file("d.jsonl", lines([PAIR] * 10)), "alpaca", ROLES, PAIR_TEXT, 4,
         settings={"sample_rows": 4}),
    # Odd but valid
    Case("BOM.jsonl", "d.jsonl", file("d.jsonl", codecs.BOM_UTF8 + lines([PAIR]).encode()), "alpaca", ROLES, PAIR_TEXT),
    Case("BOM.csv", "d.csv", file("d.csv", codecs.BOM_UTF8 + table([PAIR]).encode()), "alpaca", ROLES, PAIR_TEXT),
    Case("UTF-16.json", "d.json", file("d.json", json.dumps([EMOJI], ensure_ascii=False).encode("utf-16")), "alpaca",
         ROLES, alpaca(EMOJI["instruction"], "", EMOJI["output"])),
    Case("UTF-16-LE without a mark.jsonl", "d.jsonl", file("d.jsonl", lines([PAIR, EMOJI]).encode("utf-16-le")),
         "alpaca", ROLES, PAIR_TEXT, 2),
    Case("UTF-16.csv", "d.csv", file("d.csv", table([PAIR]).encode("utf-16")), "alpaca", ROLES, PAIR_TEXT),
    Case("CRLF.jsonl", "d.jsonl", file("d.jsonl", lines([PAIR, PAIR]).replace("\n", "\r\n")), "alpaca", ROLES,
         PAIR_TEXT, 2),
    Case("emoji and scripts", "d.jsonl", file("d.jsonl", lines([EMOJI])), "alpaca", ROLES,
         alpaca(EMOJI["instruction"], "", EMOJI["output"])),
    Case("numbers as texts.csv", "d.csv", file("d.csv", table([{"question": "007", "answer": "1e3"}])), "alpaca", ASKS,
         alpaca("007", "", "1e3")),
    Case("dates as texts.jsonl", "d.jsonl", file("d.jsonl", lines([{"question": "When?", "answer": "2024-01-02"}])),
         "alpaca", ASKS, alpaca("When?", "", "2024-01-02")),
    Case("numbers in JSON", "d.jsonl", file("d.jsonl", lines([{"question": 1, "answer": 2.5}, QA])), "alpaca", ASKS,
         alpaca("1", "", "2.5"), 2),
    Case("nested lists", "d.jsonl", file("d.jsonl", lines([{"question": "Q", "answer": [["a", 1], []]}])), "alpaca",
         ASKS, alpaca("Q", "", '[["a", 1], []]'), lacks=("json_answer",)),
    Case("nulls", "d.jsonl", file("d.jsonl", lines([FULL | {"input": None}, FULL | {"output": None}])), "alpaca", ROLES,
         alpaca("Add.", "", "3"), dropped=1),
    Case("keys that come and go", "d.jsonl", file("d.jsonl", lines([PAIR, FULL, PAIR | {"id": "x"}, PAIR | {"id": 3}])),
         "alpaca", ROLES | {"input": "input"}, PAIR_TEXT, 4),
    Case("a row of 1 MB", "d.jsonl", file("d.jsonl", lines([LONG])), "alpaca", ROLES,
         alpaca("Sum up.", "", LONG["output"])),
    Case("a list under a key", "d.json", file("d.json", json.dumps({"version": "1", "data": [PAIR, PAIR]})), "alpaca",
         ROLES, PAIR_TEXT, 2),
    Case("a brace in the data", "d.json", file("d.json", json.dumps([{"instruction": "{output}", "output": "{x}"}])),
         "alpaca", ROLES, alpaca("{output}", "", "{x}")),
    Case("text that is not text, beside a pair", "d.json", file("d.json", json.dumps([QA | {"text": 5}])), "alpaca",
         ASKS, PAIR_TEXT),
    Case("bad rows left out", "d.jsonl",
         file("d.jsonl", lines([PAIR]) + "{broken\n" + lines([5, PAIR])), "alpaca", ROLES, PAIR_TEXT, 2,
         settings={"drop_bad_rows": True}, dropped=2),
    Case("another schema left out", "d.jsonl", file("d.jsonl", lines([PAIR, MESSAGES])), "alpaca", ROLES, PAIR_TEXT, 1,
         settings={"drop_bad_rows": True}, dropped=1),
    Case("bad turns left out", "d.jsonl", file("d.jsonl", lines([MESSAGES, {"messages": "x"}, {"messages": [5]}])),
         "messages", {}, HI, 1, settings={"drop_bad_rows": True}, dropped=2),
]  # fmt: skip

PATH, OUTPUT, TURNS = "dataset.path", "dataset.output_column", "dataset.messages_column"
MISSING = "dataset.missing_parts"
BAD = [
    Case("empty", "d.jsonl", file("d.jsonl", ""), error=(PATH, "empty")),
    Case("blank", "d.json", file("d.json", " \n"), error=(PATH, "empty")),
    Case("no rows", "d.json", file("d.json", "[]"), error=(PATH, "no rows")),
    Case("header alone", "d.csv", file("d.csv", "question,answer\n"), error=(PATH, "no rows")),
    Case("a broken line", "d.jsonl", file("d.jsonl", lines([PAIR, PAIR]) + '{"instruction": \n'),
         error=(PATH, "Line 3 is not valid JSON")),
    Case("a cut document", "d.json", file("d.json", json.dumps([PAIR])[:-4]), error=(PATH, "not valid JSON")),
    Case("top-level number", "d.json", file("d.json", "5"), error=(PATH, "Row 1 is 5")),
    Case("top-level text", "d.json", file("d.json", '"hello"'), error=(PATH, 'Row 1 is "hello"')),
    Case("a list of texts and numbers", "d.json", file("d.json", '[5, "b"]'), error=(PATH, "Row 1 is 5")),
    Case("two lists", "d.json", file("d.json", json.dumps({"train": [PAIR], "test": [PAIR]})),
         error=(PATH, "several lists of rows: train, test")),
    Case("columns twice.csv", "d.csv", file("d.csv", "question,answer,answer\na,b,c\n"),
         error=(PATH, 'Two columns are named "answer"')),
    Case("columns twice.parquet", "d.parquet", duplicate_columns_parquet, error=(PATH, 'Two columns are named "output"')),
    Case("too many cells", "d.csv", file("d.csv", "question,answer\na,b,c\n"), error=(PATH, "Line 2 has more cells")),
    Case("Latin-1", "d.jsonl", file("d.jsonl", '{"question": "é", "answer": "a"}\n'.encode("latin-1")),
         error=(PATH, "not UTF-8")),
    Case("GB18030.csv", "d.csv", file("d.csv", "问题,回答\n谁,懒猴\n".encode("gb18030")), error=(PATH, "not UTF-8")),
    Case("GBK in lines", "d.jsonl", file("d.jsonl", lines([{"question": "你好吗，请介绍一下", "answer": "我是懒猴"}] * 3).encode("gbk")),
         error=(PATH, "looks like gb18030")),
    Case("Big5", "d.csv", file("d.csv", ("問題,回答\n" + "請介紹一下你自己,我是一隻懶猴\n" * 3).encode("big5")),
         error=(PATH, "looks like big5")),
    Case("cp1252", "d.csv", file("d.csv", ("question,answer\n" + "Où êtes-vous?,À côté du café\n" * 3).encode("cp1252")),
         error=(PATH, "looks like cp1252")),
    Case("another encoding than set", "d.csv", file("d.csv", b"a,b\n\x81\xff,c\n"), settings={"encoding": "gb18030"},
         error=(PATH, "not gb18030")),
    Case("a spreadsheet", "d.xlsx", file("d.xlsx", b"PK\x03\x04" + b"x" * 99), error=(PATH, "Save the sheet as CSV")),
    Case("a spreadsheet named .csv", "d.csv", file("d.csv", b"PK\x03\x04" + b"x" * 99),
         error=(PATH, "Save the sheet as CSV")),
    Case("not gzip", "d.jsonl.gz", file("d.jsonl.gz", lines([PAIR])), error=(PATH, "cannot be decompressed")),
    Case("half a gzip", "d.jsonl.gz", file("d.jsonl.gz", gzip.compress(lines([PAIR] * 99).encode())[:40]),
         error=(PATH, "cannot be decompressed")),
    Case("not Parquet", "d.parquet", file("d.parquet", "x" * 99), error=(PATH, "not a Parquet file")),
    Case("unknown ending", "d.docx", file("d.docx", "x"), error=(PATH, "must end in one of these")),
    Case("missing", "e.jsonl", file("d.jsonl", lines([PAIR])), error=(PATH, "no such file")),
    Case("folder without data", ".", file("README.md", "x"), error=(PATH, "no data file")),
    Case("pattern of nothing", "*.jsonl", file("README.md", "x"), error=(PATH, "No file matches")),
    Case("no such split", "d.jsonl", file("d.jsonl", lines([PAIR])), settings={"split": "test"},
         error=("dataset.split", "only the split train")),
    Case("no such split in a folder", "saved", saved_to_disk([PAIR], ("train", "test")), settings={"split": "dev"},
         error=("dataset.split", "train")),
    Case("a text that is no text", "d.jsonl", file("d.jsonl", lines([{"text": 5}, {"text": 6}])),
         error=("dataset.format", '"text" contains int, not text')),
    Case("nothing to learn from", "d.csv", file("d.csv", "a,b,c\n1,2,3\n"), error=("dataset.format", "a, b, c")),
    Case("preference data", "d.jsonl", file("d.jsonl", lines([PREFERENCE])),
         error=("dataset.format", "output_column: chosen")),
    Case("no answers at all", "d.jsonl", file("d.jsonl", lines([{"instruction": "q", "output": ""}] * 2)),
         error=(OUTPUT, "empty in every row")),
    Case("a wrong name", "d.jsonl", file("d.jsonl", lines([QA])), settings={"output_column": "anwser"},
         error=(OUTPUT, "Did you mean answer?")),
    Case("a wrong name in a template", "d.jsonl", file("d.jsonl", lines([QA])),
         settings={"instruction_column": "{tilte} {question}"}, error=("dataset.instruction_column", '"tilte"')),
    Case("messages that are none", "d.jsonl", file("d.jsonl", lines([MESSAGES, {"messages": "hi"}])),
         error=(TURNS, 'Row 2: "messages" must be a list of turns')),
    Case("turns of a third kind", "d.jsonl", file("d.jsonl", lines([MESSAGES, {"messages": [{"who": "me", "text": "x"}]}])),
         error=(TURNS, "Row 2: a turn in")),
    Case("text and chats mixed", "a.jsonl", files({"a.jsonl": lines([MESSAGES]), "b.txt": "Once."}),
         settings={"mix": ("./b.txt",)}, error=("dataset.mix", "cannot be mixed")),
    Case("chats in a prompt text", "a.jsonl", files({"a.jsonl": lines([QA]), "b.jsonl": lines([SHARE])}),
         settings={"mix": ("./b.jsonl",), "written_with": "prompt_template"},
         error=("dataset.written_with", "choose the chat template")),
    Case("a mixed-in file is missing", "a.jsonl", file("a.jsonl", lines([QA])), settings={"mix": ("./b.jsonl",)},
         error=("dataset.mix", "no such file")),
    Case("evaluation data is missing", "a.jsonl", file("a.jsonl", lines([QA])), settings={"eval_path": "./b.jsonl"},
         error=("dataset.eval_path", "no such file")),
    Case("two schemas", "d.jsonl", file("d.jsonl", lines([PAIR, PAIR, MESSAGES])),
         error=("dataset.instruction_column", 'Row 3 has no column "instruction", as other rows have. It has: messages')),
    Case("two kinds of pairs", "d.jsonl", file("d.jsonl", lines([QA, QA, {"prompt": "Who?", "answer": "Loris"}])),
         error=("dataset.instruction_column", 'Row 3 has no column "question"')),
    Case("roles of nobody", "d.jsonl", file("d.jsonl", lines([MESSAGES, {"messages": [USER | {"role": "Alice"}, BOT]}])),
         error=(TURNS, 'Row 2: "messages" has a turn of "alice"')),
    Case("tool turns on a template without tools", "d.jsonl", file("d.jsonl", lines([MESSAGES, WITH_TOOLS])), late=True,
         error=(MISSING, "leaves out")),
    Case("content null with a tool call, learned as an empty answer", "d.jsonl",
         file("d.jsonl", lines([{"messages": WITH_TOOLS["messages"][:2]}])), late=True, error=(MISSING, "leaves out")),
    Case("an empty answer in the middle", "d.jsonl",
         file("d.jsonl", lines([{"messages": [USER, BOT | {"content": ""}, USER, BOT]}])), late=True,
         error=(MISSING, "teach an empty answer")),
    Case("a turn that the template skips", "d.jsonl",
         file("d.jsonl", lines([{"messages": [USER, {"role": "documents", "content": "A fact."}, BOT]}])), late=True,
         error=(MISSING, "leaves out")),
    Case("an image in a content", "d.jsonl",
         file("d.jsonl", lines([{"messages": [USER | {"content": [*PARTS, {"type": "image"}]}, BOT]}])),
         error=(TURNS, "has a part of type image. Loris trains on text")),
    Case("the template refuses a row", "d.jsonl",
         file("d.jsonl", lines([MESSAGES, {"messages": [USER, TOOL, BOT]}])),
         settings={"chat_template": "mistral"}, late=True,
         error=("dataset.chat_template", "Row 2: The chat template rejects")),
]  # fmt: skip

CASES = GOOD + BAD
