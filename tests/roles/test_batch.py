"""Facts asked ahead: the same plan and the same end as without, in fewer commands, whatever was drifted."""

import ast
import random
import shlex
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Config, FactBase, FunctionCommand, Host, Inventory, State, operation
from pyinfra.api.connect import connect_all
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops

from roles.ops.batch import KEEP, Memory, ask_ahead, find_plain, is_known, parse_answers, render_program

Commands = Generator[Any, None, None]
MARK = "f00d"


class Content(FactBase[str]):
    """What is in a file; fails where there is none."""

    default = str

    def command(self, path: str) -> str:
        return f"cd / && cat {shlex.quote(path)}"

    def process(self, output: list[str]) -> str:
        return "|".join(output)


class MaybeContent(Content):
    """The same, but a file that is not there is empty."""

    def command(self, path: str) -> str:
        return f"cat {shlex.quote(path)} 2>/dev/null || true"


@operation()
def holds(path: str, content: str) -> Commands:
    """Makes a file hold a line."""
    if host_of().get_fact(MaybeContent, path=path) != content:
        yield f"echo {shlex.quote(content)} > {shlex.quote(path)}"


@operation()
def copied(path: str, source: str) -> Commands:
    """Makes a file hold what another one holds: what it does depends on what was done before it."""
    wanted = host_of().get_fact(MaybeContent, path=source)
    if host_of().get_fact(MaybeContent, path=path) != wanted:
        yield f"cp {shlex.quote(source)} {shlex.quote(path)} 2>/dev/null || rm -f {shlex.quote(path)}"
        # Asked again after a command of its own.
        if host_of().get_fact(MaybeContent, path=path) != wanted:
            yield "exit 1"


@operation()
def written_aside(path: str, content: str) -> Commands:
    """Writes by a way of its own, past pyinfra's commands, as `pipe` does."""
    if host_of().get_fact(MaybeContent, path=path) != content:
        yield FunctionCommand(write, (path, content), {})


def write(state: State, host: Host, path: str, content: str) -> bool:
    Path(path).write_text(f"{content}\n")
    return True


def host_of() -> Any:
    from pyinfra import host

    return host


@dataclass
class Run:
    """What one run did."""

    commands: list[str] = field(default_factory=list)
    changed: list[bool] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


def run(steps: Callable[[State], Iterator[Any]], *, ahead: bool) -> Run:
    """Runs operations on this machine; `-y`, so nothing is evaluated beforehand."""
    state = State(Inventory((["@local"], {})), Config(), check_for_changes=False)  # type: ignore[no-untyped-call]
    did = Run()
    connect_all(state)
    (host,) = state.inventory
    real: Any = host.connector.run_shell_command

    def listen(command: Any, *args: Any, **kwargs: Any) -> Any:
        text = str(command)
        (did.asked if "cat " in text[:12] or "exec sh" in text else did.commands).append(text)
        return real(command, *args, **kwargs)

    connector: Any = host.connector
    connector.run_shell_command = listen
    if ahead:
        ask_ahead(state, host)
    metas = [meta[host] for meta in steps(state)]
    run_ops(state)
    did.changed = [meta.did_change() for meta in metas]
    return did


def make_steps(folder: Path, seed: int) -> Callable[[State], Iterator[Any]]:
    """A random site of 15 operations on six files, many of which depend on each other."""

    def steps(state: State) -> Iterator[Any]:
        chance = random.Random(seed)
        for _ in range(15):
            path, source = (str(folder / f"f{chance.randrange(6)}") for _ in range(2))
            kind = chance.choice(["holds", "holds", "copied", "aside"])
            if kind == "copied":
                yield add_op(state, copied, path=path, source=source)
            else:
                yield add_op(
                    state, holds if kind == "holds" else written_aside, path=path, content=f"v{chance.randrange(2)}"
                )

    return steps


def make_start(folder: Path, seed: int) -> None:
    """Some of the files, as a run may find them."""
    folder.mkdir()
    chance = random.Random(seed * 7)
    for number in range(6):
        if chance.random() < 0.7:
            (folder / f"f{number}").write_text(f"v{chance.randrange(2)}\n")


