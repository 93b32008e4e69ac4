"""The table that one looks at: what it says at each trouble."""

import dataclasses
import io
import json
from pathlib import Path

from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.fleet.parallel import Outcome
from dsops.control.fleet.view import (
    Seen,
    find_news,
    render,
    render_duration,
    render_gpus,
    render_seconds,
    to_data,
)
from dsops.core.errors import DsopsError
from dsops.core.status import BadMark, Blame, Canary, Condition, Finding, Gpu, NodeStatus, Phase, Verdict
from rich.console import Console, RenderableType

from tests.core.test_status import make_status

FLEET = Fleet(Path("/srv/inventory/lab.py"), Path("/srv"), (), {})
GPUS = tuple(Gpu(n, "NVIDIA H100 80GB HBM3", f"GPU-{n}", 40 + n, 2**30, 2**31, 5, 90.0) for n in range(2))


OBSERVED = 100.0 + 3 * 3600


def see(name: str, status: NodeStatus | None, *, error: DsopsError | None = None, role: str = "gpu") -> Seen:
    return Outcome(Server(name, (role,), {}, f"f:1: {name}"), status, error)


def fine(**changes: object) -> NodeStatus:
    quiet = {
        "ejected": None,
        "verdict": Verdict.OK,
        "strikes": 0,
        "baking_until": None,
        "bad": (),
        "failing_since": None,
    }
    base = make_status(gpus=GPUS, findings=(), since=100.0, observed_at=OBSERVED, **quiet)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def drained() -> NodeStatus:
    said = "drained: fan (ann)"
    finding = Finding(
        "gateway", "node.drained", Verdict.OK, Blame.ENVIRONMENT, Condition.MAINTENANCE, said, "undrain it"
    )
    return fine(node="gpu2", condition=Condition.MAINTENANCE, drained="fan (ann)", findings=(finding,))


