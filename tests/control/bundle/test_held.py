"""A release on the control host: found, and refused unless it is whole and signed by the right hand."""

import json
from pathlib import Path

import pytest
from dsops.control.bundle.held import Held, check_held, find_held, get_held, read_held
from dsops.control.bundle.release import build_release
from dsops.control.bundle.sign import LAB_NAMESPACE, SITE_NAMESPACE, Signer, ensure_signer
from dsops.core.errors import DsopsError

from tests.control.bundle.test_release import PROFILE, PROMPTS


def make_model(root: Path, *, weights: bytes = b"\x01" * 100) -> Path:
    """A small engine and checkpoint; the profile's path."""
    engine = root / "model_repo/engines/fake-engine/llm"
    (engine / "1").mkdir(parents=True, exist_ok=True)
    (engine / "1/model.py").write_text("pass\n")
    keys = ("context", "max_tokens", "queue", "sequences")
    lines = [f'parameters {{ key: "{key}" value: {{ string_value: "1" }} }}\n' for key in keys]
    (engine / "config.pbtxt").write_text("".join(lines))
    folder = root / "checkpoint/weights"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    (root / "checkpoint/prompts.json").write_text(json.dumps(PROMPTS))
    (root / "checkpoint/release.toml").write_text(PROFILE)
    return root / "checkpoint/release.toml"


def make_held(root: Path, *, weights: bytes = b"\x01" * 100, namespace: str = SITE_NAMESPACE) -> Held:
    """A built and signed release below root/out."""
    signer = make_signer(root, namespace=namespace)
    release = build_release(make_model(root, weights=weights), root=root, out=root / "out", signer=signer)
    return read_held(root / "out" / release.id)


def make_signer(root: Path, *, namespace: str = SITE_NAMESPACE) -> Signer:
    return ensure_signer(root / "signer", name="us", namespace=namespace)


def check(held: Held, root: Path, *, namespace: str = SITE_NAMESPACE) -> str:
    return check_held(held, allowed_signers=root / "signer/allowed_signers", namespace=namespace)


def refusal(held: Held, root: Path) -> DsopsError:
    with pytest.raises(DsopsError) as caught:
        check(held, root)
    assert caught.value.mend
    return caught.value


def test_a_built_release_is_whole_and_says_who_signed_it(tmp_path: Path) -> None:
    held = make_held(tmp_path)
    assert check(held, tmp_path) == "us"
    assert "release.json.sig" not in held.release.files
    assert held.signature.startswith(b"-----BEGIN SSH SIGNATURE-----")


def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    assert make_held(tmp_path) == make_held(tmp_path)


def test_it_is_found_by_folder_and_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = make_held(tmp_path)
    places = [tmp_path / "empty", tmp_path / "out"]
    assert find_held(str(held.path), places=[]) == held
    assert get_held(held.id, places=places) == held
    monkeypatch.chdir(tmp_path / "out")
    assert find_held(held.id, places=[]) == held
    assert find_held("r000000000000", places=places) is None
    with pytest.raises(DsopsError, match="no release 'r000000000000' here") as caught:
        get_held("r000000000000", places=places)
    assert held.id in caught.value.mend


def test_a_folder_that_is_no_release_is_said(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match=r"release\.json: cannot be read"):
        get_held(f"{tmp_path}/none", places=[])


def test_an_unsigned_release_is_to_be_built_again(tmp_path: Path) -> None:
    held = make_held(tmp_path)
    (held.path / "release.json.sig").unlink()
    with pytest.raises(DsopsError, match=r"release\.json\.sig: cannot be read") as caught:
        read_held(held.path)
    assert "dsops release build" in caught.value.mend


@pytest.mark.parametrize("name", ["models/llm/1/model/model.safetensors", "prompts.json", "chat_template.jinja"])
def test_an_altered_file_is_named(tmp_path: Path, name: str) -> None:
    held = make_held(tmp_path)
    content = (held.path / name).read_bytes()
    (held.path / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert (refusal(held, tmp_path).what, refusal(held, tmp_path).where) == (
        "a file of the release was altered",
        str(held.path / name),
    )


def test_a_file_more_or_less_is_named(tmp_path: Path) -> None:
    held = make_held(tmp_path)
    (held.path / "models/more").write_text("x")
    assert "does not list" in refusal(held, tmp_path).what
    (held.path / "models/more").unlink()
    (held.path / "prompts.json").unlink()
    assert "is missing" in refusal(held, tmp_path).what


def test_another_hands_signature_is_refused(tmp_path: Path) -> None:
    held = make_held(tmp_path)
    ensure_signer(tmp_path / "other", name="them", namespace=SITE_NAMESPACE)
    with pytest.raises(DsopsError, match="signed by nobody whom this site allows"):
        check_held(held, allowed_signers=tmp_path / "other/allowed_signers", namespace=SITE_NAMESPACE)


def test_a_release_for_the_lab_is_refused_on_a_site(tmp_path: Path) -> None:
    held = make_held(tmp_path, namespace=LAB_NAMESPACE)
    assert check(held, tmp_path, namespace=LAB_NAMESPACE) == "us"
    assert "may not sign for dsops-release@v1" in refusal(held, tmp_path).what


def test_a_file_is_found_by_its_content(tmp_path: Path) -> None:
    held = make_held(tmp_path)
    for name, entry in held.release.files.items():
        assert held.file_of(entry.sha256).read_bytes() == (held.path / name).read_bytes()
    with pytest.raises(DsopsError, match="no file of it"):
        held.file_of("0" * 64)
