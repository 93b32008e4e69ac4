"""The mig role: what is refused before any change, what a server says, and in which order a server is changed."""

import json
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import DeployError

from roles.mig.defaults import Mig
from roles.mig.divide import UNKNOWN, MigFact, MigState, can_be_had, divided
from roles.ops.files import render
from tests.roles.here import CommandFailed, Here
from tests.roles.test_roles import commands

SAID = Mig(("7x1g.10gb",), ("a: 0/0", "b: 0/1"))
CHANGE = "GPU 0: turns MIG on; creates 7x1g.10gb"


def answer(state: MigState) -> Here:
    class Answering(Here):
        def get_fact(self, kind: type[Any], **arguments: Any) -> Any:
            return state

        def _run(self, command: Any) -> None:
            if hasattr(command, "function"):
                super()._run(command)
            self.ran.append(str(command))

    return Answering()


def test_a_server_that_is_as_wanted_is_left_alone() -> None:
    server = answer(MigState(changes=()))
    assert not any(server.perform(one, said=SAID) for one in (can_be_had, divided))


def test_a_change_with_traffic_on_the_node_is_refused_before_anything_is_written() -> None:
    server = answer(MigState((CHANGE,), traffic="the node has traffic; `dsops drain NODE`"))
    with pytest.raises(CommandFailed):
        server.perform(can_be_had, said=SAID)
    assert server.ran == ["refuse"]


def test_traffic_is_no_reason_where_nothing_changes() -> None:
    assert not answer(MigState((), traffic="the node has traffic")).perform(can_be_had, said=SAID)


def test_a_layout_that_the_server_cannot_have_is_refused() -> None:
    server = answer(MigState((), refused="GPU 0 (Tesla T4): it cannot be divided: it has no MIG"))
    with pytest.raises(CommandFailed):
        server.perform(can_be_had, said=SAID)


def test_a_change_is_made_by_dsops_on_the_server() -> None:
    server = answer(MigState((CHANGE,)))
    assert not server.perform(can_be_had, said=SAID)
    assert server.perform(divided, said=SAID)
    assert server.ran == ["systemctl daemon-reload && /opt/dsops/venv/bin/python -I -m dsops.node.mig apply"]


def test_what_a_server_says_is_understood_and_silence_is_no_yes() -> None:
    said = {"changes": [CHANGE], "refused": "", "traffic": "busy", "devices": {}}
    assert MigFact().process([json.dumps(said)]) == MigState((CHANGE,), traffic="busy")
    for line in ("", "Traceback", "[]", "{}"):
        assert MigFact().process([line]).changes == (UNKNOWN,)
    assert "plan --layout 7x1g.10gb --slot 'a: 0/0' --slot 'b: 0/1'" in MigFact().command(SAID)
    assert Here().get_fact(MigFact, said=SAID) == MigState()  # no dsops here


def test_the_files_of_a_server_are_there_before_it_is_divided_and_the_check_is_before_them_all(tmp_path: Path) -> None:
    said = commands("mig", tmp_path)
    steps = ["mig plan", "/etc/dsops/mig.toml", "dsops-mig.service", "triton@.service.d/mig.conf", "mig apply"]
    found = [next(i for i, line in enumerate(said) if words in line) for words in steps]
    assert found == sorted(found)
    assert any("systemctl enable --quiet dsops-mig.service" in line for line in said)


def test_where_the_inventory_does_not_ask_nothing_is_looked_at(tmp_path: Path) -> None:
    assert commands("mig", tmp_path, mig_layouts=[], mig_slots=[]) == []


@pytest.mark.parametrize(
    ("layouts", "slots", "words"),
    [
        (["seven"], [], "'seven' is no part of a layout"),
        (["9x1g.10gb"], ["a: 0/0", "b: 0/1"], "9x1g.10gb does not fit"),
        (["1g.7gb"], ["a: 0/0", "b: 0/1"], "has no profile 1g.7gb"),
        (["2x3g.40gb", "off"], ["a: 0/0", "b: 1/0"], "GPU 1 is to have 0 instances"),
        (["2x3g.40gb"], ["a: 0/0"], "slot b is bound to nothing"),
        ([], ["a: 0", "b: 1"], "slots without layouts"),
    ],
)
def test_a_wrong_setting_is_refused_before_any_change(
    tmp_path: Path, layouts: list[str], slots: list[str], words: str
) -> None:
    with pytest.raises(DeployError, match=f"{words}(.|\\n)*nothing was changed"):
        commands("mig", tmp_path, mig_layouts=layouts, mig_slots=slots)


def test_the_configuration_is_what_dsops_on_the_server_reads() -> None:
    import tomllib

    from dsops.core.decode import decode
    from dsops.node.mig.apply import Wanted

    folder = Path(__file__).parents[2] / "roles/mig/templates"
    text = render(folder / "mig.toml.j2", said=SAID)
    assert decode(Wanted, tomllib.loads(text), where="mig.toml") == Wanted(SAID.mig_layouts, SAID.mig_slots)
    assert "EnvironmentFile=/run/dsops-mig/%i.env\n" in (folder / "triton.conf").read_text()
