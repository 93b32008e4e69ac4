"""Building a bundle: whole or not at all, again only when something changed, and never two builders at once."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.control.bundle.build import Built, Plan, build_bundle, find_current, prune
from dsops.control.bundle.place import locked
from dsops.control.bundle.sign import SITE_NAMESPACE, ensure_signer
from dsops.control.bundle.verify import verify_bundle
from dsops.core.errors import DsopsError

PROFILE = """
model = "m"
quantization = "q"
engine = "e"
weights = "weights"
template = "t.jinja"
eos = "x"
prompts = "prompts.json"
[limits]
context = 1
max_tokens = 1
queue = 1
sequences = 1
[probe]
load_seconds = 1
answer_seconds = 1
tokens = 1
"""


def git(root: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@mirror.example", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    root = tmp_path / "checkout"
    (root / "model/weights").mkdir(parents=True)
    (root / "model/release.toml").write_text(PROFILE)
    (root / "model/prompts.json").write_text("{}")
    (root / "model/weights/w.safetensors").write_bytes(b"w")
    (root / ".gitignore").write_text("/model/weights/\n")
    (root / "README.md").write_text("hello\n")
    return Plan(
        root=root,
        profile=root / "model/release.toml",
        out=tmp_path / "out",
        cache=tmp_path / "cache",
        signer=ensure_signer(tmp_path / "signer", name="me", namespace=SITE_NAMESPACE),
    )


def parts(plan: Plan, work: Path, step: object) -> str:
    """Stands in for apt, pip and Triton."""
    (work / "parts").write_text((plan.root / "README.md").read_text())
    return "r0123456789ab"


def build(plan: Plan) -> Built:
    return build_bundle(plan, parts=parts)


def about(built: Built) -> dict[str, object]:
    data: dict[str, object] = json.loads((built.path / "bundle.json").read_text())
    return data


def listing(plan: Plan) -> set[str]:
    return {file.name for file in plan.out.iterdir()} - {".lock"}


def prove(plan: Plan, built: Built) -> None:
    allowed = plan.signer.key.with_name("allowed_signers")
    assert verify_bundle(built.path, allowed_signers=allowed, namespace=SITE_NAMESPACE).sums.id == built.id


def test_a_bundle_is_named_by_its_content_and_proves(plan: Plan) -> None:
    built = build(plan)
    assert built == Built(plan.out / f"bundle-{built.id}", built.id, "r0123456789ab", made=True)
    assert find_current(plan.out) == built.path
    assert listing(plan) == {"current", built.path.name}
    prove(plan, built)
    done = subprocess.run(["sh", built.path / "VERIFY.sh", plan.signer.key.with_name("allowed_signers")], check=False)
    assert done.returncode == 0


def test_the_same_inputs_are_not_made_again(plan: Plan) -> None:
    first = build(plan)
    assert build(plan) == replace(first, made=False)
    (plan.root / "README.md").touch()
    assert not build(plan).made


@pytest.mark.parametrize("name", ["README.md", "model/release.toml", "model/weights/w.safetensors", "new file"])
def test_a_changed_file_is_made_again_and_the_old_bundle_stays(plan: Plan, name: str) -> None:
    first = build(plan)
    with (plan.root / name).open("a") as stream:
        stream.write("\n# more\n")
    second = build(plan)
    assert second.made
    assert second.id != first.id
    assert find_current(plan.out) == second.path
    prove(plan, first)
    prove(plan, second)


def test_weights_that_git_ignores_count(plan: Plan) -> None:
    git(plan.root, "init", "-q")
    build(plan)
    (plan.root / "model/weights/w.safetensors").write_bytes(b"other")
    assert build(plan).made


def test_a_model_outside_of_the_checkout_counts(plan: Plan, tmp_path: Path) -> None:
    build(plan)
    (tmp_path / "other/weights").mkdir(parents=True)
    (tmp_path / "other/release.toml").write_text(PROFILE)
    (tmp_path / "other/prompts.json").write_text("{}")
    (tmp_path / "other/weights/w.safetensors").write_bytes(b"another model")
    assert build(replace(plan, profile=tmp_path / "other/release.toml")).made


def test_an_image_counts(plan: Plan, tmp_path: Path) -> None:
    image = tmp_path / "triton.oci.tar"
    image.write_bytes(b"one")
    carried = replace(plan, images=(image,))
    build(plan)
    assert build(carried).made
    assert not build(carried).made
    image.write_bytes(b"two")
    assert build(carried).made


def test_golden_prompts_outside_of_the_checkout_count(plan: Plan, tmp_path: Path) -> None:
    shutil.copytree(plan.profile.parent, tmp_path / "other")
    elsewhere = replace(plan, profile=tmp_path / "other/release.toml")
    build(elsewhere)
    (tmp_path / "other/prompts.json").write_text("[]")
    assert build(elsewhere).made


def test_a_file_that_became_a_program_counts(plan: Plan) -> None:
    build(plan)
    (plan.root / "README.md").chmod(0o755)
    assert build(plan).made


def test_a_new_key_of_the_signer_counts(plan: Plan) -> None:
    build(plan)
    for file in plan.signer.key.parent.iterdir():
        file.unlink()
    signer = ensure_signer(plan.signer.key.parent, name="me", namespace=SITE_NAMESPACE)
    built = build(replace(plan, signer=signer))
    assert built.made
    prove(plan, built)


def test_one_may_ask_for_newer_packages(plan: Plan) -> None:
    first = build(plan)
    again = build(replace(plan, fresh=True))
    assert again == first
    assert listing(plan) == {"current", first.path.name}


@pytest.mark.parametrize("name", ["parts", "bundle.json", "SHA256SUMS", "SHA256SUMS.sig"])
@pytest.mark.parametrize("text", ["damaged", None])
def test_a_damaged_bundle_is_made_again(plan: Plan, name: str, text: str | None) -> None:
    first = build(plan)
    file = first.path / name
    file.unlink() if text is None else file.write_text(text)
    again = build(plan)
    assert again == first
    prove(plan, again)


def test_an_interrupted_build_leaves_no_half_bundle_and_the_current_one(plan: Plan) -> None:
    first = build(plan)
    (plan.root / "README.md").write_text("other\n")

    def stop(plan: Plan, work: Path, step: object) -> str:
        (work / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_bundle(plan, parts=stop)
    assert listing(plan) == {"current", first.path.name}
    assert find_current(plan.out) == first.path
    assert build(plan).made


def die(plan: Plan, work: Path, step: object) -> str:
    (work / "half").write_text("x")
    os._exit(9)


def test_a_killed_build_leaves_the_current_one_and_the_next_clears_up(plan: Plan) -> None:
    first = build(plan)
    (plan.root / "README.md").write_text("other\n")
    child = os.fork()
    if child == 0:
        build_bundle(plan, parts=die)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert listing(plan) == {"current", first.path.name, ".building"}
    assert find_current(plan.out) == first.path
    second = build(plan)
    assert listing(plan) == {"current", first.path.name, second.path.name}
    prove(plan, second)


def test_a_part_that_cannot_be_carried_is_named_and_nothing_stays(plan: Plan) -> None:
    def link(plan: Plan, work: Path, step: object) -> str:
        (work / "link").symlink_to("/etc/hostname")
        return "r0123456789ab"

    with pytest.raises(DsopsError, match="neither a plain file nor a folder"):
        build_bundle(plan, parts=link)
    assert listing(plan) == set()


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    argv = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    return folder


def test_a_full_disk_is_said_in_words_and_the_current_bundle_stays(plan: Plan, small_disk: Path) -> None:
    try:
        plan = replace(plan, out=small_disk / "out")
        first = build(plan)
        (plan.root / "README.md").write_text("x" * (1 << 20))
        with pytest.raises(DsopsError, match="No space left on device") as caught:
            build(plan)
        assert caught.value.where.startswith(str(small_disk))
        assert "make room there" in caught.value.mend
        assert listing(plan) == {"current", first.path.name}
        assert find_current(plan.out) == first.path
        prove(plan, first)
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)


def test_a_bug_of_the_system_kind_stays_a_bug(plan: Plan) -> None:
    def lose(plan: Plan, work: Path, step: object) -> str:
        return (work / "nothing").read_text()

    with pytest.raises(FileNotFoundError):
        build_bundle(plan, parts=lose)


def test_two_builders_at_once_do_not_meet(plan: Plan) -> None:
    for folder in (plan.out, plan.cache):
        with locked(folder), pytest.raises(DsopsError, match="another build is running here") as caught:
            build(plan)
        assert caught.value.where == str(folder)
    assert build(plan).made
    assert build(replace(plan, cache=plan.out, fresh=True)).made


def test_a_killed_builder_holds_no_lock(plan: Plan) -> None:
    code = "import sys,time,pathlib; from dsops.control.bundle.place import locked\n"
    code += "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code, plan.out], env=env, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(DsopsError):
            build(plan)
        child.kill()
    assert build(plan).made


def test_old_bundles_go_but_never_the_current_one_nor_what_is_not_ours(plan: Plan) -> None:
    made = []
    for number in range(5):
        (plan.root / "README.md").write_text(str(number))
        made.append(build(replace(plan, keep=2)))
        time.sleep(0.01)
    assert listing(plan) == {"current", *(built.path.name for built in made[-2:])}
    (plan.out / "bundle-of-flowers").mkdir()
    os.utime(made[-1].path, (0, 0))  # the current one, as if it were the oldest
    assert prune(plan.out, keep=1) == []
    assert listing(plan) == {"current", "bundle-of-flowers", *(built.path.name for built in made[-2:])}


def test_the_bundle_says_which_commit_it_is_and_whether_it_is_that_commit(plan: Plan) -> None:
    assert about(build(plan))["git"] is None
    git(plan.root, "init", "-q")
    assert about(build(plan))["git"] is None
    git(plan.root, "add", ".")
    git(plan.root, "commit", "-q", "-m", "one")
    commit = subprocess.run(["git", "-C", plan.root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    head = commit.stdout.strip()
    assert about(build(plan))["git"] == {"commit": head, "dirty": False}
    (plan.root / "untracked").write_text("")
    assert about(build(plan))["git"] == {"commit": head, "dirty": True}
    git(plan.root, "add", ".")
    git(plan.root, "commit", "-q", "-m", "two")
    built = build(plan)
    assert built.made, "the same files, but now they are a commit's"
    assert about(built)["git"] != {"commit": head, "dirty": True}


def test_the_bundle_says_what_it_is(plan: Plan) -> None:
    said = about(build(plan))
    assert {key: said[key] for key in ("format", "release", "namespace")} == {
        "format": 1,
        "release": "r0123456789ab",
        "namespace": SITE_NAMESPACE,
    }
    assert said["system"]


def test_a_wrong_profile_is_told_before_anything_is_fetched(plan: Plan) -> None:
    with pytest.raises(DsopsError, match="no release profile"):
        build(replace(plan, profile=plan.root / "none.toml"))
    assert listing(plan) == set()
