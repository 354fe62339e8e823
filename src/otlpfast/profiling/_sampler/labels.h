/* What a thread is doing: its current span and its running asyncio task, read while it may be doing anything.
 *
 * Takes no lock, allocates nothing, runs no Python code, and reads by glances alone: for a signal handler on
 * the thread itself, whether it holds the GIL or not. */
#ifndef OTLPFAST_LABELS_H
#define OTLPFAST_LABELS_H

#include <Python.h>
#include "_sampler/insides.h"

typedef struct {
    uint8_t trace_id[16]; /* all zero: no span is current, or it can't be told */
    uint8_t span_id[8];
    char span_name[OTLPFAST_TEXT]; /* UTF-8, ends with 0; empty: unknown, or of another process */
    char task[OTLPFAST_TEXT];      /* empty: no task is running */
} otlpfast_labels;

/* Fills in the labels of a thread whose state exists. otlpfast_look() has been called for this sample. */
void otlpfast_read_labels(otlpfast_glance *glance, PyThreadState *thread, otlpfast_labels *labels);

int otlpfast_is_bare(const otlpfast_labels *labels); /* there are none */
int otlpfast_are_same(const otlpfast_labels *a, const otlpfast_labels *b);
uint64_t otlpfast_hash_labels(const otlpfast_labels *labels);

/* Where in a native span of otlpfast what is; -1 for what it has not. */
typedef struct {
    PyTypeObject *type;
    Py_ssize_t ids;  /* three uint64_t: the high and the low half of the trace id, the span id */
    Py_ssize_t name; /* a str */
    Py_ssize_t odd;  /* an int, not 0 where the ids are not to be trusted */
} otlpfast_span_layout;

enum { OTLPFAST_LAYOUTS = 4 };

/* By what all this is recognised. Whoever fills it in keeps the objects alive, and holds the GIL. */
typedef struct {
    otlpfast_map_types maps;
    PyObject *variable; /* the ContextVar of the current context; NULL: there is none, and no span */
    Py_hash_t variable_hash;
    PyTypeObject *context; /* the class of OpenTelemetry's contexts */
    PyObject *span_key;
    PyTypeObject *span_context;
    PyObject *context_name, *name_name; /* "_context" and "_name", interned */
    otlpfast_span_layout layouts[OTLPFAST_LAYOUTS];
    int layout_count;
    PyTypeObject *task; /* asyncio's native one; NULL: tasks are not looked for */
    Py_ssize_t task_name;
    PyObject *current_tasks; /* a dict, of running loops; on CPython 3.14 for tasks written in Python alone */
    PyObject *loop_key;      /* before CPython 3.13: of the running loop in the thread's own dict */
    Py_ssize_t loop_offset;  /* in what is found there; 0: that is the loop itself */
} otlpfast_landmarks;

extern otlpfast_landmarks otlpfast_marks;

/* The classes of a context's variables; -1 and an exception where they can't be learnt. */
int otlpfast_learn_maps(otlpfast_map_types *types);

/* Where in an object a pointer is, from its first field on; -1 if nowhere. The caller holds the GIL. */
Py_ssize_t otlpfast_find_field(PyObject *object, const PyObject *value);

#endif
