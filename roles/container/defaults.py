"""What the container role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Container:
    """Empty: slots run from the wheel's Triton, and nothing is looked at. "off": they do so again."""

    # The image in the bundle that slots run from: images/<name>.oci.tar.
    container_image: str = ""
    # Its digest, sha256:...; an archive with another one is refused.
    container_digest: str = ""
    # Where the image has Triton (with bin/, lib/, backends/) and the Python of its engine (with bin/python).
    container_triton: str = "/opt/dsops/triton"
    container_venv: str = "/opt/dsops/engines/openvino/venv"
