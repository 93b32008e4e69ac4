"""The local door between the tiers: cool, heat, and whatever needs a release that lies cold."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.core.tiers import Tier
from dsops.node.cli.tiers import render_moving, render_tier, show
from dsops.node.store.cold import STAMP

from tests.node.cli.test_store_door import WHO, Bench
from tests.node.helper.conftest import serving
from tests.node.store.bed import NAMESPACE, Bed, Made, Signer, make_cold, make_release, make_root, make_signer


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("signer"))


def open_bench(root: Path, signer: Signer, cold: Path) -> Bed:
    bed = Bed(make_root(root), signer, settings={"cold": str(cold), "hot_reserve": 0.0})
    (root / "store.toml").write_text(f'namespace = "{NAMESPACE}"\nstate = "{root}"\ncold = "{cold}"\n')
    bed.desk().moves.begin()
    return bed


@pytest.fixture
def bench(tmp_path: Path, signer: Signer) -> Iterator[Bench]:
    make_cold(tmp_path / "cold")
    bed = open_bench(tmp_path / "store", signer, tmp_path / "cold")
    with serving(bed.desk(), bed.root / "sock") as talk:
        yield Bench(bed, talk)


@pytest.fixture
def trio(signer: Signer) -> tuple[Made, ...]:
    return tuple(signer.sign(make_release(name)) for name in ("one", "two", "three"))


def serve(bench: Bench, *releases: Made) -> None:
    for made in releases:
        bench.push(made)
        bench.ask("release", "activate", made.id, *WHO, "--wait", "60", "--json")
        bench.bed.at += bench.bed.config.bake_seconds
        bench.talk("age")


def test_a_release_is_cooled_and_heated_in_words(bench: Bench, trio: tuple[Made, ...]) -> None:
    one = trio[0]
    bench.push(one)
    size = sum(map(len, one.blobs.values())) / 1e6
    done = bench.run("release", "cool", one.id, *WHO)
    assert done.output == f"{one.id}: lies cold, {size:.1f} MB came free\n"
    (line, tier) = bench.run("release", "list").output.splitlines()
    assert line.split()[:8] == [one.id, "held", "0.0", "MB", "cold", "cold,", "63", "s"]
    assert tier.startswith(f"cold tier {bench.bed.cold}: ")
    assert tier.endswith("GB free, read at 100 MB/s (assumed, nothing was measured here yet)")
    done = bench.run("release", "heat", one.id, *WHO)
    assert done.output == f"{one.id} lies hot, {size:.1f} MB were copied in 0 s\n"
    assert bench.run("release", "heat", one.id, *WHO).output == f"{one.id} lies hot already\n"
    assert "  hot+cold hot, 63 s" in bench.run("release", "list").output
    done = bench.run("release", "cool", one.id, "--keep-hot", *WHO)
    assert done.output == f"{one.id}: the cold tier holds it as well\n"


@pytest.mark.parametrize("to", [True, False])
def test_a_rollback_heats_its_target_first_and_says_how_long_that_takes(
    bench: Bench, trio: tuple[Made, ...], to: bool
) -> None:
    one, two, three = trio
    serve(bench, *trio)
    bench.ask("release", "cool", one.id, *WHO, "--json")
    words = ["--to", one.id] if to else []
    if not to:
        bench.ask("rollback", *WHO, "--wait", "60", "--json")
        assert bench.bed.serves()[1] == two.id
    done = bench.run("rollback", *words, *WHO, "--wait", "60")
    assert done.exit_code == 0, done.exception
    assert f"{one.id} lies on the cold tier: it is copied first" in done.stderr
    assert bench.bed.serves()[1] == one.id
    assert bench.ask("release", "list", "--json")["releases"][0]["tier"] in ("hot", "hot+cold")
    assert three.id != one.id


def test_an_activation_heats_first_but_a_refusal_comes_before_any_copy(bench: Bench, trio: tuple[Made, ...]) -> None:
    one = trio[0]
    bench.push(one)
    bench.ask("release", "cool", one.id, *WHO, "--json")
    fleet = ["--epoch", "5", "--holder", "east"]
    done = bench.run("release", "activate", one.id, *WHO, *fleet, "--wait", "60")
    assert done.stdout.endswith(f"{one.id} has the traffic\n")
    assert f"{one.id} lies on the cold tier: it is copied first\n" in done.stderr
    other = trio[1]
    bench.push(other)
    bench.ask("release", "cool", other.id, *WHO, "--json")
    error = bench.refuse("release", "activate", other.id, *WHO, "--epoch", "4", "--holder", "west")
    assert "epoch 4 is older" in error.what
    assert bench.ask("release", "list", "--json")["releases"][-1]["tier"] == "cold"


def test_after_the_hot_tier_was_lost_recover_says_what_the_cold_one_still_holds(
    bench: Bench, trio: tuple[Made, ...], tmp_path: Path, signer: Signer
) -> None:
    from dsops.node.helper.tiers import tidy

    bench.bed.settings["hot_is_raid0"] = True
    serve(bench, *trio[:2])
    tidy(bench.bed.desk())
    assert "lost" in bench.ask("recover", "--json")
    assert bench.run("recover").output == "nothing is left undone\n"
    bed = open_bench(tmp_path / "new", signer, bench.bed.cold)
    with serving(bed.desk(), bed.root / "sock") as talk:
        new = replace(bench, bed=bed, talk=talk)
        said = new.run("recover").output
        two = trio[1].id
        assert said == (
            f"nothing is active here, and {two}, which was good before, lies on the cold tier: "
            f"`dsops node release activate {two} --reason ...` copies it to the hot tier and gives it the traffic "
            "(about 63 s)\n"
        )
        new.ask("release", "activate", two, *WHO, "--wait", "60", "--json")
        assert bed.serves()[1] == two


def test_a_cold_tier_whose_disk_is_gone_is_told_in_the_list(bench: Bench, trio: tuple[Made, ...]) -> None:
    bench.push(trio[0])
    (bench.bed.cold / STAMP).unlink()
    said = bench.run("release", "list").output.splitlines()
    assert said[-1] == f"cold tier {bench.bed.cold} is NOT THERE: no disk is mounted at {bench.bed.cold}"
    error = bench.refuse("release", "cool", trio[0].id, *WHO)
    assert "the cold tier is not there" in error.what


def test_how_far_a_copy_is_is_said_in_gigabytes(capsys: pytest.CaptureFixture[str]) -> None:
    moving = {"release": "r1", "to": str(Tier.COLD), "done": 3.1e9, "total": 12e9}
    assert render_moving(moving) == "r1 to the cold tier: 3.1 of 12.0 GB"
    assert render_moving(moving | {"total": 0}) == "r1 to the cold tier: begins"
    show(None, is_due=True)
    show(moving, is_due=False)
    show(moving, is_due=True)
    assert capsys.readouterr().err == "r1 to the cold tier: 3.1 of 12.0 GB\n"
    tier = {"root": "/c", "reason": "", "free": 5e9, "bytes_per_second": 143e6, "measured": True, "moving": moving}
    assert render_tier({"cold": tier}) == [
        "cold tier /c: 5.0 GB free, read at 143 MB/s (measured)",
        "now: r1 to the cold tier: 3.1 of 12.0 GB",
    ]
