"""The wheel of dsops holds all that a node and a control host read beside their code."""

import zipfile
from pathlib import Path

from dsops.control.bundle.wheels import build_own_wheel

ROOT = Path(__file__).parents[3]


def test_data_and_the_kernels_of_the_burn_in_travel_in_it(tmp_path: Path) -> None:
    names = set(zipfile.ZipFile(build_own_wheel(ROOT, out=tmp_path)).namelist())
    wanted = {
        "dsops/catalog/gpus.toml",
        "dsops/control/accept/page.css",
        "dsops/control/templates/group_data.txt",
        "dskernels/burn_in/__main__.py",
        "dskernels/burn_in/kernel.cu",
        "dskernels/tiled_matmul/kernel.cu",
        "dskernels/hopper.cuh",
    }
    assert wanted - names == set()
    assert not [name for name in names if name.split("/")[0] not in ("dsops", "dskernels") and "dist-info" not in name]