def show(what: RenderableType, *, width: int = 200, colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_row_has_all_that_one_wants_to_know() -> None:
    row = show(render(FLEET, [see("gpu1", fine(p99_seconds=0.42, tokens_per_second=1234.5))])).splitlines()[1]
    assert row.split() == [
        *[
            "gpu1",
            "r0123456789ab",
            "serving",
            "ok",
            "3h00m",
            "2",
            "H100",
            "41",
            "°C",
            "2/4G",
            "1,234",
            "420",
            "ms",
        ]
    ]


def test_each_trouble_is_a_word_and_a_hint_with_its_mend() -> None:
    unreachable = DsopsError("no answer in 2 s", mend="ping it")
    loading = fine(node="gpu4", phase=Phase.LOADING, phase_reason="the model is not ready yet", gpus=())
    seen = [
        see("gpu1", fine()),
        see("gpu2", drained()),
        see("gpu3", None, error=unreachable),
        see("gpu4", loading),
    ]
    text = show(render(FLEET, seen))
    assert "4 servers: 2 ok, 1 maintenance, 1 unreachable. 1 of 4 gpu servers take traffic." in text
    assert "gpu2: gateway: drained: fan (ann)\n  mend: undrain it" in text
    assert "gpu3: unreachable: no answer in 2 s\n  mend: ping it" in text
    assert "gpu4: loading: the model is not ready yet" in text
    assert "inventory: /srv/inventory/lab.py" in text


def test_what_happens_to_releases_is_news() -> None:
    baking = fine(
        move="activate r2 (step prove)",
        baking_until=OBSERVED + 720,
        fallback="r1",
        last_rollback_at=OBSERVED - 180,
        bad=(BadMark("r3", "sum: wrong", None),),
    )
    text = show(render(FLEET, [see("gpu1", baking), see("lb1", fine(baking_until=None), role="lb")]))
    assert "gpu servers take traffic. 1 of them on trial.\n" in text
    assert "gpu1: under way: activate r2 (step prove)\n" in text
    assert "gpu1: r0123456789ab is on trial for 12m more; the way back is r1\n" in text
    assert "gpu1: rolled back by itself 3m ago: `dsops why gpu1`\n" in text
    assert "gpu1: r3 is refused here: sum: wrong\n" in text
    assert "gpu1, gpu2: r0123456789ab is on trial" in show(render(FLEET, [see("gpu1", baking), see("gpu2", baking)]))
    assert find_news(fine(baking_until=OBSERVED + 5, fallback=""))[0].endswith("5s more; there is no way back yet")


def test_a_canary_is_one_short_line_also_on_a_narrow_terminal() -> None:
    canary = Canary("r1234567890ab", "b", 5, OBSERVED - 12 * 60 - 20, Verdict.OK, synthetic=360)
    out = fine(move="activate of r1234567890ab in slot b at 5 % by ann (step canary)", canary=canary)
    for width in (200, 80):
        text = show(render(FLEET, [see("gpu1", out)], width=width), width=width)
        assert "gpu1: canary r1234567890ab 5 % for 12 min\n" in text
        assert "under way" not in text
    assert find_news(fine(canary=dataclasses.replace(canary, since=OBSERVED + 5)))[0].endswith(" for 0 min")
    assert find_news(fine(canary=dataclasses.replace(canary, since=100.0)))[0].endswith(" for 3h00m")
    both = show(render(FLEET, [see("gpu1", out), see("gpu2", out)]))
    assert "gpu1, gpu2: canary r1234567890ab 5 % for 12 min\n" in both


def test_what_is_quiet_is_no_news() -> None:
    assert find_news(fine(last_rollback_at=OBSERVED - 2 * 86400)) == []


def test_an_ejected_node_takes_no_traffic_and_a_halted_one_says_so() -> None:
    sick = fine(ejected="sum: wrong", halted="rolled back twice")
    text = show(render(FLEET, [see("gpu1", sick)]))
    assert "0 of 1 gpu servers take traffic." in text
    assert "gpu1: ejected: sum: wrong\n  mend: `dsops why gpu1`" in text
    assert "gpu1: halted, dsops does nothing by itself: rolled back twice\n  mend: " in text
    told = Finding("slot", "slot.wrong", Verdict.BAD, Blame.RELEASE, Condition.WRONG, "ejected: sum: wrong", "")
    assert show(render(FLEET, [see("gpu1", fine(ejected="sum: wrong", findings=(told,)))])).count("sum: wrong") == 1


def test_it_fits_eighty_columns() -> None:
    seen = [
        see("gpu1", fine(p99_seconds=0.42, tokens_per_second=1234.5)),
        see("gpu2", drained()),
        see("gpu3", None),
    ]
    lines = show(render(FLEET, seen, width=80), width=80).splitlines()[:4]
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert "…" not in "".join(lines)


def test_colour_only_repeats_what_words_say() -> None:
    seen = [see("gpu2", drained()), see("gpu3", None, error=DsopsError("x"))]
    plain, colour = show(render(FLEET, seen)), show(render(FLEET, seen), colour=True)
    assert "\x1b[" in colour
    assert "\x1b[" not in plain
    assert "maintenance" in plain
    assert "unreachable" in plain


def test_brackets_in_a_reason_are_shown_as_they_are() -> None:
    status = fine(phase=Phase.STOPPED, phase_reason="[bold]unit[/bold] failed")
    assert "stopped: [bold]unit[/bold] failed" in show(render(FLEET, [see("gpu1", status)]))


def test_blind_gpus_are_a_question_mark_and_none_a_dash() -> None:
    hung = Finding("gpus", "gpu.hung", Verdict.UNKNOWN, Blame.HARDWARE, Condition.BLIND, "hung")
    assert render_gpus(fine(gpus=(), findings=(hung,))) == "?"
    assert render_gpus(fine(gpus=())) == "-"
    other = dataclasses.replace(GPUS[0], name="Tesla T4")
    assert render_gpus(fine(gpus=(GPUS[0], other))) == "2 mixed"


def test_times_are_short() -> None:
    assert [render_duration(s) for s in (0, 59, 60, 3600 * 3 + 720, 86400 * 5 + 3600 * 4)] == [
        *["0s", "59s", "1m", "3h12m", "5d4h"]
    ]
    assert [render_seconds(s) for s in (0.042, 1.25)] == ["42 ms", "1.2 s"]


def test_machines_get_the_same_with_the_reason() -> None:
    data = json.loads(json.dumps(to_data(FLEET, [see("gpu1", fine()), see("gpu3", None, error=DsopsError("why"))])))
    assert [s["reachable"] for s in data["servers"]] == [True, False]
    assert data["servers"][0]["status"]["phase"] == "serving"
    assert (data["servers"][1]["status"], data["servers"][1]["reason"]) == (None, "why")
