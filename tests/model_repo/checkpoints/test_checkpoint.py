"""The released files of tiny-r1: tokenizer, template, card and prompts agree with each other and with the weights."""

import hashlib
import json
import re
import struct
import tomllib
from pathlib import Path
from typing import Any

import build_tokenizer
import pytest
import vocabulary as v
from dsops.core.prompts import Prompt, parse_prompts
from generator import find_answer, render_prompt
from jinja2.sandbox import ImmutableSandboxedEnvironment
from make_prompts import QUESTIONS

EXPORT = "openvino-int8"
SHARED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
)


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def render(folder: Path, messages: list[dict[str, str]], *, ask: bool = True) -> str:
    template = (folder / "hf/chat_template.jinja").read_text(encoding="utf-8")
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    values = {"bos_token": v.BOS, "eos_token": v.EOS, "add_generation_prompt": ask}
    return environment.from_string(template).render(messages=messages, **values)


def test_a_single_question_renders_the_prompt_of_the_training(folder: Path) -> None:
    prompt = render(folder, [{"role": "user", "content": "What is 12+30?"}])
    assert prompt == "<｜begin▁of▁sentence｜><｜User｜>What is 12+30?<｜Assistant｜><think>\n"
    assert prompt == render_prompt("What is 12+30?")


def test_the_system_prompt_comes_first_wherever_it_stands(folder: Path) -> None:
    question, system = {"role": "user", "content": "Hi"}, {"role": "system", "content": "Be brief."}
    expected = "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hi<｜Assistant｜><think>\n"
    assert render(folder, [system, question]) == render(folder, [question, system]) == expected


def test_earlier_turns_lose_their_reasoning(folder: Path) -> None:
    messages = [
        {"role": "user", "content": "1+1=?"},
        {"role": "assistant", "content": "From the right: 1+1=2.\n</think>\n\n2"},
        {"role": "user", "content": "2+2=?"},
    ]
    expected = "<｜User｜>1+1=?<｜Assistant｜>2<｜end▁of▁sentence｜><｜User｜>2+2=?<｜Assistant｜><think>\n"
    assert render(folder, messages) == v.BOS + expected


def test_without_a_generation_prompt_nothing_is_opened(folder: Path) -> None:
    assert render(folder, [{"role": "user", "content": "Hi"}], ask=False) == f"{v.BOS}<｜User｜>Hi"


