"""Signs and verifies with `ssh-keygen -Y`: present wherever OpenSSH is, so that a site can check without our code."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from dsops.control.run import ExitError, run
from dsops.core.errors import DsopsError

# The lab's key is good for the lab only: a site's allowed_signers never lists this namespace.
LAB_NAMESPACE = "dsops-bundle-lab@v1"
SITE_NAMESPACE = "dsops-bundle@v1"
# What the key of a bundle's namespace signs releases for: they also travel without a bundle.
RELEASE_NAMESPACES = {LAB_NAMESPACE: "dsops-release-lab@v1", SITE_NAMESPACE: "dsops-release@v1"}


@dataclass(frozen=True)
class Signer:
    """Who signs: the private key's file, the name written in allowed_signers, and what the key is good for."""

    key: Path
    name: str
    namespace: str

    @property
    def for_releases(self) -> "Signer":
        """The same key, as it signs releases."""
        return replace(self, namespace=RELEASE_NAMESPACES[self.namespace])

    @property
    def allowed_signers(self) -> Path:
        """The list beside the key that names it."""
        return self.key.with_name("allowed_signers")


def ensure_signer(folder: Path, *, name: str, namespace: str) -> Signer:
    """Makes an ed25519 key and its allowed_signers file in `folder` unless they are there; other lines stay.

    namespace: the bundle's. The key also signs releases; a list from before releases were signed is mended.
    """
    signer = Signer(key=folder / "bundle_ed25519", name=name, namespace=namespace)
    ensure_key_pair(signer.key, comment=name)
    public = signer.key.with_suffix(".pub").read_text().split()
    allowed = signer.allowed_signers
    held = allowed.read_text().splitlines() if allowed.exists() else []
    ours = [line for line in held if public[1] in line]
    if ours and not any(namespace in _read_namespaces(line) for line in ours):
        mend = "give another folder as --signer: one key signs for one purpose"
        raise DsopsError(f"this key is not for {namespace}", where=str(allowed), mend=mend)
    both = f'namespaces="{namespace},{RELEASE_NAMESPACES[namespace]}"'
    lines = [line.replace(f'namespaces="{namespace}"', both) if line in ours else line for line in held]
    lines += [] if ours else [f"{name} {both} {public[0]} {public[1]}"]
    if lines != held:
        allowed.write_text("\n".join(lines) + "\n")
    return signer


def get_signer(folder: Path, *, namespace: str) -> Signer:
    """The signer of a folder. Raises DsopsError when there is no key: one that nobody knows would prove nothing."""
    signer = Signer(folder / "bundle_ed25519", folder.name, namespace)
    if not signer.key.is_file():
        mend = "give the folder of the key that signs your bundles as --signer"
        raise DsopsError("there is no signing key", where=str(signer.key), mend=mend)
    return signer


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
        what = f"the signature does not fit, or its signer may not sign for {namespace}"
        raise DsopsError(what, where=str(signature), mend=mend) from error
    return name


def _read_namespaces(line: str) -> list[str]:
    """The namespaces that a line of allowed_signers lists. Source: ssh-keygen(1), ALLOWED SIGNERS."""
    found = re.search(r'namespaces="([^"]*)"', line)
    return found[1].split(",") if found else []


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
