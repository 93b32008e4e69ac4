"""`dsops release`: from the words typed to the words shown, against nodes behind real SSH."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from dsops.control.bundle.held import Held
from dsops.control.bundle.sign import SITE_NAMESPACE, ensure_signer, sign
from dsops.control.cli.release import release as command
from dsops.control.progress import render_bytes
from dsops.core.errors import DsopsError
from dsops.core.passport import parse_passport
from dsops.core.samples import ReleaseTally, Samples, Tally

from tests.control.bundle.test_held import make_held, make_model
from tests.control.fleet.fake_node import FakeNode, option, write_site
from tests.control.fleet.sshd import Sshd, run_sshd
from tests.node.sources.server import Canned, serve

R1, R2 = "r00000000001", "r00000000002"


@dataclass
class Site:
    """Two gpu servers, an inventory in a checkout, and a folder for this control host's state."""

    root: Path
    inventory: Path
    nodes: dict[str, FakeNode]

    def call(self, *words: str) -> Result:
        verb = [*words, "-i", str(self.inventory)]
        verb += ["--state", str(self.root / "state")] if words[0] == "activate" else []
        return CliRunner().invoke(command, verb)

    def done(self, *words: str) -> str:
        result = self.call(*words)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    def asked(self, name: str, verb: str) -> list[list[str]]:
        """What one node was told of one verb."""
        return [words for words in self.nodes[name].words if words[: len(verb.split())] == verb.split()]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    nodes = {name: FakeNode(name) for name in ("gpu1", "gpu2")}
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/site.py").write_text("")
    key = paramiko.ECDSAKey.generate()
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(run_sshd(Sshd(serve=node.serve, allowed=key))) for name, node in nodes.items()
        }
        signers = str(tmp_path / "signer/allowed_signers")
        yield Site(tmp_path, write_site(tmp_path, servers, bundle_allowed_signers=signers), nodes)


def error_of(result: Result) -> DsopsError:
    assert isinstance(result.exception, DsopsError), (result.output, result.exception)
    return result.exception


def test_a_release_is_built_of_a_models_folder_or_its_profile(site: Site) -> None:
    profile = make_model(site.root)
    words = ["build", "--root", str(site.root), "--signer", str(site.root / "signer")]
    first = CliRunner().invoke(command, [*words, str(profile.parent)])
    assert first.exit_code == 0, first.exception
    name = first.stdout.split()[1]
    assert first.stdout.startswith(f"release {name} made: fake int8, fake-engine, 6 files, ")
    assert "3 golden prompts\n" in first.stdout
    assert f"next: dsops release push {name}" in first.stdout
    second = CliRunner().invoke(command, [*words, str(profile), "--json"])
    data = json.loads(second.stdout)
    assert (data["release"], data["path"]) == (name, str(site.root / "build/releases" / name))
    assert (site.root / "build/releases" / name / "release.json.sig").is_file()


def test_what_was_built_is_pushed_by_its_id_and_by_its_folder(site: Site) -> None:
    held = make_held(site.root)
    (site.root / "build").mkdir()
    held.path.parent.rename(site.root / "build/releases")
    folder = site.root / "build/releases" / held.id
    said = site.done("push", held.id)
    size = sum({entry.sha256: entry.size for entry in held.release.files.values()}.values())
    assert f"gpu1: {render_bytes(size)} sent, 0 B were there, " in said
    assert f"next: dsops release activate {held.id}" in said
    again = json.loads(site.done("push", str(folder), "gpu2", "--json"))
    (node,) = again["nodes"]
    assert (again["release"], node["node"], node["sent"], node["new"]) == (held.id, "gpu2", 0, False)


def test_a_bundles_release_is_found_by_its_id(site: Site) -> None:
    held = make_held(site.root)
    (site.root / "bundle").mkdir()
    held.path.parent.rename(site.root / "bundle/releases")
    text = site.inventory.read_text().replace(
        "'bundle_allowed_signers'", "'bundle_path': 'bundle', 'bundle_allowed_signers'"
    )
    site.inventory.write_text(text)
    assert "gpu2: " in site.done("push", held.id)


def test_an_altered_release_is_refused_before_a_byte_is_sent(site: Site) -> None:
    held = make_held(site.root)
    (held.path / "prompts.json").write_text("{}")
    assert "was altered" in error_of(site.call("push", str(held.path))).what
    assert [node.words for node in site.nodes.values()] == [[], []]


