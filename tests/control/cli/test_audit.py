"""`dsops audit` against nodes whose own door answers over SSH: what it verifies, shows, keeps and refuses."""

import json
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from dsops.control.audit import Chain
from dsops.control.cli.audit import OwnReader, audit, read_rounds
from dsops.control.cli.drain import drain
from dsops.control.fleet.inventory import get_fleet
from dsops.core.audit import Act, Head, Kind, parse_line, render_line
from dsops.core.errors import DsopsError
from dsops.node.store.audit import audit_folder, find_files, read_head, read_lines, read_tail
from dsops.node.store.disk import Disk
from dsops.node.store.ledger import Ledger

from tests.control.fleet.sshd import Reply, Sshd, run_sshd
from tests.node.store.bed import make_root


@dataclass
class Node:
    """A server's chain, and its door behind SSH. A changing verb adds an entry, and says where the chain ends."""

    name: str
    folder: Path
    at: float = 1_700_000_000.0
    is_silent: bool = False
    commands: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = make_root(self.folder / "store")
        self.add("begin")

    def add(self, verb: str, why: str = "") -> None:
        self.at += 1
        ledger = Ledger(self.root, Disk(), node=self.name, now=lambda: self.at)
        ledger.add(Act(self.at, Kind.DONE, verb, "kim", why, self.name))
        assert ledger.close()

    @property
    def file(self) -> Path:
        return find_files(audit_folder(self.root))[-1]

    def cut(self, count: int) -> None:
        self.file.write_bytes(b"".join(self.file.read_bytes().splitlines(keepends=True)[:-count]))

    def answer(self, command: str) -> Reply:
        self.commands.append(command)
        words = shlex.split(command)[2:]
        if self.is_silent:
            return 1, "", "error: this server is ill\n  mend: look at it\n"
        if words[0] != "audit":
            self.add(words[0], why="over ssh")
            head = parse_line(self.file.read_bytes().splitlines()[-1]).head
            return 0, f"did {words[0]}\n", f"audit: {head}\n"
        # Not through click: its runner catches the output of all threads.
        assert words[1] in ("export", "head", "tail")
        if words[1] == "head":
            return 0, f"{read_head(self.root)}\n", ""
        count, after = (int(words[4]), int(words[6])) if words[1] == "tail" else (10**6, 0)
        lines = read_tail(self.root, count=count, after=after) if words[1] == "tail" else read_lines(self.root)
        return 0, b"".join(line.data + b"\n" for line in lines).decode(), ""


@dataclass
class Site:
    """Two nodes, and the inventory that names them."""

    inventory: Path
    nodes: dict[str, Node]
    state: Path

    def run(self, command: click.Command, *words: str) -> Result:
        return CliRunner().invoke(command, [*words, "-i", str(self.inventory)])

    def verify(self, *words: str) -> Result:
        return self.run(audit, "verify", *words)


@pytest.fixture
def site(tmp_path: Path, state_folder: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        nodes, hosts, keys = {}, [], []
        key = tmp_path / "key"
        for name in ("gpu1", "gpu2"):
            (tmp_path / name).mkdir()
            nodes[name] = Node(name, tmp_path / name)
            sshd = stack.enter_context(run_sshd(Sshd(nodes[name].answer)))
            if not key.exists():
                sshd.allowed.write_private_key_file(str(key))
                allowed = sshd.allowed
            sshd.allowed = allowed
            keys.append(f"[127.0.0.1]:{sshd.port} {sshd.host_key.get_name()} {sshd.host_key.get_base64()}\n")
            hosts.append((name, {"ssh_hostname": "127.0.0.1", "ssh_port": sshd.port}))
        (tmp_path / "known_hosts").write_text("".join(keys))
        (tmp_path / "inventory/group_data").mkdir(parents=True)
        (tmp_path / "inventory/site.py").write_text(f"gpu = {hosts!r}\n")
        both = f'ssh_known_hosts_file = "{tmp_path / "known_hosts"}"\ndsops_ssh_key = "{key}"\n'
        (tmp_path / "inventory/group_data/all.py").write_text(both)
        yield Site(tmp_path / "inventory/site.py", nodes, state_folder)


def verdicts(done: Result) -> dict[str, str]:
    return {one["name"]: one["verdict"] for one in json.loads(done.output)["chains"]}


def test_whole_chains_are_said_to_be_whole_and_their_ends_are_kept(site: Site) -> None:
    site.run(drain, "gpu1", "--reason", "a fan")
    done = site.verify()
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.output.splitlines()]
    assert rows[0] == ["chain", "entries", "head", "since", "seen", "before", "verdict"]
    assert (rows[1][:4], rows[1][-1]) == (["this", "control", "host", "2"], "whole")
    assert (rows[2][:2], rows[2][-2:]) == (["gpu1", "3"], ["1", "whole"])
    assert (rows[3][:2], rows[3][-2:]) == (["gpu2", "2"], ["0", "whole"])
    told = [(entry.act.verb, entry.act.node, entry.act.head) for entry in Chain(site.state).read_entries()]
    ends = {name: parse_line(one.file.read_bytes().splitlines()[-1]).head for name, one in site.nodes.items()}
    assert told[1:] == [("drain", "gpu1", ends["gpu1"]), ("verify", "gpu2", ends["gpu2"])]
    assert json.loads(site.verify("--json").output)["ok"]
    assert len(Chain(site.state).read_entries()) == 3, "what is known is not kept again"


