"""Inferences beside the event loop."""

import asyncio
import threading
import time

import pytest

from pipelines.server.work_queue import BusyError, WorkQueue


def test_one_runs_at_a_time_in_order_and_the_loop_stays_free() -> None:
    order: list[int] = []

    def work(number: int) -> int:
        time.sleep(0.05)
        order.append(number)
        return number

    async def main() -> tuple[list[int], float]:
        queue = WorkQueue()
        jobs = [asyncio.create_task(queue.run(lambda number=number: work(number))) for number in range(3)]
        await asyncio.sleep(0)
        start = time.perf_counter()
        await asyncio.sleep(0.001)
        return await asyncio.gather(*jobs), time.perf_counter() - start

    results, _ = asyncio.run(main())
    assert results == order == [0, 1, 2]


def test_more_than_may_wait_learn_when_to_come_back() -> None:
    async def main() -> None:
        queue = WorkQueue(most_waiting=1)
        go = threading.Event()
        jobs = [asyncio.create_task(queue.run(go.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError) as refusal:
            await queue.run(go.wait)
        assert refusal.value.retry_after_s == 4  # two of the two seconds that are guessed at first
        go.set()
        assert await asyncio.gather(*jobs) == [True, True]
        assert await queue.run(lambda: 1) == 1

    asyncio.run(main())


def test_one_owner_leaves_room_for_others_and_the_wait_is_what_work_takes() -> None:
    async def main() -> None:
        queue = WorkQueue(most_waiting=3, most_of_one=2)
        for _ in range(8):
            await queue.run(lambda: time.sleep(0.001), kind="short")
        go = threading.Event()
        jobs = [asyncio.create_task(queue.run(go.wait, owner="anna", kind="short")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError) as refusal:
            await queue.run(go.wait, owner="anna", kind="short")
        assert refusal.value.retry_after_s == 1  # and not what longer work would take
        jobs.append(asyncio.create_task(queue.run(go.wait, owner="berta", kind="long")))
        await asyncio.sleep(0)
        with pytest.raises(BusyError) as refusal:
            await queue.run(go.wait, owner="anna", kind="short")
        assert refusal.value.retry_after_s == 2 + 1  # one of the unknown kind, and short ones
        go.set()
        assert await asyncio.gather(*jobs) == [True] * 3

    asyncio.run(main())


def test_who_goes_away_does_not_make_room_before_the_work_has_ended() -> None:
    async def main() -> None:
        queue = WorkQueue(most_waiting=0)
        go = threading.Event()
        job = asyncio.create_task(queue.run(go.wait))
        await asyncio.sleep(0)
        job.cancel()
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await queue.run(go.wait)
        go.set()
        while True:
            try:
                assert await queue.run(lambda: 2) == 2
                return
            except BusyError:
                await asyncio.sleep(0.001)

    asyncio.run(main())


def test_an_error_comes_back_and_makes_room() -> None:
    def fail() -> None:
        raise ValueError("inside")

    async def main() -> None:
        queue = WorkQueue(most_waiting=0)
        for _ in range(3):
            with pytest.raises(ValueError, match="inside"):
                await queue.run(fail)
            await asyncio.sleep(0)

    asyncio.run(main())
