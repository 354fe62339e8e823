"""A Celery application that is traced by the side that the environment names: one span a task.

Its broker is a folder. ``python -m tests.faults.tasks 7`` asks for seven tasks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from celery import Celery

_folder = Path(os.environ["FAULTS_FOLDER"])
for _part in ("queue", "control"):
    (_folder / _part).mkdir(exist_ok=True)
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(_folder / "queue"),
    "data_folder_out": str(_folder / "queue"),
    "control_folder": str(_folder / "control"),
    "polling_interval": 0.05,
}


@app.task(name="work")
def work(number: int) -> None:
    with _tracer.start_as_current_span(f"task {number}"):
        (_folder / f"done-{number}").touch()


if __name__ == "__main__":
    for _number in range(int(sys.argv[1])):
        work.delay(_number)
else:
    from tests.faults.traced import Traced

    _tracer = Traced(os.environ["FAULTS_SIDE"]).to(os.environ["FAULTS_ENDPOINT"])
