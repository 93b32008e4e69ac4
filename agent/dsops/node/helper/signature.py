"""Whether a release or a passport was signed by somebody whom this site allows; asked of `ssh-keygen`."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.node.run import Runner
from dsops.node.store.config import StoreConfig


@dataclass(frozen=True)
class Paper:
    """What is signed, for the words of a refusal. where: its signature; signs: the verb that signs such things."""

    name: str
    where: str
    signs: str


MANIFEST = Paper("release", "release.json.sig", "dsops release build")


def check_signature(
    manifest: bytes, signature: bytes, *, config: StoreConfig, run: Runner, paper: Paper = MANIFEST
) -> str:
    """The signer's name. Raises DsopsError when the signature is not good for the bytes and our namespace."""
    with tempfile.NamedTemporaryFile(prefix="dsops-", suffix=".sig") as file:
        file.write(signature)
        file.flush()
        return check_signature_file(manifest, Path(file.name), config=config, run=run, paper=paper)


def check_signature_file(
    manifest: bytes, signature: Path, *, config: StoreConfig, run: Runner, paper: Paper = MANIFEST
) -> str:
    """As `check_signature`, for a signature that lies on the disk."""
    allowed = Path(config.allowed_signers)
    if not allowed.is_file():
        mend = "`dsops deploy` puts it there (role helper)"
        raise DsopsError("no list of allowed signers", where=str(allowed), mend=mend)
    name = _find_signer(signature, allowed=allowed, run=run, paper=paper)
    words = ["ssh-keygen", "-Y", "verify", "-q", "-f", str(allowed), "-s", str(signature)]
    done = run([*words, "-I", name, "-n", config.namespace], input=manifest)
    if done.code:
        what = f"the signature does not fit the {paper.name}, or {name} may not sign for {config.namespace}"
        raise DsopsError(what, where=paper.where, mend=f"do not use it; the signers are in {allowed}")
    return name


def _find_signer(signature: Path, *, allowed: Path, run: Runner, paper: Paper) -> str:
    if not signature.is_file() or not signature.stat().st_size:
        mend = f"bring a {paper.name} that was signed: `{paper.signs}` does"
        raise DsopsError("there is no signature", where=paper.where, mend=mend)
    done = run(["ssh-keygen", "-Y", "find-principals", "-f", str(allowed), "-s", str(signature)])
    if done.code:
        what = "signed by nobody whom this site allows"
        raise DsopsError(what, where=paper.where, mend=f"do not use it; the allowed signers are in {allowed}")
    # A line may list several names for one key: the first stands for all.
    return done.stdout.splitlines()[0].split(",")[0]