def read(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted(folder.iterdir())}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_a_run_does_the_same_and_ends_the_same(tmp_path: Path, seed: int) -> None:
    folder, did, ends = tmp_path / "site", [], []
    for ahead in (False, True):
        make_start(folder, seed)
        did.append(run(make_steps(folder, seed), ahead=ahead))
        ends.append(read(folder))
        folder.rename(tmp_path / f"was-{ahead}")
    assert did[0].commands == did[1].commands
    assert did[0].changed == did[1].changed
    assert ends[0] == ends[1]


def many(folder: Path, count: int = 30) -> Callable[[State], Iterator[Any]]:
    return lambda state: (add_op(state, holds, path=str(folder / f"f{n}"), content="v") for n in range(count))


@pytest.mark.slow
def test_a_run_that_changes_nothing_asks_once(tmp_path: Path) -> None:
    run(many(tmp_path), ahead=True)
    assert len(run(many(tmp_path), ahead=False).asked) == 30
    did = run(many(tmp_path), ahead=True)
    assert (len(did.asked), did.commands, any(did.changed)) == (1, [], False)


@pytest.mark.slow
def test_one_change_costs_a_few_questions_and_not_one_for_each_operation_after_it(tmp_path: Path) -> None:
    run(many(tmp_path), ahead=True)
    (tmp_path / "f3").unlink()
    did = run(many(tmp_path), ahead=True)
    assert did.changed == [number == 3 for number in range(30)]
    assert len(did.asked) <= 1 + 5  # 1 + 2 + 4 + 8 + 16 operations ahead


def test_a_run_that_changes_everything_asks_no_more_than_without(tmp_path: Path) -> None:
    assert len(run(many(tmp_path), ahead=True).asked) <= 30


class Odd(FactBase[list[str]]):
    """Prints what is hard to take apart."""

    def command(self, what: str) -> str:
        return what

    def process(self, output: list[str]) -> list[str]:
        return output


ODD = [
    "true",
    "echo",
    "echo; echo",
    "printf 'no end'",
    "printf 'a\\n\\nb\\n\\n'",
    "echo \"it's\" '\"quoted\"' '$HOME' '\\'",
    "cd /tmp; pwd",
    "pwd | wc -l",
    "look() { echo $1; }; look 1",
    "look 2 2>/dev/null || echo 'no such function'",
    "X=1; echo ${Y-unset}",
    "Y=2; echo ${X-unset}",
    "echo said >&2; echo out",
    "cat",
    "echo one; exit 0; echo two",
    "# only a remark",
    "echo a; # a remark at the end",
    "cat <<'END'\n( not a shell's ) 'word\nEND",
    "printf 'f00d 1 0\\n'",
    "umask 077; umask",
    "umask",
]


@pytest.fixture
def server() -> Any:
    """This machine, connected."""
    state = State(Inventory((["@local"], {})), Config())  # type: ignore[no-untyped-call]
    connect_all(state)
    (host,) = state.inventory
    return host


def test_every_answer_is_what_it_would_be_alone(server: Any) -> None:
    alone = [server.get_fact(Odd, what=what) for what in ODD]
    memory = Memory(server)
    memory.install()
    memory.ask([lambda what=what: server.get_fact(Odd, what=what) for what in ODD])  # type: ignore[misc]
    assert len(memory._answers) == len(ODD)
    memory._run = refuse  # type: ignore[assignment]
    assert [server.get_fact(Odd, what=what) for what in ODD] == alone


