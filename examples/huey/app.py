"""A small application: its tasks, and what other processes import to have them executed.

>>> from app import add
>>> add(1, 2)(blocking=True)
3
"""

from huey import Huey, crontab
from huey_ha import ClusterStorage

huey = Huey("app", storage_class=ClusterStorage)


@huey.task(retries=2)
def add(a: int, b: int) -> int:
    return a + b


@huey.periodic_task(crontab(minute="0", hour="3"))
def nightly() -> None:
    print("once a night, on the primary")
