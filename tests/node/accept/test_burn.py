"""The burn-in's process: what it says is read, and one that hangs, dies or lies is told and never passes."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from dsops.core.accept.judge import Outcome, Verdict, decide, judge
from dsops.core.accept.measured import Gpu, Lack, Measurement, Taken
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.node.accept.burn import Said, burn_in, find_kernels, find_python, read_burn_in

from tests.core.accept.nodes import RULES, make
from tests.node.accept.child import PARTS, make_burnt, make_said, write_kernels, write_saying

PYTHON = Path(sys.executable)
GPUS = (Gpu(0, "GPU-0", "NVIDIA H100"), Gpu(1, "GPU-1", "NVIDIA H100"))


def read(*burnt: dict[str, Any], gpus: tuple[Gpu, ...] = GPUS, **changes: Any) -> Taken:
    return read_burn_in(decode(Said, make_said(*burnt, **changes), where="x"), gpus)


def both(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A sound first GPU, and a second one that is otherwise."""
    return make_burnt(0), make_burnt(1, **changes)


def test_what_it_says_becomes_figures_and_looks_of_the_drivers_own_gpus() -> None:
    taken = read(make_burnt(0, uuid="1"), make_burnt(1, uuid="0"))
    assert (taken.faults, taken.gaps) == ((), ())
    figures = {(one.name, one.gpu, one.peer): one.value for one in taken.figures}
    assert (figures[("copy_rate", 0, -1)], figures[("triad_rate", 1, -1)]) == (2946.0, 3008.0)
    assert figures[("product_rate", 0, -1)] == 728.0
    # PyTorch's first GPU is the driver's second.
    assert figures[("peer_rate", 1, 0)] == figures[("peer_rate", 0, 1)] == 394.0
    assert figures[("all_reduce", -1, -1)] == 329.0
    assert {(one.part, one.gpu) for one in taken.sounds} == {
        *((part, gpu) for part in (*PARTS, "peer") for gpu in (0, 1)),
        ("all-reduce", -1),
    }
    assert "78.2 GiB written and read 72 times" in {one.says for one in taken.sounds}


def judged(taken: Taken) -> dict[tuple[str, int], Outcome]:
    """With a sound rest of a node, by what each is."""
    names = {one.name for one in (*taken.figures, *taken.gaps)}
    base = make()
    figures = [one for one in base.figures if one.name not in names and one.name != "copy_rate"]
    one = Measurement(
        **{key: getattr(base, key) for key in ("machine", "host", "kernel", "driver", "dsops", "torch", "seconds")},
        gpus=base.gpus,
        figures=(*figures, *taken.figures),
        sounds=taken.sounds,
        faults=taken.faults,
        gaps=taken.gaps,
    )
    return {(check.name, check.gpu): check.outcome for check in judge(one, RULES) if check.outcome is not Outcome.PASS}


@pytest.mark.parametrize("part", [*PARTS, "peer", "start"])
def test_a_problem_of_any_part_fails_the_gpu_that_has_it(part: str) -> None:
    taken = read(*both(problems=[{"part": part, "what": "3 words are wrong"}]))
    assert judged(taken)[(part, 1)] is Outcome.FAIL


def test_a_wrong_sum_over_all_gpus_fails_the_node() -> None:
    first, second = both()
    first["problems"] = [{"part": "all-reduce", "what": "7 sums are wrong"}]
    assert judged(read(first, second))[("all-reduce", -1)] is Outcome.FAIL


@pytest.mark.parametrize("part", [*PARTS, "peer"])
def test_a_part_that_did_not_come_to_its_end_is_unknown(part: str) -> None:
    first, second = both()
    second["done"] = [one for one in second["done"] if one != part]
    assert judged(read(first, second))[(part, 1)] is Outcome.UNKNOWN


def test_a_gpu_that_stopped_answering_fails_where_it_did_and_the_rest_is_unknown() -> None:
    stuck = {"figures": [], "done": ["memory"], "problems": [{"part": "copy", "what": "no answer within 60 s"}]}
    first, second = both(**stuck)
    first["done"] = [one for one in first["done"] if one not in ("peer", "all-reduce")]
    first["figures"] = [one for one in first["figures"] if one["name"] not in ("peer_copy", "all_reduce")]
    found = judged(read(first, second))
    assert found[("copy", 1)] is Outcome.FAIL
    for name in ("product", "fp8", "memory_read", "product_rate", "peer_rate", "peer"):
        assert found[(name, 1)] is Outcome.UNKNOWN, name
    assert found[("all-reduce", -1)] is found[("all_reduce", -1)] is Outcome.UNKNOWN


