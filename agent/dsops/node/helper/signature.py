"""Whether a release was signed by somebody whom this site allows; asked of `ssh-keygen`."""

import tempfile
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.node.run import Runner
from dsops.node.store.config import StoreConfig


def check_signature(manifest: bytes, signature: bytes, *, config: StoreConfig, run: Runner) -> str:
    """The signer's name. Raises DsopsError when the signature is not good for the manifest and our namespace."""
    with tempfile.NamedTemporaryFile(prefix="dsops-", suffix=".sig") as file:
        file.write(signature)
        file.flush()
        return check_signature_file(manifest, Path(file.name), config=config, run=run)


def check_signature_file(manifest: bytes, signature: Path, *, config: StoreConfig, run: Runner) -> str:
    """As `check_signature`, for a signature that lies on the disk."""
    allowed = Path(config.allowed_signers)
    if not allowed.is_file():
        mend = "`dsops deploy` puts it there (role helper)"
        raise DsopsError("no list of allowed signers", where=str(allowed), mend=mend)
    name = _find_signer(signature, allowed=allowed, run=run)
    words = ["ssh-keygen", "-Y", "verify", "-q", "-f", str(allowed), "-s", str(signature)]
    done = run([*words, "-I", name, "-n", config.namespace], input=manifest)
    if done.code:
        what = f"the signature does not fit the release, or {name} may not sign for {config.namespace}"
        raise DsopsError(what, where="release.json.sig", mend=f"do not use it; the signers are in {allowed}")
    return name


def _find_signer(signature: Path, *, allowed: Path, run: Runner) -> str:
    if not signature.is_file() or not signature.stat().st_size:
        mend = "bring a release that was signed: `dsops release build` does"
        raise DsopsError("there is no signature", where="release.json.sig", mend=mend)
    done = run(["ssh-keygen", "-Y", "find-principals", "-f", str(allowed), "-s", str(signature)])
    if done.code:
        what = "signed by nobody whom this site allows"
        raise DsopsError(what, where="release.json.sig", mend=f"do not use it; the allowed signers are in {allowed}")
    # A line may list several names for one key: the first stands for all.
    return done.stdout.splitlines()[0].split(",")[0]
