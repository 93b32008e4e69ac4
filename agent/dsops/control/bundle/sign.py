"""Signs and verifies with `ssh-keygen -Y`: present wherever OpenSSH is, so that a site can check without our code."""

from dataclasses import dataclass
from pathlib import Path

from dsops.control.run import ExitError, run
from dsops.core.errors import DsopsError

# The lab's key is good for the lab only: a site's allowed_signers never lists this namespace.
LAB_NAMESPACE = "dsops-bundle-lab@v1"
SITE_NAMESPACE = "dsops-bundle@v1"


@dataclass(frozen=True)
class Signer:
    """Who signs: the private key's file, the name written in allowed_signers, and what the key is good for."""

    key: Path
    name: str
    namespace: str


def ensure_signer(folder: Path, *, name: str, namespace: str) -> Signer:
    """Makes an ed25519 key and its allowed_signers file in `folder` unless they are there; other lines stay."""
    key, allowed = folder / "bundle_ed25519", folder / "allowed_signers"
    ensure_key_pair(key, comment=name)
    public = key.with_suffix(".pub").read_text().split()
    line = f'{name} namespaces="{namespace}" {public[0]} {public[1]}'
    held = allowed.read_text().splitlines() if allowed.exists() else []
    ours = [other for other in held if public[1] in other]
    if ours and not any(f'"{namespace}"' in other for other in ours):
        mend = "give another folder as --signer: one key signs for one purpose"
        raise DsopsError(f"this key is not for {namespace}", where=str(allowed), mend=mend)
    if not ours:
        allowed.write_text("\n".join([*held, line]) + "\n")
    return Signer(key=key, name=name, namespace=namespace)


def ensure_key_pair(key: Path, *, comment: str) -> None:
    """Makes an ed25519 key pair unless it is there; its public half is written again where only that is lost."""
    public = key.with_name(key.name + ".pub")
    if not key.exists():
        if public.exists():
            mend = f"bring the private key here, or remove {public}"
            raise DsopsError("there is a public key without its private key", where=str(key), mend=mend)
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", key])
    elif not public.exists():
        public.write_text(run(["ssh-keygen", "-y", "-f", key]))


def sign(path: Path, signer: Signer) -> Path:
    """Writes `path`.sig beside the file and returns it."""
    signature = path.with_name(path.name + ".sig")
    signature.unlink(missing_ok=True)
    run(["ssh-keygen", "-Y", "sign", "-q", "-f", signer.key, "-n", signer.namespace, path])
    return signature


def verify(path: Path, *, allowed_signers: Path, namespace: str) -> str:
    """Returns the signer's name when `path`.sig is good for `path`. Raises DsopsError otherwise."""
    signature = path.with_name(path.name + ".sig")
    if not signature.is_file():
        raise DsopsError("there is no signature", where=str(signature), mend="fetch the bundle again")
    if not allowed_signers.is_file():
        raise DsopsError(
            "no list of allowed signers", where=str(allowed_signers), mend="get it from your security team"
        )
    name = _find_signer(signature, allowed_signers)
    mend = f"do not use it; fetch the bundle again, or have its signer added to {allowed_signers}"
    words: list[str | Path] = ["ssh-keygen", "-Y", "verify", "-q", "-f", allowed_signers, "-s", signature]
    try:
        run([*words, "-I", name, "-n", namespace], input=path.read_bytes())
    except ExitError as error:
        what = f"the signature does not fit the sums, or its signer may not sign for {namespace}"
        raise DsopsError(what, where=str(signature), mend=mend) from error
    return name


def _find_signer(signature: Path, allowed_signers: Path) -> str:
    try:
        found = run(["ssh-keygen", "-Y", "find-principals", "-f", allowed_signers, "-s", signature])
    except ExitError as error:
        raise DsopsError(
            "signed by nobody whom this site allows",
            where=str(signature),
            mend=f"do not use it; the allowed signers are in {allowed_signers}",
        ) from error
    # A line may list several names for one key: the first stands for all.
    return found.splitlines()[0].split(",")[0]
