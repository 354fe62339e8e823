# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False, auto_pickle=False
# cython: autotestdict=False
"""The native part of profiling, which reads the interpreter's own frames. Loaded by ``_native`` alone."""

import sys
import time
from sys import intern

cimport cython
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport EAGAIN, EBUSY, ESRCH, errno
from libc.math cimport llround
from libc.stdint cimport int32_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset, strerror

from types import MethodType

from opentelemetry.trace import SpanContext

from otlpfast._shown import shown

cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        pass
    ctypedef struct PyCodeObject:
        pass
    ctypedef struct PyTypeObject:
        pass
    PyThreadState *PyThreadState_Get()
    PyObject *PyThreadState_GetDict()
    int PyCode_Addr2Line(PyCodeObject *code, int instruction)
    Py_ssize_t Py_REFCNT(PyCodeObject *code)

cdef extern from "_sampler/frames.h":
    ctypedef struct Place "otlpfast_frame":
        PyCodeObject *code
        int32_t instruction
    int otlpfast_walk(PyThreadState *thread, Place *places, int most) noexcept

cdef enum:
    MOST_FRAMES = 512

include "_sampler/stacks.pxi"
include "_sampler/look.pxi"
include "_sampler/work.pxi"
include "_sampler/wall.pxi"
include "_sampler/labels.pxi"
include "_sampler/cpu.pxi"
include "_sampler/heap.pxi"
include "_sampler/locks.pxi"