def test_an_end_that_was_cut_off_after_a_command_is_found(site: Site) -> None:
    site.run(drain, "gpu1", "--reason", "a fan")
    site.nodes["gpu1"].cut(1)
    done = site.verify()
    assert done.exit_code == 1
    assert "gpu1: 1 place is not as it was written\n" in done.output
    assert "  gpu1:2: the end was cut off: the chain ends at entry 2, and the control host saw entry 3\n" in done.output
    assert 'Was it installed anew: dsops audit accept gpu1 --reason "..."' in done.output
    assert verdicts(site.verify("--json")) == {"this control host": "whole", "gpu1": "NOT WHOLE", "gpu2": "whole"}


def test_a_chain_written_anew_by_root_on_the_node_is_found(site: Site) -> None:
    site.nodes["gpu2"].add("remove", "a secret")
    assert site.verify().exit_code == 0
    head, anew = Head(), b""
    for line in site.nodes["gpu2"].file.read_bytes().splitlines():
        act = parse_line(line).act
        text, head = render_line(Act(**{**vars(act), "why": "nothing to see"}), after=head)
        anew += text
    site.nodes["gpu2"].file.write_bytes(anew)
    done = site.verify("gpu2")
    assert done.exit_code == 1
    assert "entry 3 is another one than the control host saw: it was written anew" in done.output


def test_this_control_hosts_own_chain_is_verified_as_well(site: Site) -> None:
    site.run(drain, "gpu1", "--reason", "a fan")
    (file,) = (site.state / "audit").glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b"a fan", b"a cat"))
    done = site.verify("gpu2")
    assert done.exit_code == 1
    assert "000000000001.jsonl:2: entry 2 was altered after it was written" in done.output


def test_a_node_that_cannot_be_asked_ends_with_2_and_the_others_are_told(site: Site) -> None:
    site.nodes["gpu2"].is_silent = True
    done = site.verify()
    assert done.exit_code == 2
    assert "gpu2 cannot be asked: gpu2: this server is ill" in done.output
    assert verdicts(site.verify("--json")) == {
        "this control host": "whole",
        "gpu1": "whole",
        "gpu2": "cannot be asked",
    }


def test_a_node_that_was_installed_anew_is_accepted_with_a_reason(site: Site) -> None:
    assert site.verify().exit_code == 0
    site.nodes["gpu1"].add("x")
    assert site.verify().exit_code == 0
    site.nodes["gpu1"].file.unlink()
    site.nodes["gpu1"].at += 1000
    site.nodes["gpu1"].add("begin")
    assert site.verify().exit_code == 1
    assert site.run(audit, "accept", "gpu1").exit_code == 2, "it wants a reason"
    done = site.run(audit, "accept", "gpu1", "--reason", "a new disk")
    assert (done.exit_code, done.output[:22]) == (0, "gpu1: from entry 2 on,")
    assert site.verify().exit_code == 0
    told = Chain(site.state).read_entries()[-1].act
    assert (told.verb, told.why, told.node) == ("accept", "a new disk", "gpu1")


def test_the_tail_is_one_list_of_all_the_newest_last(site: Site) -> None:
    site.nodes["gpu2"].add("restart", "it hung")
    site.run(drain, "gpu1", "--reason", "a fan")
    lines = site.run(audit, "tail").output.splitlines()
    assert "here for gpu1 2  done drain by " in lines[-1]
    assert lines[-1].endswith(": a fan")
    assert any("gpu2 3  done restart by kim: it hung" in line for line in lines)
    assert len(site.run(audit, "tail", "-n", "2").output.splitlines()) == 2
    found = [json.loads(line) for line in site.run(audit, "tail", "--json").output.splitlines()]
    assert {one["chain"] for one in found} == {"this control host", "gpu1", "gpu2"}
    assert [one["at"] for one in found] == sorted(one["at"] for one in found)


def test_the_tail_of_one_node_is_that_nodes(site: Site) -> None:
    site.run(drain, "gpu1", "--reason", "a fan")
    assert "a fan" not in site.run(audit, "tail", "gpu2").output
    assert "here for gpu1" in site.run(audit, "tail", "gpu1").output


def test_a_silent_node_does_not_hide_the_others(site: Site) -> None:
    site.nodes["gpu2"].is_silent = True
    done = site.run(audit, "tail")
    assert done.exit_code == 2
    assert "gpu1 2  done begin" in done.stdout
    assert "gpu2 cannot be asked: gpu2: this server is ill" in done.stderr


def test_following_shows_each_entry_once_also_after_a_break(site: Site) -> None:
    node, naps = site.nodes["gpu1"], list[float]()

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        node.is_silent = len(naps) == 2
        node.add("restart", f"nap {len(naps)}")

    fleet = get_fleet(site.inventory)
    own = OwnReader(Chain(site.state), str(site.inventory), frozenset(["gpu1"]))
    rounds = read_rounds(fleet, [fleet.get_server("gpu1")], own, count=1, follow=True, sleep=sleep)
    shown = [([entry.act.why or entry.act.verb for _, entry in found], silent) for found, silent in islice(rounds, 4)]
    assert shown == [
        (["begin"], {}),
        (["nap 1"], {}),
        ([], {"gpu1": "gpu1: this server is ill"}),
        (["nap 2", "nap 3"], {}),
    ]


def test_nodes_are_asked_nothing_that_changes_them(site: Site) -> None:
    site.verify()
    site.run(audit, "tail")
    words = {command.split(" ")[2] for one in site.nodes.values() for command in one.commands}
    assert words == {"audit"}


def test_an_unknown_node_gets_its_neighbour(site: Site) -> None:
    done: Any = site.verify("gpu9")
    assert isinstance(done.exception, DsopsError)
    assert "did you mean" in done.exception.mend
