"""`dsops doctor NODE`, `dsops baseline` and `dsops maintenance`, from the words typed to the words shown."""

import json
from pathlib import Path

import pytest
from dsops.control.cli.baseline import baseline
from dsops.control.cli.doctor import doctor
from dsops.control.cli.maintenance import maintenance
from dsops.core.baseline import Baseline, Number

from tests.control.cli.test_verbs import call, error_of, serve_ssh, write_inventory
from tests.control.doctor.sites import ROOT
from tests.control.doctor.test_checks import COOL, HOT, make_list
from tests.control.fleet.sshd import Reply, Sshd, run_sshd
from tests.node.sources.server import Canned, serve

HELD = Baseline(1.7e9, "kim", "commissioned", (Number("gpu0", "width", 16.0), Number("gpu1", "width", 16.0)))
NOW = (Number("gpu0", "width", 8.0), Number("gpu1", "width", 16.0))


def test_doctor_of_a_node_shows_the_preflight_and_the_checks(tmp_path: Path) -> None:
    with serve(Canned({"/v1/checks": (200, make_list(HOT, COOL).to_json().encode())})) as canned:
        path = str(write_inventory(tmp_path, dsops_agent_port=canned.port))
        shown = call(doctor, "gpu1", "-i", path, "--root", str(ROOT))
        everything = call(doctor, "gpu1", "--all", "-i", path, "--root", str(ROOT))
        data = json.loads(call(doctor, "gpu1", "--json", "-i", path, "--root", str(ROOT)).output)
        bare = json.loads(call(doctor, "--json", "-i", path, "--root", str(ROOT)).output)
    assert shown.exit_code == 1
    assert "checks of gpu1" in shown.output
    assert "too hot; asks for drain" in shown.output
    assert "no such port" not in shown.output
    assert "no such port" in everything.output
    assert data["exit"] == 1
    assert any(one.startswith("gpu1: gpu0: too hot") for one in data["failures"])
    assert data["checks"][0]["checks"]["checks"][0]["items"][0]["value"] == 91.0
    assert "checks" not in bare
    assert not any("too hot" in one for one in bare["failures"])


def test_doctor_of_a_node_whose_agent_is_silent_says_so(tmp_path: Path) -> None:
    path = str(write_inventory(tmp_path, dsops_agent_port=1))
    shown = call(doctor, "gpu1", "-i", path, "--root", str(ROOT))
    assert "its agent does not answer (connection refused" in shown.output
    assert "1 UNKNOWN." in shown.output
    assert shown.exit_code != 0


def test_doctor_of_a_node_that_is_none_has_its_neighbour(tmp_path: Path) -> None:
    shown = call(doctor, "gpu9", "--json", "-i", str(write_inventory(tmp_path)), "--root", str(ROOT))
    data = json.loads(shown.output)
    assert (shown.exit_code, data["checks"]) == (2, [])
    assert any(one["mend"].startswith("did you mean gpu") for one in data["findings"])


def test_a_baseline_is_shown_with_what_is_otherwise_now(tmp_path: Path) -> None:
    seen = make_list(COOL, normal=NOW, baseline=HELD)
    with serve(Canned({"/v1/checks": (200, seen.to_json().encode())})) as canned:
        path = str(write_inventory(tmp_path, dsops_agent_port=canned.port))
        shown = call(baseline, "-i", path)
        data = json.loads(call(baseline, "gpu1", "--show", "--json", "-i", path).output)
    assert shown.output.splitlines() == [
        "gpu1: 2 numbers, frozen at 2023-11-14 22:13 UTC by kim: commissioned",
        "  gpu0 width: was 16, is 8",
    ]
    assert shown.exit_code == 0
    assert data["nodes"][0]["baseline"]["reason"] == "commissioned"


def test_a_node_without_one_and_one_that_is_silent_are_2(tmp_path: Path) -> None:
    with serve(Canned({"/v1/checks": (200, make_list(COOL, normal=NOW).to_json().encode())})) as canned:
        path = write_inventory(tmp_path, dsops_agent_port=canned.port)
        shown = call(baseline, "-i", str(path))
    assert shown.exit_code == 2
    assert "gpu1: has no baseline; 2 numbers could be frozen" in shown.output
    silent = call(baseline, "-i", str(path))
    assert silent.exit_code == 2
    assert "gpu1: does not answer" in silent.output


def test_each_node_freezes_its_own_and_a_refusal_is_1(tmp_path: Path) -> None:
    def answer(command: str) -> Reply:
        return (0, '{"numbers": 2, "at": 1.0}\n', "") if "--force" in command else (1, "", "error: wrong\n  mend: it\n")

    with run_sshd(Sshd(answer)) as sshd:
        path = str(serve_ssh(tmp_path, sshd))
        refused = call(baseline, "gpu1", "--freeze", "--reason", "new card", "-i", path)
        done = call(baseline, "gpu1", "--freeze", "--reason", "new card", "--force", "-i", path)
    assert (refused.exit_code, refused.output) == (1, "gpu1: refused: wrong\n  mend: it\n")
    assert (done.exit_code, done.output) == (0, "gpu1: 2 numbers are normal from now on\n")
    command = sshd.asked[0][1]
    assert command.startswith("dsops node freeze --who ")
    assert command.endswith("--reason 'new card' --json")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--freeze",), "wants a reason"),
        (("--show", "--freeze"), "either --show or --freeze"),
        (("--reason", "x"), "go with --freeze"),
        (("--force",), "go with --freeze"),
    ],
)
def test_words_of_a_baseline_that_do_not_go_together_are_refused(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    assert says in error_of(call(baseline, "gpu1", *words, "-i", str(write_inventory(tmp_path)))).what


def test_maintenance_goes_to_the_nodes_own_door(tmp_path: Path) -> None:
    with run_sshd(Sshd(lambda _: (0, "in maintenance until then\n", ""))) as sshd:
        path = str(serve_ssh(tmp_path, sshd))
        words = ("--reason", "new fans", "--for", "90m", "--checks", "gpu.*", "--checks", "xid.*")
        assert call(maintenance, "gpu1", *words, "-i", path).output == "gpu1: in maintenance until then\n"
        call(maintenance, "gpu1", "--end", "-i", path)
    first, second = (command for _, command in sshd.asked)
    assert first.startswith("dsops node maintenance --who ")
    assert first.endswith("--reason 'new fans' --for 90m --checks 'gpu.*' --checks 'xid.*'")
    assert second.endswith("--end")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "it wants a reason"),
        (("--reason", "x", "--for", "8d"), "more than 7 days"),
        (("--end", "--for", "1h"), "--end takes no other words"),
    ],
)
def test_words_of_a_maintenance_that_make_no_sense_are_refused_here(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    assert says in error_of(call(maintenance, "gpu1", *words, "-i", str(write_inventory(tmp_path)))).what


def test_a_server_that_takes_no_requests_has_no_maintenance(tmp_path: Path) -> None:
    path = write_inventory(tmp_path)
    path.write_text(path.read_text() + "lb = ['lb1']\n")
    error = error_of(call(maintenance, "lb1", "--reason", "x", "-i", str(path)))
    assert "it is lb" in error.what
