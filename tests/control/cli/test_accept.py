"""`dsops accept`: from the words typed to the certificate on the node, against nodes behind real SSH."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import paramiko
import pytest
from click.testing import CliRunner, Result
from dsops.control.bundle.sign import SITE_NAMESPACE, ensure_signer
from dsops.control.cli.accept import accept
from dsops.control.cli.release import release
from dsops.core.accept.certificate import check_usable, parse_certificate
from dsops.core.accept.judge import Verdict
from dsops.core.accept.measured import Lack, Measurement
from dsops.core.errors import DsopsError

from tests.control.fleet.fake_node import FakeNode, option, write_site
from tests.control.fleet.sshd import Sshd, run_sshd
from tests.core.accept.nodes import lose, make, spoil, turn

NAMES = ("gpu1", "gpu2", "gpu3")


def measure(name: str) -> Measurement:
    """Each its own machine with its own GPUs."""
    return make(node=name, machine=name.ljust(32, "0"), host=name)


@dataclass
class Site:
    """Three gpu servers, an inventory, a signer, and a folder for this control host's state."""

    root: Path
    inventory: Path
    nodes: dict[str, FakeNode]

    def show(self, name: str, measured: Measurement) -> None:
        """What a node measures from now on."""
        self.nodes[name].accepts = json.loads(measured.render())

    def call(self, *words: str) -> Result:
        given = ["--state", str(self.root / "state"), "-i", str(self.inventory)]
        given += ["--signer", str(self.root / "signer")]
        return CliRunner().invoke(accept, [*words, *given])

    def done(self, *words: str, code: int = 0) -> str:
        result = self.call(*words)
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout

    @property
    def kept(self) -> list[str]:
        """The names of the certificates that are kept here."""
        return sorted(path.name for path in self.root.glob("state/certificates/*/*.json"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    nodes = {name: FakeNode(name) for name in NAMES}
    key = paramiko.ECDSAKey.generate()
    ensure_signer(tmp_path / "signer", name="signer", namespace=SITE_NAMESPACE)
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(run_sshd(Sshd(serve=node.serve, allowed=key))) for name, node in nodes.items()
        }
        signers = str(tmp_path / "signer/allowed_signers")
        own: dict[str, Any] = {name: {"agent_gpus": 2} for name in NAMES}
        own["gpu3"]["accept_floors"] = {"storage_read": 5000}
        site = Site(tmp_path, write_site(tmp_path, servers, bundle_allowed_signers=signers, **own), nodes)
        for name in NAMES:
            site.show(name, measure(name))
        site.show("gpu3", turn("storage_read", 6000, gpu=-1)(measure("gpu3")))
        yield site


def error_of(result: Result) -> DsopsError:
    assert isinstance(result.exception, DsopsError), (result.output, result.exception)
    return result.exception


def test_sound_nodes_get_a_signed_certificate_that_their_own_helper_would_take(site: Site) -> None:
    said = site.done("gpu1", "gpu2")
    assert "gpu1  pass" in said
    assert "gpu1, gpu2: may serve. next: `dsops deploy`" in said
    assert site.kept == ["gpu1.json", "gpu2.json"]
    (brought,) = site.nodes["gpu1"].certified
    one = parse_certificate(brought["text"].encode(), where="x")
    check_usable(one, uuids=("GPU-gpu1-0", "GPU-gpu1-1"), machine="gpu1".ljust(32, "0"), now=one.made_at)
    signature = site.root / "signature"
    signature.write_text(brought["signature"])
    verify = ["ssh-keygen", "-Y", "verify", "-f", str(site.root / "signer/allowed_signers"), "-I", "signer"]
    verify += ["-n", "dsops-release@v1", "-s", str(signature)]
    assert subprocess.run(verify, input=brought["text"].encode(), capture_output=True, check=False).returncode == 0
    (certify,) = [words for words in site.nodes["gpu1"].words if words[0] == "certify"]
    assert option(certify, "--reason") == "accepted: pass"
    assert site.nodes["gpu3"].words == []


def test_a_node_is_told_its_own_address(site: Site) -> None:
    site.done("gpu1")
    (words,) = [words for words in site.nodes["gpu1"].words if words[0] == "accept"]
    assert option(words, "--address") == "127.0.0.1"


def test_a_node_that_fails_says_what_and_what_to_do_and_does_not_stop_the_others(site: Site) -> None:
    site.show("gpu2", spoil("memory")(measure("gpu2")))
    said = site.done(code=1)
    assert "gpu2: FAIL GPU 1: memory keeps what is written: 3 words of 32 bits are wrong\n  mend: return" in said
    assert "gpu1, gpu3: may serve" in said
    # The node knows it as well: whatever lay there does not count any more.
    assert parse_certificate(site.nodes["gpu2"].certified[0]["text"].encode(), where="x").verdict is Verdict.FAIL


def test_what_is_incomplete_takes_no_certificate_from_a_node_and_gives_it_none(site: Site) -> None:
    site.done("gpu1")
    site.show("gpu1", lose("memory", Lack.UNDONE)(measure("gpu1")))
    said = site.done("gpu1", code=2)
    assert "gpu1: skipped GPU 1: memory keeps what is written: for a reason" in said
    assert "gpu1: no certificate, since something is missing; or --force" in said
    assert (site.kept, len(site.nodes["gpu1"].certified)) == (["gpu1.json"], 1)


def test_a_person_may_force_it_with_a_reason_that_stands_in_the_certificate_and_the_audit(site: Site) -> None:
    site.show("gpu1", turn("nvlinks", 17)(measure("gpu1")))
    said = site.done("gpu1", "--force", "--reason", "a GPU is on order")
    assert "fail (forced)" in said
    one = parse_certificate(site.nodes["gpu1"].certified[0]["text"].encode(), where="x")
    assert (one.verdict, one.forced) == (Verdict.FAIL, "a GPU is on order")
    (certify,) = [words for words in site.nodes["gpu1"].words if words[0] == "certify"]
    assert option(certify, "--reason") == "accepted: fail, forced: a GPU is on order"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--force"], "--force wants a reason"),
        (["--force", "--reason", " "], "--force wants a reason"),
        (["--reason", "x"], "--reason says why something is forced"),
        (["--show", "--while-serving"], "only one of"),
        (["--compare", "gpu1"], "wants two certificates, not 1"),
        (["--compare", "gpu1", "gpu2"], "gpu1 was not accepted yet"),
        (["--show", "gpu1"], "gpu1 was not accepted yet"),
        (["gpu9"], "no such node 'gpu9'"),
    ],
)
def test_words_that_do_not_go_together_are_refused_before_a_node_is_asked(
    site: Site, words: list[str], says: str
) -> None:
    error = error_of(site.call(*words))
    assert says in error.what
    assert error.mend
    assert all(node.words == [] for node in site.nodes.values())


