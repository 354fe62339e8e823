"""The resource: what variables and resource detectors say of who makes the spans, within a time limit.

The SDK waits for one detector after the other, and at the end for those that it has given up. Here all run at
once, each in a thread of its own, under one limit; one that is late or fails costs what it would have found.

Specification: resource/sdk.md, "Detecting resource information from the environment": "failure to detect any
resource information MUST NOT be considered an error".
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from time import monotonic
from typing import Any

from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    _SUPPRESS_INSTRUMENTATION_KEY,
    Context,
    attach,
)
from opentelemetry.sdk.environment_variables import OTEL_EXPERIMENTAL_RESOURCE_DETECTORS
from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    TELEMETRY_SDK_LANGUAGE,
    TELEMETRY_SDK_NAME,
    TELEMETRY_SDK_VERSION,
    Resource,
    ResourceDetector,
)
from opentelemetry.sdk.version import __version__ as _sdk_version

from ._choice import DISABLED
from ._components import installed
from ._log import warn
from ._threads import start_outside
from .environment_variables import OTLPFAST_RESOURCE_TIMEOUT

_logger = logging.getLogger("otlpfast.configuration")

_GROUP = "opentelemetry_resource_detector"
_INSTANCE, _VARIABLES, _ALL = "service_instance", "otel", "*"
_AT_ONCE = (_INSTANCE, _VARIABLES)  # what costs nothing, and is never to be late
_AWS, _AZURE, _GCP = (
    "opentelemetry-sdk-extension-aws",
    "opentelemetry-resource-detector-azure",
    "opentelemetry-resourcedetector-gcp",
)
_PACKAGES = {
    **dict.fromkeys(("aws_ec2", "aws_ecs", "aws_eks", "aws_elastic_beanstalk", "aws_lambda"), _AWS),
    **dict.fromkeys(("azure_aks", "azure_app_service", "azure_functions", "azure_vm"), _AZURE),
    **dict.fromkeys(("gcp", "gcp_resource_detector"), _GCP),
    "containerid": "opentelemetry-resource-detector-containerid",
}
# Among all that are installed, what complains wherever else it is run.
_NEEDS = {"aws_lambda": "AWS_LAMBDA_FUNCTION_NAME"}

_process_dependent: list[ResourceDetector] | None = None


@dataclass(frozen=True)
class Detection:
    """What came of one detector: a resource, or a problem and what to do about it; and how long that took."""

    name: str
    resource: Resource | None = None
    millis: float = 0.0
    problem: str = ""
    fix: str = ""


def wanted() -> list[str]:
    """What ``OTEL_EXPERIMENTAL_RESOURCE_DETECTORS`` names, in its order."""
    text = os.environ.get(OTEL_EXPERIMENTAL_RESOURCE_DETECTORS, "")
    return [name for part in text.split(",") if (name := part.strip())]


def seconds_allowed() -> float:
    """What ``OTLPFAST_RESOURCE_TIMEOUT`` says; a wrong value is one warning, and the default."""
    from ._arguments import seconds  # which loads an implementation: not where this is only imported

    return seconds(OTLPFAST_RESOURCE_TIMEOUT, None, OTLPFAST_RESOURCE_TIMEOUT)


@contextmanager
def unwanted() -> Iterator[None]:
    """For the length of a ``with`` block, no detector is wanted."""
    text = os.environ.pop(OTEL_EXPERIMENTAL_RESOURCE_DETECTORS, None)
    try:
        yield
    finally:
        if text is not None:
            os.environ[OTEL_EXPERIMENTAL_RESOURCE_DETECTORS] = text


def create_resource(attributes: Mapping[str, Any] | None = None) -> Resource:
    """``Resource.create()`` within ``OTLPFAST_RESOURCE_TIMEOUT``; never raises for what a detector does.

    Later detectors win, then the variables, then these attributes.
    """
    if DISABLED or not wanted():
        return Resource.create(attributes)
    detections = detect()
    _complain(detections)
    return assemble(detections, attributes)


def assemble(detections: Iterable[Detection], attributes: Mapping[str, Any] | None = None) -> Resource:
    """The resource that they make together, with the name that a service without one has."""
    made = _Made()
    for detection in detections:
        if detection.resource is not None:
            made.add(detection.resource)
    made.attributes.update(Resource(dict(attributes or {})).attributes)  # also what is to be empty
    if not made.attributes.get(SERVICE_NAME):
        program = f":{os.path.basename(sys.executable)}" if sys.executable else ""
        made.attributes[SERVICE_NAME] = f"unknown_service{program}"
    return made.resource()


class _Made:
    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {
            TELEMETRY_SDK_LANGUAGE: "python",
            TELEMETRY_SDK_NAME: "opentelemetry",
            TELEMETRY_SDK_VERSION: _sdk_version,
        }
        self._schemas: set[str] = set()

    def add(self, resource: Resource) -> None:
        # Detectors leave empty what does not apply, which must not hide what another has found.
        self.attributes.update((key, value) for key, value in resource.attributes.items() if value != "")
        self._schemas.update(filter(None, [resource.schema_url]))

    def resource(self) -> Resource:
        # Of two schemas the SDK would drop all attributes of one.
        return Resource(self.attributes, "".join(self._schemas) if len(self._schemas) == 1 else "")


def detect() -> list[Detection]:
    """Loads what is wanted, then runs it all at once for as long as the limit. In the order of precedence."""
    limit = seconds_allowed()
    found: dict[str, Detection] = {}
    answers: queue.SimpleQueue[Detection] = queue.SimpleQueue()  # by now, perhaps, gevent's
    running: set[str] = set()
    detectors: dict[str, ResourceDetector] = {}
    for name, entry in _entries().items():
        if entry is None:
            found[name] = _missing(name)
            continue
        try:
            # Here, not in its thread: a process that forks meanwhile would never get over a half-done import.
            detector = entry.load()()
            found[name] = _run(name, detector) if name in _AT_ONCE else _late(name, limit)
            detectors[name] = detector
        except Exception as error:
            found[name] = _unusable(name, error)
    # Once all are loaded: that takes no time from any, and no thread meets an import of this one.
    started = monotonic()
    for name in [name for name in detectors if name not in _AT_ONCE]:
        try:
            _start(name, detectors[name], answers)
            running.add(name)
        except RuntimeError as error:  # no more threads
            found[name] = _unusable(name, error)
    while running:
        try:
            answer = answers.get(timeout=max(started + limit - monotonic(), 0))
        except queue.Empty:
            break
        found[answer.name] = answer
        running.discard(answer.name)
    _keep(detector for name, detector in detectors.items() if found[name].resource is not None)
    return list(found.values())


def _entries() -> dict[str, EntryPoint | None]:
    """Entry points by name, None for one that is not there; each detector once."""
    known = installed(_GROUP)
    names = wanted()
    if _ALL in names:
        at = names.index(_ALL)
        names[at : at + 1] = [n for n in sorted(known) if n not in (*names, *_AT_ONCE) and _is_of_use(n)]
    if _INSTANCE not in names:
        names.insert(0, _INSTANCE)
    names = list(dict.fromkeys([*names, _VARIABLES]))
    entries: dict[str, EntryPoint | None] = {}
    values: set[str] = set()
    for name in names:
        entry = known.get(name)
        if entry is None or entry.value not in values:
            entries[name] = entry
            if entry is not None:
                values.add(entry.value)
    return entries


def _is_of_use(name: str) -> bool:
    return name not in _NEEDS or _NEEDS[name] in os.environ


def _missing(name: str) -> Detection:
    package = _PACKAGES.get(name)
    if package is None:
        known = ", ".join(sorted({*installed(_GROUP), *_PACKAGES, _ALL}))
        return Detection(name, problem="is not known", fix=f"there are {known}")
    own = "" if name == "containerid" else ", or otlpfast[cloud]"
    return Detection(name, problem="is not installed", fix=f"pip install {package}{own}")


def _unusable(name: str, error: Exception) -> Detection:
    return Detection(name, problem=f"can't be used ({type(error).__name__}: {error})")


def _late(name: str, limit: float) -> Detection:
    millis = round(limit * 1e3)
    fix = f"{OTLPFAST_RESOURCE_TIMEOUT}={max(2 * millis, 5000)} waits longer"
    return Detection(name, millis=millis, problem=f"gave no answer within {millis} ms", fix=fix)


def _start(name: str, detector: ResourceDetector, answers: queue.SimpleQueue[Detection]) -> None:
    def work() -> None:
        # What it asks of a server is no part of anybody's trace.
        keys = (_SUPPRESS_INSTRUMENTATION_KEY, _SUPPRESS_HTTP_INSTRUMENTATION_KEY)
        attach(Context(dict.fromkeys(keys, True)))
        answers.put(_run(name, detector))

    # A daemon: one that never comes back keeps no process from ending.
    start_outside(threading.Thread(target=work, name=f"otlpfast-detector-{name}", daemon=True))


def _run(name: str, detector: ResourceDetector) -> Detection:
    started = monotonic()
    try:
        resource = detector.detect()
        if isinstance(resource, Resource):
            return Detection(name, resource, (monotonic() - started) * 1e3)
        problem = f"gave a {type(resource).__name__}, no Resource"
    except (Exception, SystemExit) as error:
        problem = f"raised {type(error).__name__}: {error}"
    return Detection(name, millis=(monotonic() - started) * 1e3, problem=problem)


def _complain(detections: Iterable[Detection]) -> None:
    """One warning for each kind of problem: which detectors, and what to do."""
    alike: dict[tuple[str, str], list[str]] = {}
    for detection in detections:
        if detection.problem:
            alike.setdefault((detection.problem, detection.fix), []).append(detection.name)
    for (problem, fix), names in alike.items():
        text = "%s: %s %s and is left out of the resource%s"
        advice = f"; {fix}" if fix else ""
        warn(_logger, text, OTEL_EXPERIMENTAL_RESOURCE_DETECTORS, ", ".join(names), problem, advice)


def _keep(detectors: Iterable[ResourceDetector]) -> None:
    global _process_dependent
    _process_dependent = [d for d in detectors if _depends_on_process(d)]


def _depends_on_process(detector: ResourceDetector) -> bool:
    try:
        return bool(detector.is_process_dependent())
    except Exception:
        return False


def after_fork() -> Resource | None:
    """What is another's in a forked child; None where nothing was detected here, and the SDK may look.

    In the thread that has forked: those of them that answered here look at the process and the environment.
    """
    if _process_dependent is None:
        return None
    made = [_run(type(detector).__name__, detector).resource for detector in _process_dependent]
    return Resource(
        {
            key: value
            for resource in made
            if resource
            for key, value in resource.attributes.items()
            if value != ""
        }
    )
