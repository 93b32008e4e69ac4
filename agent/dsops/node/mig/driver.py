"""What the driver says of divided GPUs, and what it is told to change; all of it through NVML."""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dsops.core.errors import DsopsError
from dsops.core.mig import Kind, Part, Place, Profile
from dsops.core.mig_plan import Change, Gpu, Instance
from dsops.node.sources.gpu_values import get_text

# NVML's own numbers. An instance or a profile that is not there, or a GPU that cannot be divided.
NOT_SUPPORTED, INVALID_ARGUMENT, NOT_FOUND = 3, 2, 6
ABSENT = (NOT_SUPPORTED, INVALID_ARGUMENT, NOT_FOUND)
SHARED_ENGINES = 0
MOST = 8  # instances of one GPU, and compute instances of one of them


class Driver:
    """nvml: the pynvml module, initialised."""

    def __init__(self, nvml: Any) -> None:
        self.nvml = nvml

    def read(self) -> tuple[Gpu, ...]:
        """Every GPU that the driver lists. Raises DsopsError when it lists none, or does not answer."""
        with self._door("the driver"):
            count = self.nvml.nvmlDeviceGetCount()
        gpus = tuple(self._read_one(index) for index in range(count))
        if not gpus:
            raise DsopsError("the driver lists no GPU", mend="`nvidia-smi`; a server without GPUs takes no mig_layouts")
        return gpus

    def _read_one(self, index: int) -> Gpu:
        nvml = self.nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            mode = self._read_mode(handle)
            return Gpu(
                index=index,
                name=get_text(nvml.nvmlDeviceGetName(handle)),
                id=f"{nvml.nvmlDeviceGetPciInfo(handle).pciDeviceId >> 16:04x}",
                uuid=get_text(nvml.nvmlDeviceGetUUID(handle)),
                mode=mode[0] if mode else None,
                pending=mode[1] if mode else None,
                instances=self._read_instances(handle) if mode and mode[0] else (),
                users=tuple(sorted({int(one.pid) for one in nvml.nvmlDeviceGetComputeRunningProcesses(handle)})),
            )
        except nvml.NVMLError as error:
            return Gpu(index, "?", "", "", lack=f"NVML: {error}")

    def _read_mode(self, handle: Any) -> tuple[bool, bool] | None:
        """(now, after a reset); None of a GPU that cannot be divided."""
        try:
            now, pending = self.nvml.nvmlDeviceGetMigMode(handle)
        except self.nvml.NVMLError as error:
            if error.value == NOT_SUPPORTED:
                return None
            raise
        return bool(now), bool(pending)

    def _read_instances(self, handle: Any) -> tuple[Instance, ...]:
        uuids = self._read_uuids(handle)
        found = []
        for one in self._list_instances(handle):
            info = self.nvml.nvmlGpuInstanceGetInfo(one)
            computes = len(list(self._list_computes(one)))
            uuid = uuids.get(info.id, "")
            found.append(Instance(info.id, info.profileId, info.placement.start, computes, uuid))
        return tuple(sorted(found, key=lambda one: one.start))

    def _read_uuids(self, handle: Any) -> dict[int, str]:
        """Of the first device on each instance."""
        uuids: dict[int, str] = {}
        for index in range(self.nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            if device := self._find(self.nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index):
                uuid = get_text(self.nvml.nvmlDeviceGetUUID(device))
                uuids.setdefault(self.nvml.nvmlDeviceGetGpuInstanceId(device), uuid)
        return uuids

    def _list_instances(self, handle: Any) -> Iterator[Any]:
        """Handles of what a GPU is divided into, whatever the profiles."""
        for number in range(self.nvml.NVML_GPU_INSTANCE_PROFILE_COUNT):
            profile = self._find(self.nvml.nvmlDeviceGetGpuInstanceProfileInfo, handle, number, 1)
            if profile is None:
                continue
            found, count = (self.nvml.c_nvmlGpuInstance_t * MOST)(), ctypes.c_uint(MOST)
            self.nvml.nvmlDeviceGetGpuInstances(handle, profile.id, found, ctypes.byref(count))
            yield from found[: count.value]

    def _list_computes(self, instance: Any) -> Iterator[Any]:
        """Handles of what one instance is divided into."""
        for profile in self._list_compute_profiles(instance):
            found, count = (self.nvml.c_nvmlComputeInstance_t * MOST)(), ctypes.c_uint(MOST)
            self.nvml.nvmlGpuInstanceGetComputeInstances(instance, profile.id, found, ctypes.byref(count))
            yield from found[: count.value]

    def _list_compute_profiles(self, instance: Any) -> Iterator[Any]:
        nvml = self.nvml
        for number in range(nvml.NVML_COMPUTE_INSTANCE_PROFILE_COUNT):
            ask = nvml.nvmlGpuInstanceGetComputeInstanceProfileInfo
            if profile := self._find(ask, instance, number, SHARED_ENGINES, 1):
                yield profile

    def _find(self, ask: Callable[..., Any], *words: Any) -> Any:
        """What NVML answers, None where there is no such thing."""
        try:
            return ask(*words)
        except self.nvml.NVMLError as error:
            if error.value in ABSENT:
                return None
            raise

    # --- changes ---

    def check_places(self, gpu: Gpu, kind: Kind, parts: Sequence[Part]) -> None:
        """Raises DsopsError when the driver knows a wanted profile otherwise than the catalog: not, or elsewhere."""
        where = f"GPU {gpu.index} ({gpu.name})"
        mend = f"mend {kind.name} in catalog/mig.toml by `nvidia-smi mig -lgip` and `-lgipp`; nothing was changed"
        known = {one.name: one for one in self.read_profiles(gpu)}
        for name in sorted({part.profile for part in parts}):
            wanted, told = kind.find(name), known.get(name)
            if wanted is None:
                continue  # the plan has refused it
            if told is None or told.id != wanted.id:
                says = ", ".join(f"{one.name} ({one.id})" for one in known.values()) or "none"
                raise DsopsError(f"the driver has no {name} ({wanted.id}); it has {says}", where=where, mend=mend)
            if (told.starts, told.size) != (wanted.starts, wanted.size):
                says = ", ".join(f"{start}:{told.size}" for start in told.starts) or "nowhere"
                raise DsopsError(f"the driver lays {name} at {says}, the catalog elsewhere", where=where, mend=mend)

    def read_profiles(self, gpu: Gpu) -> tuple[Profile, ...]:
        """All profiles of a GPU, as its driver names and lays them; MIG may be off. Raises DsopsError."""
        with self._door(f"GPU {gpu.index} ({gpu.name})"):
            handle = self.nvml.nvmlDeviceGetHandleByIndex(gpu.index)
            return tuple(self._read_profiles(handle))

    def _read_profiles(self, handle: Any) -> Iterator[Profile]:
        for number in range(self.nvml.NVML_GPU_INSTANCE_PROFILE_COUNT):
            info = self._find(self.nvml.nvmlDeviceGetGpuInstanceProfileInfo, handle, number)
            places = self._find(self._read_places, handle, info.id) if info else None
            if places is None:
                continue
            # One of several sizes, which no driver had so far, is one of none: no catalog has it so.
            starts, sizes = tuple(start for start, _ in places), {size for _, size in places}
            size = sizes.pop() if len(sizes) == 1 else 0
            name = get_text(info.name).removeprefix("MIG ")
            yield Profile(name, int(info.id), size, starts, int(info.instanceCount), int(info.memorySizeMB))

    def _read_places(self, handle: Any, profile: int) -> list[tuple[int, int]]:
        """(where an instance may begin, slices that it takes)."""
        count = ctypes.c_uint(0)
        self.nvml.nvmlDeviceGetGpuInstancePossiblePlacements(handle, profile, None, ctypes.byref(count))
        found = (self.nvml.c_nvmlGpuInstancePlacement_t * count.value)()
        self.nvml.nvmlDeviceGetGpuInstancePossiblePlacements(handle, profile, found, ctypes.byref(count))
        return sorted((int(one.start), int(one.size)) for one in found[: count.value])

    def change(self, change: Change, kind: Kind | None) -> None:
        """Does what was planned on one GPU. Raises DsopsError; what was done until then stays done."""
        with self._door(f"GPU {change.gpu}"):
            handle = self.nvml.nvmlDeviceGetHandleByIndex(change.gpu)
            if change.destroy:
                self._destroy(handle, change.destroy)
            if change.mode is not None:
                self._set_mode(handle, change)
            for place in change.create:
                # Asked for again: a change of the mode may have reset the GPU.
                self._create(self.nvml.nvmlDeviceGetHandleByIndex(change.gpu), place, kind)

    def _destroy(self, handle: Any, ids: Sequence[int]) -> None:
        for one in list(self._list_instances(handle)):
            if self.nvml.nvmlGpuInstanceGetInfo(one).id not in ids:
                continue
            for compute in list(self._list_computes(one)):
                self.nvml.nvmlComputeInstanceDestroy(compute)
            self.nvml.nvmlGpuInstanceDestroy(one)

    def _set_mode(self, handle: Any, change: Change) -> None:
        status = self.nvml.nvmlDeviceSetMigMode(handle, int(bool(change.mode)))
        if status:
            said = get_text(self.nvml.nvmlErrorString(status))
            raise DsopsError(
                f"MIG turns {'on' if change.mode else 'off'} only after a reset ({said})",
                where=f"GPU {change.gpu}",
                mend="end what uses it (`nvidia-smi`; dcgm, nvsm), or reboot: dsops-mig.service divides it at boot",
            )

    def _create(self, handle: Any, place: Place, kind: Kind | None) -> None:
        """An instance, and on it one compute instance that has all of it."""
        profile = kind.find(place.profile) if kind else None
        if profile is None:
            raise DsopsError(f"nobody knows the profile {place.profile}")
        nvml = self.nvml
        at = nvml.c_nvmlGpuInstancePlacement_t(place.start, profile.size)
        one = nvml.nvmlDeviceCreateGpuInstanceWithPlacement(handle, profile.id, ctypes.byref(at))
        whole = max(self._list_compute_profiles(one), key=lambda found: int(found.sliceCount))
        nvml.nvmlGpuInstanceCreateComputeInstance(one, whole.id)

    @contextmanager
    def _door(self, where: str) -> Iterator[None]:
        try:
            yield
        except self.nvml.NVMLError as error:
            raise DsopsError(f"NVML: {error}", where=where, mend="`nvidia-smi`; it must answer first") from error


@contextmanager
def open_driver() -> Iterator[Driver]:
    """NVML for a moment, so that a reset finds no user. Raises DsopsError when there is none."""
    import pynvml  # type: ignore[import-untyped]  # here: importing this module must not load it

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise DsopsError(f"NVML: {error}", mend="the NVIDIA driver must be loaded: `nvidia-smi`") from error
    try:
        yield Driver(pynvml)
    finally:
        pynvml.nvmlShutdown()