def test_without_a_signing_key_no_node_is_measured(site: Site) -> None:
    (site.root / "signer/bundle_ed25519").unlink()
    assert "there is no signing key" in error_of(site.call("gpu1")).what
    assert site.nodes["gpu1"].words == []


def test_the_nodes_of_one_run_are_each_others_fleet_and_the_others_count_by_their_certificates(site: Site) -> None:
    site.done("gpu1", "gpu2")
    slow = measure("gpu3")
    for gpu in (0, 1):
        slow = turn("product_rate", 650, gpu=gpu)(slow)
    site.show("gpu3", turn("storage_read", 6000, gpu=-1)(slow))
    said = site.done("gpu3", code=1)
    assert said.count("FAIL") == 2
    assert "products in bf16: 650 TFLOP/s, 89% of the fleet's median of 728 TFLOP/s" in said


def test_a_node_that_failed_is_no_measure_for_others(site: Site) -> None:
    bad = spoil("memory")(measure("gpu1"))
    for gpu in (0, 1):
        bad = turn("product_rate", 9000, gpu=gpu)(bad)
    site.show("gpu1", bad)
    site.done("gpu1", code=1)
    assert "gpu2  pass" in site.done("gpu2")


def test_the_inventorys_own_floors_count_for_their_server(site: Site) -> None:
    site.show("gpu3", measure("gpu3"))
    said = site.done("gpu3", code=1)
    assert "under the floor of 5,000 MB/s (this site's accept_floors)" in said


def test_a_floor_that_is_no_number_is_named(site: Site) -> None:
    text = site.inventory.read_text().replace("{'storage_read': 5000}", "{'storage_read': 'fast'}")
    site.inventory.write_text(text)
    assert "accept_floors: 'storage_read': 'fast' is no number" in error_of(site.call("gpu3")).what


def test_a_missing_gpu_is_found_by_the_inventory(site: Site) -> None:
    site.show("gpu1", replace(make(1), machine="x" * 32))
    said = site.done("gpu1", code=1)
    assert "GPUs that answer: 1, under the floor of 2 (agent_gpus in the inventory)" in said


def test_a_node_that_cannot_be_asked_is_told_and_the_others_are_accepted(site: Site) -> None:
    site.nodes["gpu1"].refuse["accept"] = "rbb1ecf643e5e serves here"
    said = site.done(code=2)
    assert "gpu1: rbb1ecf643e5e serves here\n  mend: as the node says" in said
    assert "gpu2  pass" in said
    site.nodes["gpu2"].accepts = {"colour": "red"}
    assert "gpu2: unknown key 'colour'" in site.done("gpu2", code=2)


def test_a_node_that_does_not_take_its_certificate_is_told_and_the_control_host_keeps_it(site: Site) -> None:
    site.nodes["gpu1"].refuse["certify"] = "signed by nobody whom this site allows"
    said = site.done("gpu1", code=2)
    assert "gpu1: the node did not take its certificate: gpu1: signed by nobody" in said
    assert "may serve" not in said
    assert site.kept == ["gpu1.json"]


