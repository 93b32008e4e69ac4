"""A bundle is whole or refused; VERIFY.sh, with sha256sum and ssh-keygen alone, judges every case as dsops does."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from dsops.control.bundle import verify as verify_module
from dsops.control.bundle.sign import LAB_NAMESPACE, SITE_NAMESPACE, Signer, ensure_signer, sign
from dsops.control.bundle.verify import SIGNATURE, SUMS, read_sums, verify_bundle, walk
from dsops.control.cli.bundle import bundle as verb
from dsops.core.errors import DsopsError

SCRIPT = Path(verify_module.__file__).with_name("VERIFY.sh")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two signers, site and lab, that every test shares."""
    folder = tmp_path_factory.mktemp("signers")
    ensure_signer(folder / "site", name="dsops-release", namespace=SITE_NAMESPACE)
    ensure_signer(folder / "lab", name="dsops-lab", namespace=LAB_NAMESPACE)
    return folder


def site(place: Path) -> Signer:
    return Signer(place / "site/bundle_ed25519", "dsops-release", SITE_NAMESPACE)


def lab(place: Path, *, namespace: str = LAB_NAMESPACE) -> Signer:
    return Signer(place / "lab/bundle_ed25519", "dsops-lab", namespace)


def resign(bundle: Path, signer: Signer, sums: str | None = None) -> None:
    (bundle / SUMS).write_text(read_sums(bundle).render() if sums is None else sums)
    sign(bundle / SUMS, signer)


def make_bundle(bundle: Path, signer: Signer) -> Path:
    (bundle / "wheels/dsops").mkdir(parents=True)
    (bundle / "wheels/dsops/dsops 0.1 (new).whl").write_bytes(b"\x00\x01" * 5000)
    (bundle / "bundle.json").write_text("{}\n")
    (bundle / "empty").write_bytes(b"")
    shutil.copy(SCRIPT, bundle / "VERIFY.sh")
    resign(bundle, signer)
    return bundle


def edit(bundle: Path, change: Callable[[bytes], bytes], name: str = "bundle.json") -> None:
    (bundle / name).write_bytes(change((bundle / name).read_bytes()))


def swap_for_link(bundle: Path) -> None:
    (bundle / "bundle.json").rename(bundle.parent / "elsewhere.json")
    (bundle / "bundle.json").symlink_to("../elsewhere.json")


def swap_sums_for_fifo(bundle: Path) -> None:
    (bundle / SUMS).unlink()
    os.mkfifo(bundle / SUMS)


def list_a_path_twice(bundle: Path, place: Path) -> None:
    text = read_sums(bundle).render()
    resign(bundle, site(place), text + text.splitlines()[0] + "\n")


def lose_a_folder(bundle: Path) -> None:
    shutil.rmtree(bundle / "wheels")


