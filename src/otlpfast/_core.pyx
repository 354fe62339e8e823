# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False, auto_pickle=False
# cython: autotestdict=False
"""The compiled core: wire format, pools, counters, buffers, encoder and queue.

``_pure`` has the same names in plain Python.
"""

import sys
from collections import deque

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.number cimport PyNumber_Index
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from otlpfast._core.pyabi cimport *
from otlpfast._core.wire cimport *

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan, _Span
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, TraceState

from ._account import ACCOUNT
from ._checks import MAX_CAPACITY, MAX_FIELD, MAX_IDLE, counter_names, stripe_count, whole_number
from ._plain import MAX_ITEMS, frozen_attributes, frozen_value, plain_attributes, plain_span, plain_text
from ._request import request_parts
from ._scopes import ScopeTable

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

IMPLEMENTATION = "c"

include "_core/counters.pxi"
include "_core/pools.pxi"
include "_core/values.pxi"
include "_core/encode.pxi"
include "_core/buffers.pxi"
include "_core/queue.pxi"
