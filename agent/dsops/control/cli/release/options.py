"""What the verbs of `dsops release` share: folders, and where this machine's releases and passports lie."""

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from dsops.control.bundle.checkout import find_root
from dsops.control.bundle.held import Held, get_held
from dsops.control.bundle.release import MANIFEST
from dsops.control.fleet.inventory import Fleet, find_inventory, get_fleet
from dsops.control.fleet.options import NodeName
from dsops.core.errors import DsopsError

LAB = Path("/var/lib/dsops-lab")


class ReleaseName(click.ParamType[str]):
    """A release's id, or its folder; completes from what this machine holds."""

    name = "release"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002  # click's signature
        incomplete: str,
    ) -> list[CompletionItem]:
        """Ids that begin so; none when there is no inventory: completing must never fail."""
        try:
            places = find_places(get_fleet(ctx.params.get("inventory") or find_inventory(Path.cwd())))
        except DsopsError:
            return []
        ids = sorted({found.parent.name for place in places for found in place.glob(f"*/{MANIFEST}")})
        return [CompletionItem(name) for name in ids if name.startswith(incomplete)]


NODES, RELEASE = NodeName(), ReleaseName()
# Absolute at the door: parts of the work run in other folders.
FOLDER = click.Path(path_type=Path, file_okay=False, resolve_path=True)


def find_releases(root: Path) -> Path:
    """Where `dsops release build` puts them."""
    return root / "build/releases"


def get_own(fleet: Fleet) -> Path:
    """The folder of releases of the checkout that the inventory lies in, else of the one around this folder."""
    for start in (fleet.root, Path.cwd()):
        try:
            return find_releases(find_root(start))
        except DsopsError:
            continue
    return find_releases(Path.cwd())


def find_places(fleet: Fleet) -> list[Path]:
    """The folders that may hold releases: those built here, and the bundle's."""
    bundles = {str(server.data["bundle_path"]) for server in fleet.servers if "bundle_path" in server.data}
    return [get_own(fleet)] + [fleet.root / bundle / "releases" for bundle in sorted(bundles)]


def get_release(fleet: Fleet, word: str) -> Held:
    """An id or a folder. Raises DsopsError naming what there is."""
    return get_held(word, places=find_places(fleet))
