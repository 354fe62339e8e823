#define Py_BUILD_CORE 1
#include "labels.h"
#include "threads.h"

#if PY_VERSION_HEX >= 0x030D0000
#  include "internal/pycore_runtime.h"
#  include "internal/pycore_tstate.h"
#endif
#include <string.h>

otlpfast_landmarks otlpfast_marks;

/* --- the span */

static int is_zero(const uint8_t *bytes, int size) {
    while (size && bytes[size - 1] == 0) size--;
    return size == 0;
}

static void put_word(uint8_t *to, uint64_t word) {
    for (int i = 7; i >= 0; i--, word >>= 8) to[i] = (uint8_t)word;
}

/* One of otlpfast's own. */
static int read_native(
    otlpfast_glance *glance, const otlpfast_span_layout *layout, const PyObject *span, otlpfast_labels *labels
) {
    const char *at = (const char *)span;
    const uint64_t *ids = otlpfast_see(glance, at + layout->ids, 3 * sizeof *ids);
    if (ids == NULL) return 0;
    if (layout->odd >= 0) {
        Py_ssize_t within = layout->odd % (Py_ssize_t)sizeof(void *);
        const char *odd = otlpfast_see(glance, at + layout->odd - within, sizeof(void *));
        if (odd == NULL || *(const int *)(odd + within)) return 0;
    }
    put_word(labels->trace_id, ids[0]);
    put_word(labels->trace_id + 8, ids[1]);
    put_word(labels->span_id, ids[2]);
    if (layout->name >= 0)
        otlpfast_see_text(glance, (PyObject *const *)(at + layout->name), labels->span_name);
    return 1;
}

/* Of the SDK, or any other class that keeps a SpanContext, which is a tuple: trace id, span id, ... */
static int read_other(otlpfast_glance *glance, const PyObject *span, otlpfast_labels *labels) {
    PyObject *const *name;
    PyObject *context;
    if (!otlpfast_see_attribute(glance, span, otlpfast_marks.context_name, &name, &context)) return 0;
    const PyVarObject *head = otlpfast_see(glance, context, offsetof(PyTupleObject, ob_item[2]));
    if (head == NULL || head->ob_base.ob_type != otlpfast_marks.span_context || head->ob_size < 2) return 0;
    PyObject *const *ids = ((const PyTupleObject *)head)->ob_item;
    if (!otlpfast_see_number(glance, ids[0], labels->trace_id, sizeof labels->trace_id)) return 0;
    if (!otlpfast_see_number(glance, ids[1], labels->span_id, sizeof labels->span_id)) return 0;
    if (otlpfast_see_attribute(glance, span, otlpfast_marks.name_name, &name, &context))
        otlpfast_see_text(glance, name, labels->span_name);
    return 1;
}

static int read_span(otlpfast_glance *glance, const PyObject *span, otlpfast_labels *labels) {
    PyTypeObject *type;
    if (!otlpfast_see_type(glance, span, &type)) return 0;
    for (int i = 0; i < otlpfast_marks.layout_count; i++)
        if (otlpfast_marks.layouts[i].type == type)
            return read_native(glance, &otlpfast_marks.layouts[i], span, labels);
    return read_other(glance, span, labels);
}

/* The span of the context that is current in the thread. */
static int find_span(otlpfast_glance *glance, PyThreadState *thread, PyObject **span) {
    const otlpfast_landmarks *marks = &otlpfast_marks;
    PyObject *const *entered = otlpfast_see(glance, &thread->context, sizeof *entered);
    PyObject *context;
    return marks->variable != NULL && entered != NULL && *entered != NULL
        && otlpfast_see_variable(
            glance, *entered, &marks->maps, marks->variable, marks->variable_hash, &context
        )
        && otlpfast_see_item(glance, context, marks->context, marks->span_key, span);
}

/* --- the task */

#if PY_VERSION_HEX >= 0x030D0000
static int see_in_state(otlpfast_glance *glance, PyObject *const *field, PyObject **value) {
    PyObject *const *seen = otlpfast_see(glance, field, sizeof *seen);
    if (seen == NULL || *seen == NULL) return 0;
    *value = *seen;
    return 1;
}
#else
static int find_loop(otlpfast_glance *glance, PyThreadState *thread, PyObject **loop) {
    PyObject *const *own = otlpfast_see(glance, &thread->dict, sizeof *own);
    if (own == NULL) return 0;
    if (!otlpfast_see_item(glance, *own, &PyDict_Type, otlpfast_marks.loop_key, loop)) return 0;
    if (otlpfast_marks.loop_offset == 0) return 1;
    PyObject *const *held = otlpfast_see(glance, (char *)*loop + otlpfast_marks.loop_offset, sizeof *held);
    if (held == NULL) return 0;
    *loop = *held;
    return 1;
}
#endif