def test_one_node_that_fails_does_not_stop_the_other_and_the_next_step_is_said(site: Site) -> None:
    held = make_held(site.root)
    site.nodes["gpu1"].refuse["release have"] = "the disk is full"
    result = site.call("push", str(held.path))
    assert result.exit_code == 1
    assert "gpu1: FAILED: the disk is full\n  mend: as the node says\n" in result.stdout
    assert "gpu2: " in result.stdout
    assert f"`dsops release push {held.id} gpu1` goes on where it stopped" in result.stdout


def hold(site: Site, *, active: str = R1, other: str = R2) -> None:
    for node in site.nodes.values():
        node.hold(active, "active", since=5.0, slot="a", model="tiny", quantization="int8", engine="openvino", bytes=9)
        node.hold(other, "held", since=9.0)


def test_a_release_is_activated_node_by_node_under_one_epoch(site: Site) -> None:
    hold(site)
    said = site.done("activate", R2, "--reason", "better")
    assert f"gpu1: {R2} has the traffic, " in said
    assert f"gpu2: {R2} has the traffic, " in said
    (first,), (second,) = site.asked("gpu1", "release activate"), site.asked("gpu2", "release activate")
    assert first == second
    assert (option(first, "--epoch"), option(first, "--reason"), option(first, "--wait")) == ("1", "better", "900")
    assert site.nodes["gpu1"].state.active
    assert f"gpu1: has {R2} already\ngpu2: has {R2} already\n" == site.done("activate", R2)


def test_the_first_refusal_stops_it_and_says_how_far_it_came(site: Site) -> None:
    hold(site)
    site.nodes["gpu2"].refuse["release activate"] = "sum: 41 is not 42"
    error = error_of(site.call("activate", R2))
    assert error.what == "stopped here: sum: 41 is not 42; done: gpu1"
    assert (error.where, error.mend) == ("gpu2", "as the node says")
    site.nodes["gpu1"].refuse["release activate"] = "no memory"
    site.nodes["gpu1"].switch(R1)
    assert error_of(site.call("activate", R2)).what == "stopped here: no memory; not touched: gpu2"


def test_nothing_is_touched_when_a_node_lacks_it_or_refuses_it(site: Site) -> None:
    hold(site)
    site.nodes["gpu2"].releases.pop(R2)
    error = error_of(site.call("activate", R2))
    assert (error.what, error.mend) == (f"gpu2 does not hold {R2}", f"`dsops release push {R2} gpu2`")
    site.nodes["gpu2"].hold(R2, "bad", bad="sum: wrong")
    error = error_of(site.call("activate", R2))
    assert error.what == f"{R2} is marked bad on gpu2: sum: wrong"
    assert "unmark-bad" in error.mend
    site.nodes["gpu2"].refuse["release list"] = "no helper"
    assert "gpu2 cannot be asked" in error_of(site.call("activate", R2)).what
    assert not site.asked("gpu1", "release activate")


def test_the_list_shows_what_has_the_traffic_first_and_why_one_is_bad(site: Site) -> None:
    hold(site)
    site.nodes["gpu1"].hold("r0", "bad", bad="sum: [wrong]")
    lines = site.done("list").splitlines()
    assert lines[1].split()[:7] == ["gpu1", R1, "active", "a", "tiny", "int8", "openvino"]
    assert [line.split()[1] for line in lines[1:]] == [R1, R2, "r0", R1, R2]
    assert "sum: [wrong]" in lines[3]
    data = json.loads(site.done("list", "gpu2", "--json"))
    assert [one["release"] for one in data["nodes"][0]["releases"]] == [R1, R2]


def test_a_node_that_cannot_be_asked_is_said_and_the_others_are_listed(site: Site) -> None:
    hold(site)
    site.nodes["gpu1"].refuse["release list"] = "no helper"
    result = site.call("list")
    assert result.exit_code == 1
    assert R1 in result.stdout
    assert "gpu1 cannot be asked: gpu1: no helper\n  mend: as the node says" in result.stderr


