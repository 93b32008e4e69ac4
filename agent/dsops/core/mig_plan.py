"""What must change on a GPU so that it is divided as wanted, and which of its devices a slot gets. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dsops.core.errors import DsopsError
from dsops.core.mig import Binding, Kind, Part, Place, find_places


@dataclass(frozen=True)
class Instance:
    """An instance that is there. id, profile: NVML's numbers. uuid: "" while nothing can compute on it.

    computes: how many compute instances it is divided into; 1 is all of it for one process.
    """

    id: int
    profile: int
    start: int
    computes: int = 1
    uuid: str = ""


@dataclass(frozen=True)
class Gpu:
    """A GPU as the driver tells it. id: PCI device. mode, pending: MIG is on now, after a reset; None: it has no MIG.

    users: processes that hold it. lack: why it could not be read.
    """

    index: int
    name: str
    id: str
    uuid: str
    mode: bool | None = None
    pending: bool | None = None
    instances: tuple[Instance, ...] = ()
    users: tuple[int, ...] = ()
    lack: str = ""


@dataclass(frozen=True)
class Change:
    """What must be done to one GPU, in this order. mode: None where it stays as it is; destroy: ids of instances."""

    gpu: int
    destroy: tuple[int, ...] = ()
    mode: bool | None = None
    create: tuple[Place, ...] = ()
    says: str = ""

    def __bool__(self) -> bool:
        return bool(self.destroy or self.create) or self.mode is not None


def plan_gpu(gpu: Gpu, kind: Kind | None, parts: Sequence[Part]) -> Change:
    """What makes a GPU as wanted; instances that lie right are kept. Raises DsopsError where it cannot be."""
    where = f"GPU {gpu.index} ({gpu.name})"
    if gpu.lack:
        raise DsopsError(gpu.lack, where=where, mend="`nvidia-smi -q`; mend the GPU or its driver first")
    if not parts:
        return _plan_off(gpu, kind)
    if gpu.mode is None:
        raise DsopsError("it cannot be divided: it has no MIG", where=where, mend='its layout must be "off"')
    if kind is None:
        mend = "add its profiles to agent/dsops/catalog/mig.toml, from `nvidia-smi mig -lgip` and `-lgipp`"
        raise DsopsError(f"nobody knows how a GPU {gpu.id} is divided", where=where, mend=mend)
    try:
        places = find_places(kind, parts)
    except DsopsError as error:
        raise DsopsError(error.what, where=where, mend=error.mend) from error
    keep = {place for place in places if any(_is(place, one, kind) for one in gpu.instances)} if gpu.mode else set()
    destroy = tuple(one.id for one in gpu.instances if not any(_is(place, one, kind) for place in keep))
    create = tuple(place for place in places if place not in keep)
    mode = None if gpu.mode and gpu.pending is not False else True
    return Change(gpu.index, destroy, mode, create, _tell(gpu, kind, destroy, mode, create))


def _plan_off(gpu: Gpu, kind: Kind | None) -> Change:
    if not gpu.mode and not gpu.pending:
        return Change(gpu.index)
    destroy = tuple(one.id for one in gpu.instances)
    return Change(gpu.index, destroy, False, (), _tell(gpu, kind, destroy, False, ()))


def _is(place: Place, one: Instance, kind: Kind) -> bool:
    """Whether an instance is that one, whole and for one process."""
    same = (one.start, kind.name_of(one.profile)) == (place.start, place.profile)
    return same and one.computes == 1 and bool(one.uuid)


def _tell(gpu: Gpu, kind: Kind | None, destroy: Sequence[int], mode: bool | None, create: Sequence[Place]) -> str:
    """The change in words, such as `destroys 3g.20gb@0; creates 7x1g.5gb`."""
    gone = [
        f"{kind.name_of(one.profile) if kind else f'profile {one.profile}'}@{one.start}"
        for one in gpu.instances
        if one.id in destroy
    ]
    words = [f"destroys {', '.join(gone)}"] if gone else []
    words += [] if mode is None else [f"turns MIG {'on' if mode else 'off'}"]
    come = Counter(place.profile for place in create)
    words += [f"creates {', '.join(f'{count}x{name}' for name, count in come.items())}"] if create else []
    return "; ".join(words)


def find_wrong(gpu: Gpu, kind: Kind | None, parts: Sequence[Part]) -> str:
    """How a GPU differs from what is wanted after it was changed; "" when it does not."""
    if gpu.pending is not None and gpu.pending != gpu.mode:
        return f"MIG is {'on' if gpu.pending else 'off'} only after a reset of the GPU"
    return plan_gpu(gpu, kind, parts).says


def get_device(binding: Binding, gpus: Sequence[Gpu]) -> str:
    """The UUID that CUDA shall see. Raises DsopsError when it is not there."""
    told = f"{binding.gpu}" if binding.rank is None else f"{binding.gpu}/{binding.rank}"
    gpu = next((one for one in gpus if one.index == binding.gpu), None)
    if gpu is None:
        raise DsopsError(f"there is no GPU {binding.gpu}, there are {len(gpus)}", where=f"slots: {told}")
    if binding.rank is None:
        if gpu.mode:
            mend = f'name an instance, such as "{binding.gpu}/0"'
            raise DsopsError(f"GPU {gpu.index} is divided, and cannot be used as a whole", where="slots", mend=mend)
        return gpu.uuid
    instances = sorted((one for one in gpu.instances if one.uuid), key=lambda one: one.start)
    if binding.rank >= len(instances):
        mend = "instances count from 0, by the slice where they begin"
        raise DsopsError(f"GPU {gpu.index} has {len(instances)} instances", where=f"slots: {told}", mend=mend)
    return instances[binding.rank].uuid