def refuse(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("asked again")


@pytest.mark.parametrize("broken", ["exit 3", "( echo", "echo '", "if true", "no-such-program"])
def test_a_fact_that_fails_is_left_out_and_the_others_are_not(server: Any, broken: str) -> None:
    memory = Memory(server)
    memory.install()
    words = ["echo before", broken, "echo after"]
    memory.ask([lambda what=what: server.get_fact(Odd, what=what) for what in words])  # type: ignore[misc]
    assert set(memory._answers) == {"echo before", "echo after"}


def test_a_server_that_does_not_answer_is_asked_one_by_one_from_then_on(server: Any) -> None:
    memory = Memory(server)
    memory.install()
    memory._run = lambda *args, **kwargs: (_ for _ in ()).throw(TimeoutError())  # type: ignore[assignment]
    memory.ask([lambda: server.get_fact(Odd, what="echo")])
    assert (memory._answers, memory._ahead) == ({}, 0)
    memory.forget()
    assert memory._ahead == 0


def test_an_answer_ages(server: Any) -> None:
    memory = Memory(server)
    memory.install()
    memory.ask([lambda: server.get_fact(Odd, what="date +%s%N")])
    first = server.get_fact(Odd, what="date +%s%N")
    assert server.get_fact(Odd, what="date +%s%N") == first
    memory._since -= KEEP
    assert server.get_fact(Odd, what="date +%s%N") != first


@pytest.mark.parametrize("way", ["command", "upload"])
def test_whatever_is_no_fact_ends_what_is_known(server: Any, way: str, tmp_path: Path) -> None:
    memory = Memory(server)
    memory.install()
    memory.ask([lambda: server.get_fact(Odd, what="date +%s%N")])
    first = server.get_fact(Odd, what="date +%s%N")
    if way == "command":
        server.run_shell_command("true")
    else:
        (tmp_path / "a").write_text("a")
        server.put_file(str(tmp_path / "a"), str(tmp_path / "b"))
    assert server.get_fact(Odd, what="date +%s%N") != first


@pytest.mark.parametrize(
    "more",
    [
        {"_sudo": True},
        {"_env": {"A": "b"}},
        {"_chdir": "/"},
        {"_su_user": "x"},
        {"_shell_executable": "bash"},
        {"_stdin": "x"},
        {"_get_pty": True},
        {"_success_exit_codes": [0, 1]},
    ],
)
def test_what_pyinfra_would_not_run_just_so_is_not_asked_ahead(more: dict[str, Any]) -> None:
    assert find_plain("true", more) is None


def test_what_an_operation_gives_its_facts_by_default_is_plain() -> None:
    assert find_plain("true", {"_timeout": 60, "_success_exit_codes": [0], "_retries": 1, "_env": {}}) == "true"


def test_only_lines_with_the_mark_part_the_answers() -> None:
    lines = ["a", "", f"{MARK} 0 0", "", f"{MARK} 1 0", "lost", "", f"{MARK} 2 1", "b", f"{MARK} 3 0", "cut off"]
    found = {number: output.stdout_lines for number, (_, output) in parse_answers(lines, MARK)}
    assert found == {0: ["a"], 1: [], 3: ["b"]}


def test_a_program_is_one_line_for_each_command() -> None:
    assert render_program(["echo 'a'"], MARK).count("\n") == 1


def test_this_pyinfra_has_what_is_hooked_into(server: Any) -> None:
    assert is_known(server.state, server)


def test_another_pyinfra_is_left_as_it_is(server: Any) -> None:
    del server.op_hash_order
    assert not is_known(server.state, server)
    ask_ahead(server.state, server)
    assert "get_fact" not in vars(server)


def test_whoever_wants_to_see_every_command_sees_every_command(server: Any) -> None:
    server.state.print_fact_input = True
    ask_ahead(server.state, server)
    assert "get_fact" not in vars(server)


def find_operations() -> list[tuple[str, ast.FunctionDef]]:
    """(file: name, code) of every operation of the roles."""
    found = []
    for file in sorted((Path(__file__).parents[2] / "roles").rglob("*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and any(is_operation(one) for one in node.decorator_list):
                found.append((f"{file.parent.name}/{file.name}: {node.name}", node))
    return found


def is_operation(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "operation"


def test_before_its_first_fact_an_operation_only_computes() -> None:
    """It is started twice: what it says, or does, up to there, it would say or do twice."""
    loud = {"info", "warning", "error", "tell", "tell_file", "touch", "run_shell_command", "put_file", "run"}
    operations, wrong = find_operations(), []
    assert len(operations) > 15
    for name, code in operations:
        calls = [node for node in ast.walk(code) if isinstance(node, ast.Call)]
        words = [(node.lineno, getattr(node.func, "attr", getattr(node.func, "id", ""))) for node in calls]
        first = min((line for line, word in words if word == "get_fact"), default=0)
        wrong += [f"{name}, line {line}: {word}" for line, word in words if word in loud and line < first]
    assert not wrong