def test_a_release_is_shown_with_what_it_promises_and_where_it_is(site: Site) -> None:
    held = make_held(site.root)
    site.nodes["gpu1"].hold(held.id, "bad", bad="sum: wrong", slot="b")
    text = site.done("show", str(held.path))
    assert f"{held.id}  fake int8, engine fake-engine\n" in text
    assert "limits   33 tokens of context, 22 of an answer, 7 at once, 11 waiting" in text
    assert "proof    3 golden prompts; loads within 6 s; a probe takes at most 5 s" in text
    assert "gpu1     bad, slot b: sum: wrong\n  gpu2     -\n" in text
    data = json.loads(site.done("show", str(held.path), "--json"))
    assert (data["manifest"]["model"], data["nodes"]["gpu2"], data["passports"]) == ("fake", None, [])
    site.nodes["gpu1"].hold(held.id, "fallback", damage="weights.bin is not as the manifest says")
    text = site.done("show", str(held.path))
    assert "  gpu1     fallback; DAMAGED: weights.bin is not as the manifest says\n" in text


def test_a_release_that_only_nodes_hold_is_shown_from_their_words(site: Site) -> None:
    hold(site)
    assert "not on this machine" in site.done("show", R2)
    error = error_of(site.call("show", "r00000000003"))
    assert (error.what[:25], error.mend) == ("no release 'r00000000003'", f"did you mean {R2}?")


def test_a_bad_mark_is_lifted_or_confirmed_where_it_is(site: Site) -> None:
    hold(site)
    site.nodes["gpu2"].hold(R2, "bad", bad="sum: wrong")
    assert site.done("unmark-bad", R2, "--reason", "it was the disk") == f"gpu2: {R2} may come again\n"
    assert site.done("confirm-bad", R2, "gpu2", "--reason", "seen twice") == f"gpu2: {R2} stays out\n"
    assert not site.asked("gpu1", "release unmark-bad")
    (words,) = site.asked("gpu2", "release unmark-bad")
    assert (words[2], option(words, "--reason")) == (R2, "it was the disk")
    error = error_of(site.call("unmark-bad", R1, "--reason", "x"))
    assert (error.what, error.mend) == (f"no node has marked {R1} bad", f"marked: {R2}")


def test_a_mark_that_a_node_does_not_take_is_said(site: Site) -> None:
    site.nodes["gpu1"].refuse["release confirm-bad"] = "is not marked bad here"
    result = site.call("confirm-bad", R1, "gpu1", "--reason", "x")
    assert result.exit_code == 1
    assert result.stdout == f"gpu1: {R1} cannot: gpu1: is not marked bad here\n  mend: as the node says\n"


def measured(release: str, **changes: Any) -> dict[str, Any]:
    """What a node's door answers to `measure`."""
    runs = [{"kind": "cold", "tokens_per_second": 650.0, "load_seconds": 1.5, "cached": 0.0}]
    runs += [{"kind": "warm", "tokens_per_second": rate} for rate in (700.0, 720.0)]
    seen = [{"answer": "42", "times": 2}, {"answer": "42.", "times": 1}]
    answers = [
        {"prompt": f"p{number}", "seen": seen if not number else [seen[0] | {"times": 3}]} for number in range(8)
    ]
    hardware = {"gpus": ["NVIDIA H100"] * 2, "cpu": "EPYC", "cores": 96}
    said = {"release": release, "hardware": hardware, "engine_version": "Triton 2.51.0", "runs": runs}
    return said | {"answers": answers} | changes


@pytest.fixture
def signed(site: Site) -> Held:
    """A release that gpu1 serves, whose passport was just made."""
    held = make_held(site.root)
    site.nodes["gpu1"].hold(held.id, "active", engine="fake-engine")
    site.nodes["gpu1"].measured = measured(held.id)
    site.done("passport", "gpu1", "--signer", str(site.root / "signer"))
    return held


def passport_of(site: Site, held: Held, kind: str = "2-x-nvidia-h100") -> Path:
    return site.root / f"build/releases/passports/{held.id}.{kind}.json"


def test_a_passport_is_measured_signed_kept_and_travels(site: Site, signed: Held) -> None:
    (words,) = site.asked("gpu1", "release measure")
    assert (option(words, "--cold"), option(words, "--warm"), option(words, "--reason")) == ("1", "2", "a passport")
    file = passport_of(site, signed)
    passport = parse_passport(file.read_bytes(), where="x")
    assert (passport.engine, passport.node, passport.rate) == ("fake-engine", "gpu1", 700.0)
    site.done("push", str(signed.path), "gpu2")
    (sent,) = site.nodes["gpu2"].admitted[0]["passports"]
    assert sent["text"] == file.read_text()
    assert sent["signature"].startswith("-----BEGIN SSH SIGNATURE")