def test_a_gpu_that_pytorch_does_not_see_is_unknown() -> None:
    found = judged(read(make_burnt(0, count=1)))
    assert found[("memory", 1)] is found[("product_rate", 1)] is Outcome.UNKNOWN
    assert ("memory", 0) not in found


def test_what_the_gpu_cannot_do_is_skipped_with_the_reason() -> None:
    def older(index: int) -> dict[str, Any]:
        one = make_burnt(index)
        one["figures"] = [figure for figure in one["figures"] if figure["name"] != "fp8"]
        return one | {"skips": [{"part": "fp8", "why": "NVIDIA A100 has no fp8"}]}

    taken = read(older(0), older(1))
    lacks = {(one.name, one.gpu): (one.lack, one.why) for one in taken.gaps}
    assert lacks[("fp8", 1)] == lacks[("fp8_rate", 1)] == (Lack.OTHER, "NVIDIA A100 has no fp8")


def test_one_gpu_has_no_peers() -> None:
    taken = read(make_burnt(0, count=1), gpus=GPUS[:1])
    assert {one.name for one in taken.gaps} == {"peer", "peer_rate", "all-reduce", "all_reduce"}
    assert {(one.lack, one.why) for one in taken.gaps} == {(Lack.OTHER, "one GPU has no peers")}


@pytest.mark.parametrize(("is_broken", "lack"), [(False, Lack.UNDONE), (True, Lack.UNREAD)])
def test_when_nothing_was_done_everything_says_why(is_broken: bool, lack: Lack) -> None:
    taken = read(why="no PyTorch", is_broken=is_broken)
    assert {(one.lack, one.why) for one in taken.gaps} == {(lack, "no PyTorch")}
    assert decide(judge(make(figures=(), sounds=(), gaps=taken.gaps), RULES)) is not Verdict.PASS


def test_the_process_runs_with_dskernels_and_nothing_else_of_what_lies_beside_it(tmp_path: Path) -> None:
    kernels = write_saying(tmp_path, make_said(make_burnt()))
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    said = burn_in(PYTHON, kernels)
    assert (said.torch, said.gpus[0].figures[0].value) == ("2.11.0", 78.2)


def test_cubins_are_named_to_it(tmp_path: Path) -> None:
    does = "import json, os\nprint(json.dumps({'why': os.environ['DSKERNELS_CUBINS'], 'is_broken': False, "
    does += "'torch': '', 'cuda': '', 'gpus': []}))"
    assert burn_in(PYTHON, write_kernels(tmp_path, does=does), cubins="/opt/cubins").why == "/opt/cubins"


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("import sys; print('no CUDA for you', file=sys.stderr); sys.exit(3)", "exit 3 and told nothing .*no CUDA"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11 and told nothing"),
        ("print('{\"why\": 5}')", "told nothing"),
        ("print('nan')", "told nothing"),
        ("", "told nothing"),
    ],
)
def test_one_that_dies_or_babbles_is_told(tmp_path: Path, does: str, says: str) -> None:
    with pytest.raises(DsopsError, match=says):
        burn_in(PYTHON, write_kernels(tmp_path, does=does))


def test_one_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    does = f"import subprocess, sys, time\nsubprocess.Popen(['sh', '-c', 'sleep 2; touch {mark}'])\ntime.sleep(60)"
    kernels = write_kernels(tmp_path, does=does)
    with pytest.raises(DsopsError, match="did not end within 1 s, and was killed"):
        burn_in(PYTHON, kernels, seconds=1)
    time.sleep(1.5)
    assert not mark.exists()


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    kernels = write_kernels(tmp_path, does="")
    with pytest.raises(DsopsError, match="cannot be started"):
        burn_in(tmp_path / "python", kernels)
    with pytest.raises(DsopsError, match="is not there") as caught:
        find_python(str(tmp_path / "python"))
    assert "accept_python" in caught.value.mend


def test_the_engine_that_has_pytorch_is_found(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="no engine here has PyTorch"):
        find_python("", engines=tmp_path)
    for name in ("openvino", "vllm"):
        (tmp_path / name / "venv/lib/python3.11/site-packages").mkdir(parents=True)
    torch = tmp_path / "vllm/venv/lib/python3.11/site-packages/torch"
    torch.mkdir()
    (torch / "__init__.py").write_text("")
    assert find_python("", engines=tmp_path) == tmp_path / "vllm/venv/bin/python"
    assert find_python(sys.executable) == PYTHON


def test_the_real_burn_in_answers_in_the_form_that_is_read_here() -> None:
    """Without PyTorch, or without a GPU, it says so; with both this would be a measurement."""
    said = burn_in(PYTHON, find_kernels(), seconds=60)
    assert said.why
    assert ("PyTorch" in said.why, said.gpus) == (True, ())
