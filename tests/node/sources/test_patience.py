"""What blocks is read beside the loop; what hangs is said, once, and never waited for."""

import asyncio
import threading
import time

import pytest
from dsops.node.sources.patience import Patient


def test_a_call_that_hangs_is_said_and_does_not_pile_up() -> None:
    async def story() -> None:
        released, calls = threading.Event(), []

        def hang() -> str:
            calls.append(1)
            released.wait(60)
            return "late"

        patient: Patient[str] = Patient("the disk", seconds=1)
        began = time.perf_counter()
        assert await patient.read(hang, otherwise=str) == "the disk did not answer in 1 s"
        assert await patient.read(hang, otherwise=str) == "the disk still hangs"
        assert time.perf_counter() - began < 30
        assert len(calls) == 1
        released.set()
        assert patient._pending
        await asyncio.wait_for(patient._pending, 20)
        assert await patient.read(lambda: "well", otherwise=str) == "well"
        patient.close()

    asyncio.run(story())


def test_its_own_error_is_raised() -> None:
    async def story() -> None:
        patient: Patient[int] = Patient("x", seconds=1)
        with pytest.raises(ZeroDivisionError):
            await patient.read(lambda: 1 // 0, otherwise=lambda _: 0)
        patient.close()

    asyncio.run(story())