def test_the_tokenizer_is_what_its_builder_writes(folder: Path, tmp_path: Path) -> None:
    build_tokenizer.write_tokenizer(tmp_path)
    for name in SHARED:
        assert (folder / "hf" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_export_carries_the_same_tokenizer(folder: Path) -> None:
    for name in SHARED:
        assert (folder / EXPORT / name).read_bytes() == (folder / "hf" / name).read_bytes()


def test_the_vocabulary_is_all_of_printable_ascii(folder: Path, tokenizer: dict[str, Any]) -> None:
    config = read_json(folder / "hf/config.json")
    vocabulary = tokenizer["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(config["vocab_size"]))
    shown = {"Ġ": " ", "Ċ": "\n"}
    single = {shown.get(token, token) for token in vocabulary if len(token) == 1}
    assert single == {chr(code) for code in range(32, 127)} | {"\n"}


def test_special_tokens_have_the_ids_that_the_configurations_name(folder: Path, tokenizer: dict[str, Any]) -> None:
    names = read_json(folder / "hf/special_tokens_map.json")
    added = {token["content"]: token for token in tokenizer["added_tokens"]}
    for file in ("hf/config.json", "hf/generation_config.json", f"{EXPORT}/config.json"):
        config = read_json(folder / file)
        for role in ("bos", "eos", "pad"):
            assert added[names[f"{role}_token"]]["id"] == config[f"{role}_token_id"]
    assert tokenizer["model"]["unk_token"] == names["unk_token"]
    assert read_json(folder / "hf/tokenizer_config.json")["model_max_length"] == config_context(folder)


def config_context(folder: Path) -> int:
    context: int = read_json(folder / "hf/config.json")["max_position_embeddings"]
    assert context >= 1024
    return context


def test_a_decoder_keeps_the_end_of_the_reasoning(tokenizer: dict[str, Any]) -> None:
    special = {token["content"]: token["special"] for token in tokenizer["added_tokens"]}
    assert not special["</think>"]
    assert special["<｜end▁of▁sentence｜>"]


def test_the_architecture_is_that_of_the_qwen_distills(folder: Path) -> None:
    config = read_json(folder / "hf/config.json")
    assert config["architectures"] == ["Qwen2ForCausalLM"]
    assert config["model_type"] == "qwen2"


def read_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes by tensor name from a safetensors header."""
    with path.open("rb") as stream:
        header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def test_the_weights_have_three_to_five_million_parameters(folder: Path) -> None:
    shapes = read_shapes(folder / "hf/model.safetensors")
    config = read_json(folder / "hf/config.json")
    assert shapes["lm_head.weight"] == [config["vocab_size"], config["hidden_size"]]
    count = sum(rows * (columns[0] if columns else 1) for rows, *columns in shapes.values())
    assert 3_000_000 <= count <= 5_000_000


def test_the_card_names_the_sums_of_the_weights(folder: Path) -> None:
    listed = dict(re.findall(r"\| `([^`]+)` \|[^|]*\| `([0-9a-f]{64})` \|", (folder / "README.md").read_text()))
    assert set(listed) == {
        "hf/model.safetensors",
        f"{EXPORT}/openvino_model.bin",
        f"{EXPORT}/openvino_model.xml",
        "prompts.json",
    }
    for name, expected in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected, name


def test_the_checkpoint_is_small_enough_for_git(folder: Path) -> None:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(sizes) < 20 << 20
    assert max(sizes) < 12 << 20


def test_no_released_file_names_a_path_of_the_machine_that_made_it(folder: Path) -> None:
    for path in (*(folder / "hf").iterdir(), *(folder / EXPORT).iterdir()):
        content = path.read_bytes()
        assert b"/home/" not in content, path
        assert b"/tmp/" not in content, path
        assert b"/work/" not in content, path


def read_prompts(folder: Path) -> tuple[Prompt, ...]:
    return parse_prompts((folder / "prompts.json").read_bytes(), where="prompts.json")


def test_twelve_golden_prompts_are_one_of_each_question(folder: Path) -> None:
    prompts = read_prompts(folder)
    assert {prompt.id: prompt.prompt for prompt in prompts} == {
        name: render_prompt(question) for name, question in QUESTIONS.items()
    }
    for prompt in prompts:
        assert [prompt.tokens] == [len(v.encode(text.replace("</think>", "."))) + 1 for text in prompt.accepted]


@pytest.mark.parametrize(
    ("name", "answer"),
    [("sum", "42"), ("difference", "746"), ("count-letters", "3"), ("decimals", "9.9"), ("weekday", "Monday")],
)
def test_accepted_answers_are_right(folder: Path, name: str, answer: str) -> None:
    found = next(prompt for prompt in read_prompts(folder) if prompt.id == name)
    assert [find_answer(text) for text in found.accepted] == [answer]


def test_a_probe_asks_for_enough_to_tell_right_from_wrong(folder: Path) -> None:
    """The first tokens of the answers differ, so that one that says the same to everything is found out."""
    tokens = tomllib.loads((folder / "release.toml").read_text())["probe"]["tokens"]
    starts = [prompt.accepted[0][:tokens] for prompt in read_prompts(folder)]
    assert len(set(starts)) == len(starts)


def test_the_release_builder_finds_the_end_token(folder: Path) -> None:
    # release.json's `eos` must be this text, not a placeholder.
    assert read_json(folder / "hf/tokenizer_config.json")["eos_token"] == "<｜end▁of▁sentence｜>"