def test_a_passport_is_shown_with_all_that_it_says_and_who_signed_it(site: Site, signed: Held) -> None:
    said = site.done("show", str(signed.path))
    made = said[said.index("  passport") :].splitlines()
    assert made[:4] == [
        "  passport 2 x NVIDIA H100",
        "    answers 8 of 8 right in each of 3 runs (1 cold, 2 warm); in several words: p0",
        "    speed   700 tokens/s (least 650); a node must reach 490",
        "    load    1.5 s from the disk, 12 s at most",
    ]
    assert made[4].endswith("on gpu1, fake-engine (Triton 2.51.0), signed by us")
    data = json.loads(site.done("show", str(signed.path), "--json"))
    (one,) = data["passports"]
    assert (one["signer"], one["error"], one["passport"]["runs"][0]["cached"]) == ("us", None, 0.0)


def test_each_kind_of_hardware_has_a_passport_of_its_own(site: Site, signed: Held) -> None:
    words = ("passport", "gpu1", "--signer", str(site.root / "signer"), "--cold", "0", "--warm", "1")
    site.nodes["gpu1"].measured = measured(signed.id, hardware={"gpus": [], "cpu": "Xeon", "cores": 2})
    said = site.done(*words)
    assert "passport Xeon, 2 cores" in said
    assert passport_of(site, signed, "xeon-2-cores").is_file()
    assert "2 passports went along" in site.done("push", str(signed.path), "gpu2")
    assert [line for line in site.done("show", str(signed.path)).splitlines() if line.startswith("  passport")] == [
        "  passport 2 x NVIDIA H100",
        "  passport Xeon, 2 cores",
    ]


def test_one_of_an_older_dsops_is_still_read_shown_and_sent(site: Site) -> None:
    held = make_held(site.root)
    file = site.root / f"build/releases/passports/{held.id}.json"
    file.parent.mkdir(parents=True)
    said = {"format": 1, "release": held.id, "made_at": 5.0, "node": "gpu1", "gpus": ["H100"] * 8, "engine": "vllm"}
    file.write_text(json.dumps(said | {"accepted": 12, "prompts": 12, "load_seconds": 9.5, "tokens_per_second": 700.0}))
    sign(file, ensure_signer(site.root / "signer", name="us", namespace=SITE_NAMESPACE).for_releases)
    shown = site.done("show", str(held.path))
    assert "  passport 8 x H100\n    answers 12 of 12 right in one cold run\n" in shown
    assert "9.5 s, nobody knows whether from the disk, 28 s at most" in shown
    assert "format 1: an older dsops made it of one run; make it again" in shown
    assert "1 passport went along" in site.done("push", str(held.path), "gpu2")


