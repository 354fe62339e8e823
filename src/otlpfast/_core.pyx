# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, embedsignature=True
"""The compiled core: wire format, pools, counters, buffers, encoder and queue. ``_pure`` has the same names in plain Python."""

import sys
from collections import deque

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_FromStringAndSize
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
from ._plain import MAX_ITEMS, plain_attributes, plain_span, plain_text, plain_value
from ._request import request_parts
from ._scopes import ScopeTable

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

IMPLEMENTATION = "c"

include "_core/counters.pxi"
include "_core/pools.pxi"
include "_core/encode.pxi"
include "_core/buffers.pxi"
include "_core/queue.pxi"
