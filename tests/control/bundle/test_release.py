"""A release is laid out from engine, checkpoint and profile; what is wrong with them is named before it is built."""

import json
import pickle
import zipfile
from pathlib import Path

import pytest
from dsops.control.bundle.release import build_release, is_pickle, render_limits, render_settings
from dsops.control.bundle.verify import hash_file, walk
from dsops.core.errors import DsopsError
from dsops.core.release import Limits, Probe, parse_release, release_id

ROOT = Path(__file__).parents[3]
PROFILE = """
model = "fake"
quantization = "int8"
engine = "fake-engine"
weights = "weights"
template = "chat_template.jinja"
eos = "</s>"
prompts = "prompts.json"
[limits]
context = 33
max_tokens = 22
queue = 11
sequences = 7
[probe]
load_seconds = 6
answer_seconds = 5
tokens = 4
"""
PROMPTS = {
    "format": 1,
    "prompts": [{"id": f"p{n}", "prompt": f"{n}+1?", "accepted": [f"{n + 1}"], "tokens": 9} for n in range(3)],
}
CONFIG = "".join(
    f'parameters {{ key: "{key}" value: {{ string_value: "{number}" }} }}\n'
    for number, key in enumerate(("context", "max_tokens", "queue", "sequences", "other"), start=1000)
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    engine = tmp_path / "model_repo/engines/fake-engine/llm"
    (engine / "1/__pycache__").mkdir(parents=True)
    (engine / "1/__pycache__/model.pyc").write_bytes(b"\x00")
    (engine / "1/model.py").write_text("pass\n")
    (engine / "config.pbtxt").write_text('name: "llm"\n' + CONFIG)
    weights = tmp_path / "checkpoint/weights"
    (weights / ".cache").mkdir(parents=True)
    (weights / ".cache/lock").write_text("")
    (weights / "model.safetensors").write_bytes(b"\x01" * 100)
    (weights / "openvino_model.bin").write_bytes(b"\x80\x02" + b"\x01" * 100)
    (weights / "chat_template.jinja").write_text("{{ messages[0].content }}")
    (tmp_path / "checkpoint/release.toml").write_text(PROFILE)
    (tmp_path / "checkpoint/prompts.json").write_text(json.dumps(PROMPTS))
    return tmp_path


def profile(root: Path) -> Path:
    return root / "checkpoint/release.toml"


def refuse(root: Path) -> DsopsError:
    with pytest.raises(DsopsError) as caught:
        build_release(profile(root), root=root, out=root / "out")
    assert not list((root / "out").glob("*")) if (root / "out").exists() else True
    return caught.value


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_release_is_laid_out_as_triton_wants_it(root: Path) -> None:
    release = build_release(profile(root), root=root, out=root / "out")
    folder = root / "out" / release.id
    assert [name for name, _ in walk(root / "out")] == [
        f"{release.id}/{name}"
        for name in (
            "chat_template.jinja",
            "prompts.json",
            "release.json",
            "models/llm/config.pbtxt",
            "models/llm/1/model.py",
            "models/llm/1/model/chat_template.jinja",
            "models/llm/1/model/model.safetensors",
            "models/llm/1/model/openvino_model.bin",
        )
    ]
    manifest = (folder / "release.json").read_bytes()
    assert release_id(manifest) == release.id
    assert parse_release(manifest, where="x") == release
    assert (folder / release.prompts).read_bytes() == (root / "checkpoint/prompts.json").read_bytes()
    assert release.probe == Probe(load_seconds=6, answer_seconds=5, tokens=4)


def test_the_limits_land_in_the_configuration_and_nothing_else_changes(root: Path) -> None:
    release = build_release(profile(root), root=root, out=root / "out")
    config = (root / "out" / release.id / "models/llm/config.pbtxt").read_text()
    for key, value in {"context": 33, "max_tokens": 22, "queue": 11, "sequences": 7, "other": 1004}.items():
        assert f'{{ key: "{key}" value: {{ string_value: "{value}" }} }}' in config
    assert config.startswith('name: "llm"\n')


def test_the_same_inputs_give_the_same_release_and_it_replaces_a_damaged_one(root: Path) -> None:
    first = build_release(profile(root), root=root, out=root / "out")
    (root / "out" / first.id / "chat_template.jinja").write_text("damaged")
    second = build_release(profile(root), root=root, out=root / "out")
    assert second == first
    assert (root / "out" / first.id / "chat_template.jinja").read_text() == "{{ messages[0].content }}"
    assert [file.name for file in (root / "out").iterdir()] == [first.id]


def test_any_changed_input_is_another_release(root: Path) -> None:
    seen = {build_release(profile(root), root=root, out=root / "out").id}
    (root / "checkpoint/weights/model.safetensors").write_bytes(b"\x02" * 100)
    seen.add(build_release(profile(root), root=root, out=root / "out").id)
    edit(profile(root), "context = 33", "context = 34")
    seen.add(build_release(profile(root), root=root, out=root / "out").id)
    edit(root / "model_repo/engines/fake-engine/llm/1/model.py", "pass", "pass  # more")
    seen.add(build_release(profile(root), root=root, out=root / "out").id)
    edit(root / "checkpoint/prompts.json", "2+1?", "1+2?")
    seen.add(build_release(profile(root), root=root, out=root / "out").id)
    assert len(seen) == 5


def test_a_release_without_golden_prompts_is_refused(root: Path) -> None:
    (root / "checkpoint/prompts.json").unlink()
    error = refuse(root)
    assert (error.what, error.where) == ("no golden prompts", str(root / "checkpoint/prompts.json"))
    assert "prompts.json" in error.mend


def test_too_few_golden_prompts_are_refused(root: Path) -> None:
    few = PROMPTS | {"prompts": PROMPTS["prompts"][:2]}  # type: ignore[index]
    (root / "checkpoint/prompts.json").write_text(json.dumps(few))
    assert "2 are too few" in refuse(root).what


def test_a_golden_prompt_that_the_limits_forbid_is_refused(root: Path) -> None:
    edit(root / "checkpoint/prompts.json", '"tokens": 9', '"tokens": 23')
    assert "prompt p0 wants 23 tokens, more than limits.max_tokens (22)" in refuse(root).what


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "sub/config.json"])
def test_a_model_that_brings_its_own_code_is_refused(root: Path, name: str) -> None:
    file = root / "checkpoint/weights" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"a": [{"auto_map": {"AutoModel": "modeling_own.Own"}}]}))
    error = refuse(root)
    assert ("auto_map" in error.what, error.where) == (True, str(file))
    assert error.mend


