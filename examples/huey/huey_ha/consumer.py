"""huey's consumer: what a task leaves is stored together with its removal from the queue.

A task is acquired, not removed. What huey then changes for it (its result, its retry, the next task of a pipeline, the
count of a chord) and its removal are one transaction. If the primary dies before, the next one executes the task again.
What the task itself changes while it runs, it changes at once.
"""

from __future__ import annotations

import logging
from typing import Any

from huey import consumer
from huey.api import Huey, Task

from qpidha import QpidhaError

log = logging.getLogger("huey.consumer")


class Worker(consumer.Worker):
    def loop(self, now: Any = None) -> None:
        try:
            with self.huey.storage.together():
                super().loop(now)
        except QpidhaError as error:
            log.warning("what a task has left was not stored: %s", error)
            self.sleep()


class Scheduler(consumer.Scheduler):
    """Tasks leave the schedule and enter the queue in one transaction."""

    def loop(self, now: Any = None) -> None:
        try:
            with self.huey.storage.together():
                super().loop(now)
        except QpidhaError as error:
            log.warning("tasks stay in the schedule: %s", error)
            self.stop_flag.wait(self.interval)

    def sleep_for_interval(self, start_ts: float, nseconds: float) -> None:
        self.huey.storage.commit()
        super().sleep_for_interval(start_ts, nseconds)


class Consumer(consumer.Consumer):
    """For a `huey.Huey` whose storage is a `ReplicatedStorage`."""

    worker_class = Worker
    scheduler_class = Scheduler

    def __init__(self, huey: Huey, **options: Any) -> None:
        def execute_apart(task: Task) -> None:
            execute = task.execute

            def apart() -> Any:
                with huey.storage.apart():
                    return execute()

            task.execute = apart

        huey.pre_execute("huey_ha")(execute_apart)
        super().__init__(huey, **options)

    def _set_signal_handlers(self) -> None:
        """The server has its own; and only the main thread may set any."""