static int find_task(otlpfast_glance *glance, PyThreadState *thread, PyObject **task) {
    PyObject *loop;
#if PY_VERSION_HEX >= 0x030E0000
    if (see_in_state(glance, &OTLPFAST_IMPL(thread)->asyncio_running_task, task)) return 1;
#endif
#if PY_VERSION_HEX >= 0x030D0000
    int runs = see_in_state(glance, &OTLPFAST_IMPL(thread)->asyncio_running_loop, &loop);
#else
    int runs = find_loop(glance, thread, &loop);
#endif
    return runs && otlpfast_see_item(glance, otlpfast_marks.current_tasks, &PyDict_Type, loop, task);
}

/* The name of a task that nobody has given one or asked for it: its number. */
static void read_number(otlpfast_glance *glance, PyObject *const *field, char *text) {
    PyObject *const *held = otlpfast_see(glance, field, sizeof *held);
    uint8_t bytes[8];
    uint64_t number = 0;
    int digits = 1;
    if (held == NULL || !otlpfast_see_number(glance, *held, bytes, sizeof bytes)) return;
    for (size_t i = 0; i < sizeof bytes; i++) number = number << 8 | bytes[i];
    for (uint64_t rest = number; rest >= 10; rest /= 10) digits++;
    memcpy(text, "Task-", 5);
    text[5 + digits] = 0;
    for (; digits; digits--, number /= 10) text[4 + digits] = (char)('0' + number % 10);
}

static void read_task(otlpfast_glance *glance, const PyObject *task, otlpfast_labels *labels) {
    PyTypeObject *type;
    PyObject *name;
    PyObject *const *field;
    if (!otlpfast_see_type(glance, task, &type)) return;
    if (otlpfast_see_base(glance, type, otlpfast_marks.task))
        field = (PyObject *const *)((const char *)task + otlpfast_marks.task_name);
    else if (!otlpfast_see_attribute(glance, task, otlpfast_marks.name_name, &field, &name))
        return; /* one that is written in Python has its name in an attribute */
    if (!otlpfast_see_text(glance, field, labels->task)) read_number(glance, field, labels->task);
}

void otlpfast_read_labels(otlpfast_glance *glance, PyThreadState *thread, otlpfast_labels *labels) {
    PyObject *found;
    memset(labels->trace_id, 0, sizeof labels->trace_id);
    memset(labels->span_id, 0, sizeof labels->span_id);
    labels->span_name[0] = labels->task[0] = 0;
    if (find_span(glance, thread, &found) && (
        !read_span(glance, found, labels) || is_zero(labels->trace_id, 16) || is_zero(labels->span_id, 8)
    )) {
        memset(labels->trace_id, 0, sizeof labels->trace_id);
        memset(labels->span_id, 0, sizeof labels->span_id);
        labels->span_name[0] = 0;
    }
    if (otlpfast_marks.task != NULL && find_task(glance, thread, &found)) read_task(glance, found, labels);
}

/* --- what was read */

int otlpfast_is_bare(const otlpfast_labels *labels) {
    return is_zero(labels->trace_id, sizeof labels->trace_id) && labels->task[0] == 0;
}

int otlpfast_are_same(const otlpfast_labels *a, const otlpfast_labels *b) {
    return memcmp(a, b, offsetof(otlpfast_labels, span_name)) == 0
        && strcmp(a->span_name, b->span_name) == 0 && strcmp(a->task, b->task) == 0;
}

uint64_t otlpfast_hash_labels(const otlpfast_labels *labels) {
    uint64_t hash, span;
    memcpy(&hash, labels->trace_id + 8, sizeof hash);
    memcpy(&span, labels->span_id, sizeof span);
    hash ^= span;
    for (const char *at = labels->span_name; *at; at++) hash = (hash ^ (uint8_t)*at) * 0x100000001B3ULL;
    for (const char *at = labels->task; *at; at++) hash = (hash ^ (uint8_t)*at) * 0x100000001B3ULL;
    return hash ^ hash >> 32;
}