def test_a_configuration_without_code_of_its_own_is_taken(root: Path) -> None:
    (root / "checkpoint/weights/config.json").write_text('{"model_type": "auto_map"}')
    assert build_release(profile(root), root=root, out=root / "out").id


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".ckpt", ".pickle", ".joblib"])
def test_weights_whose_name_says_pickle_are_refused(root: Path, suffix: str) -> None:
    (root / f"checkpoint/weights/model{suffix}").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert "pickle weights can run code" in refuse(root).what


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_behind_another_name_is_refused(root: Path, protocol: int) -> None:
    (root / "checkpoint/weights/weights.bin").write_bytes(pickle.dumps({"w": [1.0] * 9}, protocol=protocol))
    error = refuse(root)
    assert error.where.endswith("weights.bin")
    assert error.mend == "convert them to safetensors"


def test_both_forms_of_torch_files_are_pickles_and_raw_weights_are_not(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "new.bin", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    legacy = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(1001, protocol=2) + b"\x00" * 64
    (tmp_path / "old.bin").write_bytes(legacy)
    (tmp_path / "pytorch_model-00001-of-00002.bin").write_bytes(b"")
    for raw in (b"", b"\x80", b"\x80\x02", b"\x80\x02\x00", b"\x01\x02."):
        (tmp_path / "raw.bin").write_bytes(raw)
        assert not is_pickle(tmp_path / "raw.bin")
    assert is_pickle(tmp_path / "new.bin")
    assert is_pickle(tmp_path / "old.bin")
    assert is_pickle(tmp_path / "pytorch_model-00001-of-00002.bin")


def test_links_among_the_weights_are_refused(root: Path) -> None:
    (root / "checkpoint/weights/link.safetensors").symlink_to("model.safetensors")
    error = refuse(root)
    assert "neither a plain file nor a folder" in error.what
    assert error.mend


def test_a_missing_template_is_refused(root: Path) -> None:
    (root / "checkpoint/weights/chat_template.jinja").unlink()
    assert refuse(root).what == "no chat template"


def test_a_template_that_does_not_compile_is_refused(root: Path) -> None:
    (root / "checkpoint/weights/chat_template.jinja").write_text("{% if %}")
    assert "does not compile" in refuse(root).what


@pytest.mark.parametrize("form", ["text", "named"])
def test_a_template_comes_out_of_a_tokenizers_configuration(root: Path, form: str) -> None:
    text = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": text}]
    data = {"chat_template": text if form == "text" else named}
    (root / "checkpoint/weights/tokenizer_config.json").write_text(json.dumps(data))
    edit(profile(root), "chat_template.jinja", "tokenizer_config.json")
    release = build_release(profile(root), root=root, out=root / "out")
    assert (root / "out" / release.id / release.template).read_text() == text


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"chat_template": 1}', '{"chat_template": [{"name": "x"}]}'])
def test_a_tokenizers_configuration_without_a_template_is_refused(root: Path, text: str) -> None:
    (root / "checkpoint/weights/tokenizer_config.json").write_text(text)
    edit(profile(root), "chat_template.jinja", "tokenizer_config.json")
    assert refuse(root).what == "no chat_template in it"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('model = "fake"\n', "", "missing model"),
        ("[limits]", "[limit]", "missing limits"),
        ("[probe]", "[probes]", "missing probe"),
        ('prompts = "prompts.json"\n', "", "missing prompts"),
        ("tokens = 4", "tokens = 0", "probe.tokens is 0"),
        ("tokens = 4", "tokens = 23", "probe.tokens is 23, more than limits.max_tokens (22)"),
        ("tokens = 4", "", "probe.tokens is missing"),
        ('eos = "</s>"', 'eos = "</s>"\ncolour = "red"', "unknown colour"),
        ('eos = "</s>"', "eos = 1", "eos must be a text"),
        ("queue = 11", "", "limits.queue is missing"),
        ("queue = 11", 'queue = "many"', "limits.queue must be a whole number"),
        ("queue = 11", "queue = 0", "limits.queue is 0"),
        ("queue = 11", "queue = 11\ndepth = 1", "limits.depth is not known"),
        ("[limits]", '[reasoning]\nopen = "<t>"\n[limits]', "reasoning.close is missing"),
        ("fake-engine", "../engines/fake-engine", "is no name"),
        ("fake-engine", "vllm", "no engine vllm"),
        ('weights = "weights"', 'weights = "none"', "no such folder of weights"),
        ("[limits]", "[limits", "not TOML"),
    ],
)
def test_what_is_wrong_with_a_profile_is_named(root: Path, old: str, new: str, says: str) -> None:
    edit(profile(root), old, new)
    error = refuse(root)
    assert says in str(error)
    assert error.mend


