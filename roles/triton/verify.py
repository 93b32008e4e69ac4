"""Is Triton installed as the bundle has it, reachable from the server itself only, and without privileges?"""

import pytest

from roles.ops.proofs import Host, check_sandboxed, fetch, get_listeners, get_owners, get_unit

GROUPS = ("gpu",)
SLOTS = {"a": 8100, "b": 8200}
RUNTIME = "/opt/dsops/triton"


def is_prepared(host: Host, slot: str) -> bool:
    """Whether a release lies in the slot."""
    return bool(host.run(f"test -f /var/lib/dsops/slots/{slot}/release.json").rc == 0)


def test_the_runtime_is_there_and_belongs_to_root(host: Host) -> None:
    paths = [
        f"{RUNTIME}/bin/tritonserver",
        f"{RUNTIME}/backends/python/libtriton_python.so",
        "/opt/dsops/bin/dsops-triton",
    ]
    owners = get_owners(host, paths)
    assert owners == {paths[0]: "755 root root", paths[1]: owners.get(paths[1], "?"), paths[2]: "755 root root"}
    assert owners[paths[1]].endswith("root root")
    assert host.file(f"{RUNTIME}/.dsops-sums").exists, "the runtime was never proven against the bundle's sums"


def test_triton_listens_on_the_loopback_only(host: Host) -> None:
    found = [one for one in get_listeners(host) if one.program.startswith("triton")]
    assert found, "no Triton listens at all"
    assert not [one for one in found if not one.is_local]
    wanted = {base + offset for base in SLOTS.values() for offset in range(3)}
    assert {one.port for one in found} <= wanted


@pytest.mark.parametrize("slot", SLOTS)
def test_a_slot_with_a_release_serves_it_and_an_empty_one_is_quiet(host: Host, slot: str) -> None:
    unit = get_unit(host, f"triton@{slot}.service")
    if not is_prepared(host, slot):
        assert unit["ActiveState"] == "inactive"
        return
    if unit["UnitFileState"] == "disabled":
        assert unit["ActiveState"] in ("inactive", "failed"), "it was stopped by the helper, and runs"
        pytest.skip(f"slot {slot} holds a release and was stopped; the store's helper starts it when it is needed")
    assert unit["ActiveState"] == "active"
    assert fetch(host, f"http://127.0.0.1:{SLOTS[slot]}/v2/health/ready")[0] == 200
    assert fetch(host, f"http://127.0.0.1:{SLOTS[slot]}/v2/models/llm")[0] == 200


@pytest.mark.parametrize("slot", SLOTS)
def test_triton_has_no_privileges(host: Host, slot: str) -> None:
    if get_unit(host, f"triton@{slot}.service")["ActiveState"] != "active":
        pytest.skip(f"slot {slot} does not run")
    check_sandboxed(host, f"triton@{slot}.service", user="triton")


@pytest.mark.parametrize(
    "path", ["v2/repository/index", "v2/systemsharedmemory/status", "v2/trace/setting", "v2/logging"]
)
def test_what_could_change_a_running_triton_is_closed(host: Host, path: str) -> None:
    code = (
        "import sys,urllib.request as r,urllib.error as e\n"
        "q=r.Request(sys.argv[1], data=b'{}' if 'index' in sys.argv[1] else None)\n"
        "try: print(r.urlopen(q,timeout=5).status)\n"
        "except e.HTTPError as x: print(x.code)"
    )
    said = [
        host.check_output("python3 -c %s %s", code, f"http://127.0.0.1:{SLOTS[s]}/{path}").strip()
        for s in SLOTS
        if get_unit(host, f"triton@{s}.service")["ActiveState"] == "active"
    ]
    assert set(said) <= {"403", "404", "400"}, said