@pytest.mark.parametrize("how", ["altered", "truncated", "unsigned", "for another", "unknown key", "format 3"])
def test_a_passport_that_is_not_good_is_told_and_never_sent(site: Site, signed: Held, tmp_path: Path, how: str) -> None:
    file = passport_of(site, signed)
    signer, says = ensure_signer(site.root / "signer", name="signer", namespace=SITE_NAMESPACE), how
    text = file.read_text()
    if how == "altered":
        file.write_text(text.replace("700.0", "900.0"))
        says = "the signature does not fit"
    elif how == "truncated":
        file.write_text(text[:-9])
        sign(file, signer.for_releases)
        says = "not a whole passport"
    elif how == "unsigned":
        file.with_name(f"{file.name}.sig").unlink()
        says = "there is no signature"
    elif how == "for another":
        file.write_text(text.replace(signed.id, R1))
        sign(file, signer.for_releases)
        says = f"a passport for {R1}, not for {signed.id}"
    elif how == "unknown key":
        sign(file, ensure_signer(tmp_path / "foreign", name="foreign", namespace=SITE_NAMESPACE).for_releases)
        says = "signed by nobody whom this site allows"
    else:
        file.write_text(text.replace('"format":2', '"format":3'))
        sign(file, signer.for_releases)
        says = "passport format 3 is not known"
    error = error_of(site.call("push", str(signed.path), "gpu2"))
    assert says in error.what
    assert f"or take {file} away" in error.mend
    assert not site.nodes["gpu2"].words
    assert f"  passport NOT GOOD: {file}" in site.done("show", str(signed.path))
    assert says in site.done("show", str(signed.path))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answers": []}, "has 0 golden prompts, a passport wants 8 to 32"),
        ({"runs": []}, "runs: there is none"),
        ({"hardware": {}}, "neither GPU nor CPU"),
        ({"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_what_makes_no_passport_is_refused_and_nothing_kept(site: Site, change: dict[str, Any], says: str) -> None:
    held = make_held(site.root)
    site.nodes["gpu1"].hold(held.id, "active")
    site.nodes["gpu1"].measured = measured(held.id, **change)
    error = error_of(site.call("passport", "gpu1", "--signer", str(site.root / "signer")))
    assert says in error.what
    assert not (site.root / "build/releases/passports").exists()


def test_the_nodes_own_refusal_to_measure_is_said(site: Site) -> None:
    site.nodes["gpu1"].refuse["release measure"] = "warm run 1: other requests were in flight"
    make_held(site.root)
    error = error_of(site.call("passport", "gpu1", "--signer", str(site.root / "signer")))
    assert (error.what, error.where) == ("warm run 1: other requests were in flight", "gpu1")


def test_the_list_says_for_each_node_whether_the_passport_is_for_its_hardware(site: Site) -> None:
    hold(site)
    site.nodes["gpu1"].hold(R2, "held", fit="fits", fit_says="for 2 x NVIDIA H100")
    other = "made on 2 x NVIDIA H100, this node has 4 x Tesla T4"
    site.nodes["gpu2"].hold(R2, "held", fit="other", fit_says=other)
    lines = site.done("list").splitlines()
    assert lines[0].split()[-1] == "passport"
    fits = {(line.split()[0], line.split()[1]): line for line in lines[1:]}
    assert fits["gpu1", R2].split()[-1] == "fits"
    assert f"passport {other}" in " ".join(site.done("list").split())
    assert f"gpu2     held, passport {other}\n" in site.done("show", R2)


def test_a_release_may_be_activated_without_a_passport_when_a_person_says_so(site: Site) -> None:
    hold(site)
    site.done("activate", R2, "gpu1", "--without-passport")
    assert "--without-passport" in site.asked("gpu1", "release activate")[0]
    site.done("activate", R2, "gpu2")
    assert "--without-passport" not in site.asked("gpu2", "release activate")[0]


@pytest.fixture
def counting(site: Site) -> Iterator[Canned]:
    """An agent of both nodes that counted requests to R1 and R2."""
    tallies = (ReleaseTally(R1, real=Tally(900, 2)), ReleaseTally(R2, real=Tally(90, 30)))
    body = Samples("gpu1", 5.0, tallies).to_json().encode()
    with serve(Canned({"/v1/samples": (200, body)})) as canned:
        text = site.inventory.read_text()
        port = f"'dsops_agent_port': {canned.port}, 'ssh_hostname'"
        site.inventory.write_text(text.replace("'ssh_hostname'", port))
        yield canned


def test_two_releases_are_put_side_by_side(site: Site, signed: Held, counting: Canned) -> None:
    said = site.done("compare", R1, R2, "gpu1")
    assert said.splitlines()[0].split() == ["A", R1, "B", R2]
    assert " ".join(said.split("  failed")[1].split()[:8]) == "2 (0.22%) 30 (33.33%) B is worse (by"
    rows = json.loads(site.done("compare", signed.id, R2, "--json"))["rows"]
    (passport,) = [row for row in rows if row["name"] == "passport, 2 x NVIDIA H100"]
    assert (passport["a"], passport["b"], passport["says"]) == ("3 runs", "-", "B has none")


def test_what_cannot_be_compared_is_refused_or_said(site: Site, signed: Held, counting: Canned) -> None:
    assert error_of(site.call("compare", R1, R1)).what == f"{R1} twice: there is nothing to compare"
    assert error_of(site.call("compare", R1, "r00000000009")).what.startswith("nobody knows anything of r00000000009")
    file = passport_of(site, signed)
    file.write_text("{")
    result = site.call("compare", R1, R2)
    assert result.exit_code == 0, result.exception
    assert "left out" in site.call("compare", signed.id, R2).stderr
    counting.answers["/v1/samples"] = (404, b"{}")
    result = site.call("compare", R1, R2)
    assert isinstance(result.exception, DsopsError)


def test_a_passport_is_not_signed_with_a_key_made_on_the_spot(site: Site) -> None:
    error = error_of(site.call("passport", "gpu1", "--signer", str(site.root / "none")))
    assert error.what == "there is no signing key"
    assert not (site.root / "none").exists()


@pytest.mark.parametrize("words", [("push", "r1"), ("activate", "r1"), ("list",)])
def test_only_gpu_servers_hold_releases(site: Site, words: tuple[str, ...]) -> None:
    site.inventory.write_text(site.inventory.read_text() + "lb = [('lb1', {'ssh_hostname': '127.0.0.1'})]\n")
    error = error_of(site.call(*words, "lb1"))
    assert (error.what, error.mend) == ("lb1 holds no releases: it is lb", "name one of gpu1, gpu2")
    assert "did you mean gpu" in error_of(site.call(*words, "gpu9")).mend


def test_ids_and_nodes_complete_from_what_is_here(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    held = make_held(site.root)
    (site.root / "build").mkdir()
    held.path.parent.rename(site.root / "build/releases")
    complete = ShellComplete(command, {}, "release", "_RELEASE_COMPLETE")
    words = ["push", "-i", str(site.inventory)]
    assert [item.value for item in complete.get_completions(words, held.id[:4])] == [held.id]
    assert [item.value for item in complete.get_completions([*words, held.id], "gpu")] == ["gpu1", "gpu2"]
    assert complete.get_completions(["push", "-i", "/nonexistent.py"], "r") == []
    verbs = [item.value for item in complete.get_completions([], "")]
    changing = ["activate", "build", "compare", "confirm-bad", "cool", "heat"]
    assert verbs == [*changing, "list", "passport", "push", "show", "unmark-bad"]


def test_a_release_goes_cold_and_comes_back_where_it_is(site: Site) -> None:
    hold(site)
    site.nodes["gpu2"].hold(R2, "fallback", tier="cold", bytes=9, way="cold", seconds=700.0, copy_seconds=600.0)
    said = site.done("cool", R2, "--reason", "room")
    assert said == f"gpu1: {R2} lies cold, 12.0 GB came free, 0 s\n"
    assert not site.asked("gpu2", "release cool")
    (words,) = site.asked("gpu1", "release cool")
    assert (words[2], option(words, "--reason"), words[-1]) == (R2, "room", "--json")
    said = site.done("heat", R2, "gpu2", "--reason", "we want it back")
    assert said == f"gpu2: 9 B at most are copied, about 10 min\ngpu2: {R2} lies hot, 9.0 GB were copied, 0 s\n"
    assert "lies cold as well" in site.done("cool", R2, "gpu2", "--keep-hot", "--reason", "x")
    assert "--keep-hot" in site.asked("gpu2", "release cool")[0]


def test_only_what_lies_there_can_go_from_there(site: Site) -> None:
    hold(site)
    error = error_of(site.call("heat", R2, "--reason", "x"))
    assert error.what == f"no node holds {R2} on the cold tier only"
    error = error_of(site.call("heat", R2, "gpu1", "--reason", "x"))
    assert error.what == f"gpu1: {R2} is not on the cold tier only there"
    site.nodes["gpu2"].refuse["release cool"] = "must stay on the hot tier"
    result = site.call("cool", R1, "--reason", "x")
    assert result.exit_code == 1
    assert f"gpu2: {R1} cannot: must stay on the hot tier\n  mend: as the node says\n" in result.stdout


def test_the_list_and_show_tell_the_tier_and_how_soon_it_would_serve(site: Site) -> None:
    hold(site)
    cold = {"tier": "cold", "way": "cold", "seconds": 700.0, "copy_seconds": 600.0, "back": True}
    site.nodes["gpu1"].hold(R2, "fallback", cold_damage="a blob is gone", **cold)
    lines = site.done("list", "gpu1").splitlines()
    assert lines[0].split()[-5:] == ["size", "tier", "to", "serve", "passport"]
    assert " cold  cold, 12 min  -         the way back; DAMAGED: a blob is gone" in lines[2]
    assert lines[1].split()[-3:] == ["hot", "-", "-"]
    assert "gpu1     fallback, cold\n" in site.done("show", R2)


def test_an_activation_of_what_lies_cold_says_that_it_is_copied_first(site: Site) -> None:
    hold(site)
    site.nodes["gpu2"].hold(R2, "held", tier="cold", way="cold", seconds=700.0, copy_seconds=600.0)
    said = site.done("activate", R2).splitlines()
    assert said[1] == f"gpu2: {R2} lies on the cold tier and is copied first, about 10 min"
