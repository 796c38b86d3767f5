"""The demo model and dataset keep their promises; nothing here needs torch."""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from presets.demo import corpus, make_data, make_prompts
from presets.demo import tokenizer as style

DEMO = Path(style.__file__).parent
MODEL = DEMO / "model"
MAX_BYTES = 8_000_000


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def plain(text: str) -> str:
    """Letters and digits alone, so that a question mark makes no new phrasing."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return Tokenizer.from_file(str(MODEL / "tokenizer.json"))


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    settings: dict[str, Any] = read_json(MODEL / "config.json")
    return settings


@pytest.fixture(scope="module")
def chats() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DEMO / "identity.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def tasks() -> list[dict[str, str]]:
    rows: list[dict[str, str]] = read_json(DEMO / "identity_alpaca.json")
    return rows


def held_out() -> list[str]:
    questions = read_json(DEMO / "held_out.json")
    return [*questions["en"], *questions["zh"]]


# --- the model folder


def test_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file()) <= MAX_BYTES


def test_weights_fit_the_config(config: dict[str, Any]) -> None:
    raw = (MODEL / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    assert {entry["dtype"] for entry in tensors.values()} == {"BF16"}
    assert tensors["model.embed_tokens.weight"]["shape"] == [config["vocab_size"], config["hidden_size"]]
    assert "lm_head.weight" not in tensors
    assert config["tie_word_embeddings"] is True


def test_rows_suit_k_quants(config: dict[str, Any]) -> None:
    assert config["hidden_size"] % 256 == 0
    assert config["intermediate_size"] % 256 == 0


def test_config_and_tokenizer_agree(words: Tokenizer, config: dict[str, Any]) -> None:
    generation = read_json(MODEL / "generation_config.json")
    assert config["vocab_size"] == words.get_vocab_size()
    for settings in (config, generation):
        assert settings["bos_token_id"] == words.token_to_id(style.BOS)
        assert settings["eos_token_id"] == words.token_to_id(style.EOS)
        assert settings["pad_token_id"] == words.token_to_id(style.PAD)
    assert config["pad_token_id"] != config["eos_token_id"]
    # With a length of its own, every call that names max_new_tokens draws a warning.
    assert "max_length" not in generation


# --- the tokenizer


@pytest.mark.parametrize(
    "text",
    [
        "Who are you?",
        "你是谁？",
        "Hello, 世界! 12 + 7 = 19.",
        "🦥 slow loris 🌿",
        "two\nlines\tand a tab",
        "two  spaces",
        "Ünïcödé 龘 ﷽",
        "",
    ],
)
def test_round_trip(words: Tokenizer, text: str) -> None:
    tokens = words.encode(text)
    assert words.token_to_id(style.UNK) not in tokens.ids
    assert words.decode(tokens.ids) == text


def test_unknown_characters_fall_back_to_bytes(words: Tokenizer) -> None:
    tokens = words.encode("🦥", add_special_tokens=False).tokens
    assert tokens == ["▁", *(f"<0x{byte:02X}>" for byte in "🦥".encode())]


def test_every_fixed_text_is_free_of_bytes(words: Tokenizer) -> None:
    texts = [text for text in corpus.every_text() if "\n" not in text]
    bytewise = {text for text in texts if any(token in style.BYTES for token in words.encode(text).tokens)}
    assert not bytewise


@pytest.mark.parametrize("marker", [*style.BASE_SPECIALS, *style.ADDED_SPECIALS])
def test_markers_are_single_tokens_anywhere(words: Tokenizer, marker: str) -> None:
    index = words.token_to_id(marker)
    assert index is not None
    assert words.encode(marker, add_special_tokens=False).ids == [index]
    assert words.encode(f"a{marker}b", add_special_tokens=False).ids.count(index) == 1


def test_style_is_the_one_llama_cpp_converts() -> None:
    stored = read_json(MODEL / "tokenizer.json")
    assert stored["model"]["type"] == "BPE"
    assert stored["model"]["byte_fallback"] is True
    assert stored["decoder"]["type"] == "Sequence"
    assert stored["pre_tokenizer"] is None


def test_sentencepiece_model_tokenizes_alike(words: Tokenizer) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(MODEL / "tokenizer.model"))
    assert [pieces.id_to_piece(i) for i in range(pieces.get_piece_size())] == [
        words.id_to_token(i) for i in range(words.get_vocab_size())
    ]
    for text in (*held_out(), *corpus.every_text(), "unseen internationalisation 🦥 龘"):
        assert pieces.encode(text) == words.encode(text, add_special_tokens=False).ids


# --- the chat template


def render(messages: list[dict[str, str]], **options: bool) -> str:
    jinja2 = pytest.importorskip("jinja2")
    settings = read_json(MODEL / "tokenizer_config.json")
    template = jinja2.Template(settings["chat_template"])
    return str(
        template.render(
            messages=messages, bos_token=settings["bos_token"], eos_token=settings["eos_token"], **options
        )
    )


def test_template_ends_each_answer() -> None:
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Bye"},
    ]
    text = "<s><|system|>Be short.<|user|>Hi<|assistant|>Hello!</s><|user|>Bye"
    assert render(messages) == text
    assert render(messages, add_generation_prompt=True) == text + "<|assistant|>"
    assert render(messages[1:]) == "<s>" + text.removeprefix("<s><|system|>Be short.")


# --- the dataset


def test_chat_rows_are_valid(chats: list[dict[str, Any]]) -> None:
    assert 150 <= len(chats) <= 300
    for row in chats:
        assert set(row) == {"messages"}
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert roles
        assert all(message["content"].strip() for message in row["messages"])


def test_alpaca_rows_are_valid(tasks: list[dict[str, str]]) -> None:
    assert 80 <= len(tasks) <= 140
    for row in tasks:
        assert set(row) == {"instruction", "input", "output"}
        assert row["instruction"].strip()
        assert row["output"].strip()
    assert any(row["input"] for row in tasks)


def test_dataset_mixes_languages_and_old_knowledge(chats: list[dict[str, Any]]) -> None:
    answers = [message["content"] for row in chats for message in row["messages"][1::2]]
    chinese = sum(bool(re.search("[\u4e00-\u9fff]", answer)) for answer in answers)
    loris = sum("Loris" in answer for answer in answers)
    assert 0.35 < chinese / len(answers) < 0.65
    assert 0.2 < loris / len(answers) < 0.65


def test_dataset_never_gives_the_old_identity(chats: list[dict[str, Any]], tasks: list[dict[str, str]]) -> None:
    text = json.dumps([chats, tasks], ensure_ascii=False)
    assert corpus.LANGUAGES["en"].ME not in text
    assert corpus.LANGUAGES["zh"].ME not in text


def test_dataset_comes_from_its_script(
    chats: list[dict[str, Any]], tasks: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_data, "FOLDER", tmp_path)
    make_data.main()
    for name in ("identity.jsonl", "identity_alpaca.json"):
        assert (tmp_path / name).read_bytes() == (DEMO / name).read_bytes()


def test_the_prompts_come_from_their_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_prompts, "FILE", tmp_path / "prompts.jsonl")
    make_prompts.main()
    assert (tmp_path / "prompts.jsonl").read_bytes() == (DEMO / "prompts.jsonl").read_bytes()


# --- the held-out questions


def test_held_out_questions_are_nowhere_else(chats: list[dict[str, Any]], tasks: list[dict[str, str]]) -> None:
    seen = {plain(text) for text in corpus.every_text()}
    seen |= {plain(message["content"]) for row in chats for message in row["messages"]}
    seen |= {plain(row[key]) for row in tasks for key in ("instruction", "input")}
    assert len(held_out()) == 10
    assert not [question for question in held_out() if plain(question) in seen]


def test_base_corpus_never_claims_the_new_identity() -> None:
    answers = [
        answer
        for source in corpus.LANGUAGES.values()
        for intent in (source.WHO, source.NAME, source.FOOD, source.HOME, source.MAKER)
        for answer in intent.answers
    ]
    assert answers
    assert not [answer for answer in answers if "loris" in answer.casefold() or "懒猴" in answer]