def test_a_missing_profile_names_an_example(root: Path) -> None:
    profile(root).unlink()
    assert refuse(root).mend == "see model_repo/checkpoints/tiny-r1/release.toml"


def test_an_engine_without_a_limit_is_refused(root: Path) -> None:
    edit(root / "model_repo/engines/fake-engine/llm/config.pbtxt", '"queue"', '"cue"')
    assert "no parameter queue" in refuse(root).what
    with pytest.raises(DsopsError, match="no parameter context"):
        render_limits(CONFIG + CONFIG, Limits(1, 1, 1, 1), where="x")


def test_the_demo_model_builds_and_every_file_is_as_its_manifest_says(tmp_path: Path) -> None:
    built = build_release(ROOT / "model_repo/checkpoints/tiny-r1/release.toml", root=ROOT, out=tmp_path)
    folder = tmp_path / built.id
    manifest = parse_release((folder / "release.json").read_bytes(), where="release.json")
    found = {name: file for name, file in walk(folder) if name != "release.json"}
    assert found.keys() == manifest.files.keys()
    for name, file in found.items():
        entry = manifest.files[name]
        assert (file.stat().st_size, hash_file(file)) == (entry.size, entry.sha256), name
    assert manifest.model == "tiny-r1"
    assert manifest.reasoning is not None
    assert {"models/llm/config.pbtxt", "models/llm/1/model.py", manifest.template} <= found.keys()
    assert any(name.startswith("models/llm/1/model/") for name in found)


def test_settings_of_the_engine_land_in_its_configuration(tmp_path: Path) -> None:
    assert render_settings({"threads": 1}, where=tmp_path) == (
        'parameters { key: "threads" value: { string_value: "1" } }\n'
    )
    for wrong, told in (({"threads": "1"}, "whole numbers"), ({"queue": 1}, "[limits]"), ({'x"': 1}, "is no name")):
        with pytest.raises(DsopsError) as caught:
            render_settings(wrong, where=tmp_path)
        assert told in caught.value.what
