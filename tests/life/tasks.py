"""A celery application: a span for each task, and one for loading. Its broker is a folder.

``python tasks.py 7`` asks for seven tasks.
"""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path
from typing import Any

from celery import Celery
from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    """One that puts messages there whole: kombu's own lets a worker read half of one, and end for it."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        name = f"{time.monotonic_ns()}_{uuid.uuid4()}.{queue}.msg"
        part = folder / name
        part.write_text(dumps(payload))
        part.rename(folder / "queue" / name)


filesystem.Transport.Channel = Channel
folder = Path("broker")
for part in ("queue", "control"):
    (folder / part).mkdir(parents=True, exist_ok=True)
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(folder / "queue"),
    "data_folder_out": str(folder / "queue"),
    "control_folder": str(folder / "control"),
    "polling_interval": 0.05,
}


@app.task(name="work")
def work(number: int) -> None:
    from traced_app import note

    note(f"task {number}")
    Path(f"done-{number}").touch()


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        work.delay(number)
else:
    import traced_app  # noqa: F401