def test_looking_only_makes_no_certificate_and_needs_no_key(site: Site) -> None:
    (site.root / "signer/bundle_ed25519").unlink()
    site.show("gpu1", lose("memory", Lack.UNDONE)(measure("gpu1")))
    said = site.done("gpu1", "--while-serving", code=2)
    assert "only looked at: no certificate was made" in said
    assert "--while-serving" in site.nodes["gpu1"].words[0]
    assert (site.kept, site.nodes["gpu1"].certified) == ([], [])


def test_two_certificates_of_one_node_and_of_two_are_compared(site: Site) -> None:
    site.done("gpu1", "gpu2")
    site.show("gpu1", turn("copy_rate", 2800)(measure("gpu1")))
    site.done("gpu1")
    assert len(site.kept) == 3
    said = site.done("--compare", "gpu1~1", "gpu1")
    (line,) = [line for line in said.splitlines() if line.startswith("GPU 1") and "copy on the GPU" in line]
    assert "2,946 GB/s" in line
    assert "2,800 GB/s" in line
    assert "-5.0 %" in line
    assert "1 of" not in said.splitlines()[-1]
    assert "nothing is notably worse" in said
    site.show("gpu1", turn("copy_rate", 2600)(measure("gpu1")))
    site.call("gpu1")
    assert "WORSE" in site.done("--compare", "gpu2", "gpu1")
    file = next(site.root.glob("state/certificates/*/gpu2.json"))
    assert "nothing is notably worse" in site.done("--compare", str(file), "gpu2")
    assert "gpu2 has one certificate here" in error_of(site.call("--compare", "gpu2", "gpu2~1")).what


def test_what_is_kept_is_shown_and_an_altered_one_is_refused(site: Site) -> None:
    site.done("gpu1")
    said = site.done("--show", "gpu1")
    assert "gpu1: pass; measured " in said
    assert "GPU-gpu1-1" in said
    (data,) = json.loads(site.done("--show", "gpu1", "--json"))
    assert data["verdict"] == "pass"
    file = next(site.root.glob("state/certificates/*/gpu1.json"))
    file.write_text(file.read_text().replace("2946.0", "2947.0"))
    assert "the signature does not fit" in error_of(site.call("--show", "gpu1")).what
    # Nor is anybody measured by it.
    assert "gpu2  pass" in site.done("gpu2")


def test_machines_get_all_of_it(site: Site) -> None:
    site.nodes["gpu2"].refuse["accept"] = "not now"
    nodes = json.loads(site.done("gpu1", "gpu2", "--json", code=2))["nodes"]
    assert [(one["node"], one["kept"], one["reason"]) for one in nodes] == [
        ("gpu1", True, ""),
        ("gpu2", False, "not now"),
    ]
    assert nodes[0]["certificate"]["measured"] == json.loads(json.dumps(asdict(measure("gpu1"))))


class Page(HTMLParser):
    """What a page holds: its tags in balance, what it would load, its words."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [str(value) for key, value in attrs if key in ("src", "href", "action", "data")]
        if tag not in ("meta", "br", "rect", "line", "path", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [str(value) for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_one_whole_file_that_loads_nothing_and_says_what_failed_in_words(site: Site) -> None:
    site.show("gpu2", turn("copy_rate", 2000)(spoil("memory", "<script>alert(1)</script>")(measure("gpu2"))))
    html = site.root / "out/page.html"
    site.done("--html", str(html), code=1)
    page = Page()
    page.feed(html.read_text())
    assert page.open == []
    assert [one for one in page.loads if not one.startswith("#")] == []
    text = " ".join(" ".join(page.words).split())
    assert "2 of 3 nodes accepted, 6 GPUs measured" in text
    assert "<script>" not in html.read_text()
    assert "<script>alert(1)</script>" in text
    # Not by colour alone.
    assert "2,000 ✗ FAIL" in text
    assert "url(" not in html.read_text().replace("url(#hatch)", "")
    assert [path.name for path in html.parent.iterdir()] == ["page.html"]
    assert "floors of H100 SXM5 80GB" in text


def test_a_page_that_cannot_be_written_is_told(site: Site) -> None:
    error = error_of(site.call("gpu1", "--html", "/proc/page.html"))
    assert error.where == "/proc/page.html"
    assert "--show --html" in error.mend
    assert site.kept == ["gpu1.json"]


def test_a_release_is_forced_onto_a_node_that_was_not_accepted_only_with_a_reason(site: Site) -> None:
    node = site.nodes["gpu1"]
    node.hold("r00000000001", "held")
    words = ["activate", "r00000000001", "gpu1", "-i", str(site.inventory), "--state", str(site.root / "state")]
    bare = CliRunner().invoke(release, [*words, "--uncertified"])
    assert "--uncertified wants a reason" in error_of(bare).what
    forced = CliRunner().invoke(release, [*words, "--uncertified", "--reason", "the demo is at noon"])
    assert forced.exit_code == 0, (forced.output, forced.exception)
    (asked,) = [words for words in node.words if words[:2] == ["release", "activate"]]
    assert "--uncertified" in asked
    assert option(asked, "--reason") == "the demo is at noon"