# What was done to the bundle -> does it still prove? One list for both.
Deed = Callable[[Path, Path], object]
CASES: dict[str, tuple[bool, Deed]] = {
    "nothing": (True, lambda b, p: None),
    "an empty folder": (True, lambda b, p: (b / "more").mkdir()),
    "a changed mode": (True, lambda b, p: (b / "empty").chmod(0o600)),
    "a changed byte": (False, lambda b, p: edit(b, lambda data: data[:-1])),
    "a change of the same size": (False, lambda b, p: edit(b, lambda data: b"[]\n")),
    "an extra file": (False, lambda b, p: (b / "wheels/extra.whl").write_bytes(b"")),
    "an extra hidden file": (False, lambda b, p: (b / ".hidden").write_bytes(b"")),
    "an extra file with a line end in its name": (False, lambda b, p: (b / "a\nb").write_bytes(b"")),
    "an extra signature in a folder": (False, lambda b, p: (b / "wheels" / SIGNATURE).write_bytes(b"")),
    "a missing file": (False, lambda b, p: (b / "empty").unlink()),
    "a missing folder": (False, lambda b, p: lose_a_folder(b)),
    "a renamed file": (False, lambda b, p: (b / "empty").rename(b / "void")),
    "a link for a file": (False, lambda b, p: swap_for_link(b)),
    "an extra link": (False, lambda b, p: (b / "link").symlink_to("bundle.json")),
    "an extra link to a folder": (False, lambda b, p: (b / "link").symlink_to("wheels")),
    "a broken link": (False, lambda b, p: (b / "link").symlink_to("nowhere")),
    "a fifo": (False, lambda b, p: os.mkfifo(b / "fifo")),
    "sums that are a fifo": (False, lambda b, p: swap_sums_for_fifo(b)),
    "changed sums": (False, lambda b, p: edit(b, lambda data: data.replace(b"empty", b"emptz"), SUMS)),
    "a comment in the sums": (False, lambda b, p: edit(b, lambda data: data + b"# hello\n", SUMS)),
    "other line ends in the sums": (False, lambda b, p: edit(b, lambda data: data.replace(b"\n", b"\r\n"), SUMS)),
    "cut sums": (False, lambda b, p: edit(b, lambda data: data[: len(data) // 2], SUMS)),
    "sums without their last line": (
        False,
        lambda b, p: edit(b, lambda data: b"".join(data.splitlines(keepends=True)[:-1]), SUMS),
    ),
    "no sums": (False, lambda b, p: (b / SUMS).unlink()),
    "no signature": (False, lambda b, p: (b / SIGNATURE).unlink()),
    "a cut signature": (False, lambda b, p: edit(b, lambda data: data[:150], SIGNATURE)),
    "a wrong signer": (False, lambda b, p: resign(b, lab(p, namespace=SITE_NAMESPACE))),
    "the lab's signer for the lab": (False, lambda b, p: resign(b, lab(p))),
    "the right signer for another purpose": (
        False,
        lambda b, p: resign(b, Signer(site(p).key, "dsops-release", LAB_NAMESPACE)),
    ),
    "signed sums of nothing": (False, lambda b, p: resign(b, site(p), "")),
    "signed sums with an absolute path": (
        False,
        lambda b, p: resign(b, site(p), read_sums(b).render() + f"{'0' * 64}  /etc/hostname\n"),
    ),
    "signed sums that climb out": (
        False,
        lambda b, p: resign(b, site(p), read_sums(b).render() + f"{'0' * 64}  ../signers\n"),
    ),
    "signed names that differ in case only": (
        False,
        lambda b, p: add_a_name_in_capitals(b, p),
    ),
    "a signed path listed twice": (False, lambda b, p: list_a_path_twice(b, p)),
}
if os.geteuid() == 0:
    CASES["a device"] = (False, lambda b, p: os.mknod(b / "null", 0o20666, os.makedev(1, 3)))


def add_a_name_in_capitals(bundle: Path, place: Path) -> None:
    """Signs names that our own builder refuses."""
    (bundle / "EMPTY").write_bytes(b"")
    lines = [f"{verify_module.hash_file(f)}  {n}\n" for n, f in walk(bundle) if n not in {SUMS, SIGNATURE}]
    resign(bundle, site(place), "".join(lines))


def ask_dsops(bundle: Path, allowed: Path | str, *, cwd: Path | None = None) -> tuple[bool, str]:
    path = bundle if cwd is None else cwd / bundle
    try:
        verify_bundle(path, allowed_signers=(cwd or Path()) / allowed, namespace=SITE_NAMESPACE)
    except DsopsError as error:
        return False, str(error)
    return True, ""


def ask_script(bundle: Path, allowed: Path | str, *words: str, cwd: Path | None = None) -> tuple[bool, str]:
    argv = ["sh", str(bundle / "VERIFY.sh"), str(allowed), *words]
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        assert done.stderr.startswith("REFUSED: "), done
        assert not done.stdout
    else:
        assert done.stdout.startswith("OK: ")
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("ask", [ask_dsops, ask_script], ids=["dsops", "VERIFY.sh"])
@pytest.mark.parametrize("case", CASES)
def test_both_judge_the_same(
    case: str, ask: Callable[[Path, Path], tuple[bool, str]], place: Path, tmp_path: Path
) -> None:
    is_good, deed = CASES[case]
    bundle = make_bundle(tmp_path / "bundle", site(place))
    deed(bundle, place)
    verdict, said = ask(bundle, place / "site/allowed_signers")
    assert verdict == is_good, said


@pytest.mark.parametrize("ask", [ask_dsops, ask_script], ids=["dsops", "VERIFY.sh"])
def test_it_proves_from_another_folder_with_relative_paths_and_spaces(
    ask: Callable[..., tuple[bool, str]], place: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "a folder with spaces"
    make_bundle(folder / "my bundle", site(place))
    shutil.copy(place / "site/allowed_signers", folder / "allowed signers")
    for cwd in (folder, tmp_path):
        bundle, allowed = (folder / name for name in ("my bundle", "allowed signers"))
        verdict, said = ask(bundle.relative_to(cwd), str(allowed.relative_to(cwd)), cwd=cwd)
        assert verdict, said
    assert not ask(Path("my bundle"), "no such list", cwd=folder)[0]


@pytest.mark.parametrize("ask", [ask_dsops, ask_script], ids=["dsops", "VERIFY.sh"])
def test_a_list_of_several_signers_and_of_one_with_two_names_works(
    ask: Callable[..., tuple[bool, str]], place: Path, tmp_path: Path
) -> None:
    kind, public = (place / "site/bundle_ed25519.pub").read_text().split()[:2]
    lines = [(place / "lab/allowed_signers").read_text(), "# the site's own\n"]
    lines.append(f'alice,bob namespaces="{SITE_NAMESPACE}" {kind} {public} since 2026\n')
    (tmp_path / "allowed").write_text("".join(lines))
    verdict, said = ask(make_bundle(tmp_path / "bundle", site(place)), tmp_path / "allowed")
    assert verdict, said


def test_a_trusted_copy_of_the_script_proves_another_folder(place: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", site(place))
    shutil.copy(SCRIPT, tmp_path / "VERIFY.sh")
    words = [SITE_NAMESPACE, str(bundle)]
    assert ask_script(tmp_path, place / "site/allowed_signers", *words)[0]
    (bundle / "VERIFY.sh").write_text("echo OK: trust me\n")
    verdict, said = ask_script(tmp_path, place / "site/allowed_signers", *words)
    assert not verdict
    assert "VERIFY.sh" in said


def test_the_script_proves_the_labs_bundle_when_it_is_asked_for_the_lab(place: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", lab(place))
    assert ask_script(bundle, place / "lab/allowed_signers", LAB_NAMESPACE)[0]
    assert not ask_script(bundle, place / "lab/allowed_signers")[0]


def test_every_difference_is_named_but_not_more_than_twenty(place: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", site(place))
    for number in range(30):
        (bundle / f"extra{number:02}").write_bytes(b"")
    (bundle / "bundle.json").write_text("[]\n")
    _, said = ask_dsops(bundle, place / "site/allowed_signers")
    assert "31 of 4 files are not as signed\n  changed: bundle.json\n  extra: extra00\n" in said
    assert said.endswith("extra: extra18\n  and 11 more")


def test_a_missing_ssh_keygen_is_not_taken_for_a_wrong_signer(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "bundle", site(place))
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tools))
    for ask in (ask_dsops, ask_script):
        verdict, said = ask(bundle, place / "site/allowed_signers")
        assert not verdict
        assert "ssh-keygen is not installed" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="reading as another user needs root")
def test_a_folder_that_cannot_be_read_hides_nothing(place: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", site(place))
    (bundle / "dark").mkdir(mode=0o000)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    allowed = tmp_path / "allowed"
    shutil.copy(place / "site/allowed_signers", allowed)
    allowed.chmod(0o644)
    argv = ["sh", str(bundle / "VERIFY.sh"), str(allowed)]
    done = subprocess.run(argv, user=65534, group=65534, capture_output=True, text=True, check=False, extra_groups=[])
    assert done.returncode == 1
    assert "REFUSED: a folder cannot be read" in done.stderr
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        try:
            list(walk(bundle))
        except DsopsError as error:
            os._exit(0 if "cannot be read" in str(error) else 2)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def test_bytes_are_ticked_for_a_progress_bar(place: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", site(place))
    read: list[int] = []
    verify_bundle(bundle, allowed_signers=place / "site/allowed_signers", namespace=SITE_NAMESPACE, tick=read.append)
    names = {SUMS, SIGNATURE}
    assert sum(read) == sum(file.stat().st_size for name, file in walk(bundle) if name not in names)


def call(*words: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(verb, ["verify", *map(str, words)])
    return result.exit_code, result.stdout, str(result.exception or "")


def test_the_verb_says_what_was_proven(place: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", site(place))
    (tmp_path / "current").symlink_to("bundle")
    code, out, _ = call(tmp_path / "current", "--allowed-signers", place / "site/allowed_signers")
    assert (code, out) == (0, f"OK: 4 files, signed by dsops-release for {SITE_NAMESPACE}\n")
    edit(bundle, lambda data: data + b" ")
    code, out, error = call(bundle, "--allowed-signers", place / "site/allowed_signers")
    assert (code, out) == (1, "")
    assert "1 of 4 files are not as signed\n  changed: bundle.json" in error


def test_the_verb_refuses_what_is_no_bundle(place: Path, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        code, _, error = call(path, "--allowed-signers", place / "site/allowed_signers")
        assert code == 1
        assert "not a bundle" in error
    assert call(tmp_path)[0] == 2
