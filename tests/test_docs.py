"""What the documentation tells people to write down is what dsops reads."""

import re
from pathlib import Path

from dsops.control.doctor.defaults import read_keys
from dsops.control.fleet.inventory import CONTROL_KEYS, Fleet, get_fleet

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def write_first_site(folder: Path) -> Fleet:
    """The inventory of docs/first-site.md, written as the page says."""
    servers, shared = BLOCK.findall((ROOT / "docs/first-site.md").read_text())
    (folder / "inventory/group_data").mkdir(parents=True)
    (folder / "inventory/plant.py").write_text(servers)
    (folder / "inventory/group_data/plant.py").write_text(shared)
    return get_fleet(folder / "inventory/plant.py")


def test_the_first_sites_inventory_has_no_key_that_nobody_reads(tmp_path: Path) -> None:
    fleet = write_first_site(tmp_path)
    assert fleet.check_keys({*read_keys(ROOT), *CONTROL_KEYS}) == ()


def test_the_first_sites_inventory_has_the_servers_that_its_page_is_about(tmp_path: Path) -> None:
    fleet = write_first_site(tmp_path)
    assert [server.get("agent_gpus", int) for server in fleet.find_role("gpu")] == [8, 2, 4]
    assert [server.name for server in fleet.find_role("lb")] == ["lb1", "lb2"]
