# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False, auto_pickle=False
# cython: autotestdict=False
"""The compiled core: spans and tracers, wire format, pools, counters, buffers, encoder and queue.

``_pure`` has the same names in plain Python.
"""

import sys
from collections import deque
from copy import deepcopy
from functools import partial
from logging import getLogger
from os import urandom
from threading import Lock, RLock
from types import MappingProxyType

import opentelemetry.context

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.number cimport PyNumber_Index
from cpython.ref cimport Py_INCREF, PyObject
from libc.math cimport INFINITY
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset, strlen

from otlpfast._core.cards cimport card_end
from otlpfast._core.clock cimport monotonic_ns, now_ns
from otlpfast._core.exchange cimport *
from otlpfast._core.forks cimport otlpfast_forks, otlpfast_watch_forks
from otlpfast._core.ids cimport Generator, random_bits, seed, seeded
from otlpfast._core.pyabi cimport *
from otlpfast._core.sha256 cimport Hmac, hmac_key, hmac_of
from otlpfast._core.wire cimport *

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.baggage import _BAGGAGE_KEY
from opentelemetry.baggage.propagation import W3CBaggagePropagator as _APIBaggage
from opentelemetry.context import set_value
from opentelemetry.context.context import Context as OTelContext
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.propagators.composite import CompositePropagator as _APIComposite
from opentelemetry.propagators.textmap import DefaultGetter, DefaultSetter, default_getter, default_setter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, _Span, sampling
from opentelemetry.sdk.trace import Tracer as _SDKTracer
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    Decision, ParentBased, ParentBasedTraceIdRatio, StaticSampler, TraceIdRatioBased
)
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT, Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags,
    TraceState
)
from opentelemetry.trace.propagation import _SPAN_KEY
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator as _APITraceContext
from opentelemetry.trace.span import DEFAULT_TRACE_STATE

from ._account import ACCOUNT, VERDICTS
from ._attribute_log import warnings_of_full_attributes
from ._checks import MAX_CAPACITY, MAX_FIELD, MAX_IDLE, counter_names, stripe_count, whole_number
from ._decorator import decorated, either
from ._given import (
    clean_value, given_attributes, given_dict, given_links, given_parent, given_value, guarded, ignored,
    note_error, nothing, safe_links, safe_mapping
)
from ._log import warn
from ._plain import MAX_ITEMS, frozen_attributes, frozen_value, plain_attributes, plain_context, plain_span
from ._plain import plain_text
from ._propagators import extract_baggage as api_extract_baggage
from ._propagators import extract_trace_context as api_extract_trace_context
from ._propagators import inject_baggage as api_inject_baggage
from ._propagators import inject_trace_context as api_inject_trace_context
from ._request import request_parts
from ._scopes import ScopeTable
from ._stacktrace import exception_attributes

_SDKSpan = _Span
cdef object _internal = SpanKind.INTERNAL

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    ctypedef struct PyTypeObject:
        PyObject *(*tp_new)(PyTypeObject *cls, PyObject *args, PyObject *options) except NULL

IMPLEMENTATION = "c"

include "_core/idle.pxi"
include "_core/counters.pxi"
include "_core/pools.pxi"
include "_core/states.pxi"
include "_core/machine.pxi"
include "_core/sieve.pxi"
include "_core/matching.pxi"
include "_core/redaction.pxi"
include "_core/values.pxi"
include "_core/slots.pxi"
include "_core/redacting.pxi"
include "_core/rows.pxi"
include "_core/encode.pxi"
include "_core/buffers.pxi"
include "_core/batch.pxi"
include "_core/lane.pxi"
include "_core/traces.pxi"
include "_core/tail.pxi"
include "_core/queue.pxi"
include "_core/deciding.pxi"
include "_core/origin.pxi"
include "_core/objects.pxi"
include "_core/span.pxi"
include "_core/span_memory.pxi"
include "_core/context.pxi"
include "_core/sampling.pxi"
include "_core/rules.pxi"
include "_core/route.pxi"
include "_core/links.pxi"
include "_core/tracer.pxi"
include "_core/scope.pxi"
include "_core/bound.pxi"
include "_core/entries.pxi"
include "_core/faces.pxi"
include "_core/headers.pxi"
include "_core/tracecontext.pxi"
include "_core/baggage.pxi"
include "_core/propagation.pxi"
include "_core/layouts.pxi"

# What all spans share, for whoever wants to see how well it is recycled.
POOLS = {"span buffers": _buffer_pool, "attributes": _slot_pool, "events and links": _row_pool}
