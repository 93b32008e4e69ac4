"""The page: all that a change board asks for, on 100 columns, no secret on it."""

from io import StringIO

from dsops.control.plan.page import WIDTH, render
from dsops.core.dry import Certainty, Change, Detail
from dsops.core.plan import Plan, Unseen
from rich.console import Console

from tests.control.plan.plans import CONFIG, HUGEPAGES, RESTART, make_fleet, make_plan


def page(plan: Plan, *, full: bool = False) -> str:
    console = Console(width=WIDTH, record=True, file=StringIO(), highlight=False)
    console.print(render(plan, file="build/plans/x.json", full=full))
    return console.export_text()


def test_it_says_what_changes_restarts_serves_and_how_to_go_back() -> None:
    said = page(make_plan())
    for words in (
        "3 of 5 servers change (6 operations); 2 are as wanted.",
        "1 unit restarts or reloads; nothing reboots; gpu1, gpu2, gpu3 out of traffic in their turn.",
        "gpu1, gpu2, gpu3 (runs release r1, dsops 0.1.0)",
        "-port = 8080",
        "+port = 8081",
        "dsops-gateway.service   restart   gpu1, gpu2, gpu3",
        "1   gpu1   gpu: 2 of 3 serve",
        "the older values",
        "dsops apply build/plans/x.json",
    ):
        assert words in said, said
    assert all(len(line) <= WIDTH for line in said.splitlines())


def test_an_outage_a_reboot_and_what_is_not_said_stand_out() -> None:
    alone = Change("new", "new: thing", Certainty.CONDITIONAL)
    said = page(make_plan({"gpu1": (CONFIG, RESTART, HUGEPAGES, alone)}, fleet=make_fleet(1)))
    assert "gpu: 0 of 1 serve - OUTAGE" in said
    assert "gpu1: after system: hugepages" in said
    assert "new: thing (only if something before it changes) - effect not said" in said
    assert "not said: new: thing" in said


def test_ports_are_told_from_the_firewalls_rules() -> None:
    rules = Detail("file", "/etc/nftables.conf", "", ("+  tcp dport 8080 accept", "-  tcp dport 9 accept", "+  x"))
    said = page(make_plan({"gpu1": (Change("firewall", "firewall: rules", Certainty.SURE, (rules,)),)}))
    assert "+ tcp dport 8080 accept   on gpu1" in said
    assert "- tcp dport 9 accept   on gpu1" in said


def test_rules_that_somebody_changed_in_the_kernel_only_are_told_too() -> None:
    said = page(make_plan({"gpu1": (Change("firewall", "firewall: rules", Certainty.SURE, ()),)}))
    assert "none in the file on gpu1; the rules in force are loaded from it again" in said


def test_servers_that_could_not_be_looked_at_are_named_first() -> None:
    said = page(make_plan({}, unseen=(Unseen("gpu2", "no route to host"),)))
    assert "0 of 5 servers change (0 operations); 4 are as wanted; 1 COULD NOT BE LOOKED AT." in said
    assert "gpu2: no route to host" in said


def test_long_differences_are_cut_unless_all_is_wanted() -> None:
    long = Change("r", "r: x", Certainty.SURE, (Detail("file", "/f", "", tuple(f"+line {i}" for i in range(50))),))
    plan = make_plan({"gpu1": (long,)})
    assert "... 38 more lines (--full)" in page(plan)
    assert "+line 49" in page(plan, full=True)


def test_a_secret_shows_only_that_it_changes() -> None:
    secret = Change("gateway", "gateway: API keys", Certainty.SURE, (Detail("file", "/etc/keys", "", (), secret=True),))
    assert "/etc/keys: changes (content not shown)" in page(make_plan({"gpu1": (secret,)}))


def test_what_differs_from_server_to_server_is_said_for_each() -> None:
    def config(name: str) -> tuple[Change, ...]:
        return (Change("agent", "agent: configuration", Certainty.SURE, (Detail("file", f"/etc/{name}"),)),)

    said = page(make_plan({"gpu1": config("one"), "gpu2": config("two")}))
    assert "gpu1: /etc/one" in said
    assert "gpu2: /etc/two" in said
