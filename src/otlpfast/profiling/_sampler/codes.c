#include "codes.h"
#include "peek.h"

static uint32_t place_of(const PyCodeObject *code) {
    return (uint32_t)(((uint64_t)(uintptr_t)code * 0x9E3779B97F4A7C15ULL) >> 48) % OTLPFAST_CODES;
}

int otlpfast_codes_have(const otlpfast_codes *codes, const PyCodeObject *code) {
    for (uint32_t at = place_of(code);; at = (at + 1) % OTLPFAST_CODES) {
        const PyCodeObject *there = __atomic_load_n(&codes->slots[at], __ATOMIC_ACQUIRE);
        if (there == code) return 1;
        if (there == NULL) return 0;
    }
}

void otlpfast_codes_keep(otlpfast_codes *codes, PyCodeObject *code) {
    uint32_t at = place_of(code);
    if (codes->used >= OTLPFAST_CODES / 4 * 3) return;
    while (codes->slots[at] != NULL) {
        if (codes->slots[at] == code) return;
        at = (at + 1) % OTLPFAST_CODES;
    }
    Py_INCREF(code);
    codes->used++;
    __atomic_store_n(&codes->slots[at], code, __ATOMIC_RELEASE);
}

void otlpfast_codes_drop(otlpfast_codes *codes) {
    for (uint32_t at = 0; at < OTLPFAST_CODES && codes->used; at++) {
        PyCodeObject *code = codes->slots[at];
        if (code == NULL) continue;
        codes->slots[at] = NULL;
        codes->used--;
        Py_DECREF(code);
    }
}

/* An allocator writes a pointer over the first word of what is freed, or leaves the 0 that was the end of it. */
static int counts_references(const PyObject *object) {
    uint64_t word;
    memcpy(&word, object, sizeof word);
#if PY_VERSION_HEX >= 0x030E0000
    return (uint32_t)word != 0 && (uint16_t)(word >> 32) == 0; /* the upper half has flags */
#else
    return word != 0 && word < 1ULL << 33; /* what is immortal has about 2 ** 32 */
#endif
}

static int is_a(const PyObject *object, const PyTypeObject *type) {
    PyObject copy;
    return otlpfast_peek(&copy, object, sizeof copy) && Py_TYPE(&copy) == type && counts_references(&copy);
}

int otlpfast_is_alive(const PyCodeObject *code) {
    PyCodeObject copy;
#if PY_VERSION_HEX >= 0x030B0000
    const size_t size = offsetof(PyCodeObject, co_code_adaptive);
#else
    const size_t size = sizeof copy;
#endif
    if (!otlpfast_peek(&copy, code, size)) return 0;
    return Py_TYPE(&copy) == &PyCode_Type && counts_references((PyObject *)&copy) &&
        is_a(copy.co_linetable, &PyBytes_Type) && is_a(copy.co_consts, &PyTuple_Type);
}

static void (*on_end)(void); /* NULL: nobody wants to know */

#if PY_VERSION_HEX >= 0x030C0000
static int watcher = -1;

static int watch(PyCodeEvent event, PyCodeObject *code) {
    (void)code;
    if (event == PY_CODE_EVENT_DESTROY && on_end != NULL) on_end();
    return 0;
}

int otlpfast_watch_codes(void (*ending)(void)) {
    if (watcher < 0) watcher = PyCode_AddWatcher(watch);
    if (watcher < 0) return -1;
    on_end = ending;
    return 0;
}

void otlpfast_unwatch_codes(void) {
    on_end = NULL;
    if (watcher >= 0 && PyCode_ClearWatcher(watcher) < 0) PyErr_Clear();
    watcher = -1;
}
#else
static destructor finish; /* what frees a code object; NULL: ours has never come before it */

/* As CPython does it since it has watchers. */
static void dealloc(PyObject *code) {
    if (on_end != NULL) {
        Py_SET_REFCNT(code, 1);
        on_end();
        Py_SET_REFCNT(code, Py_REFCNT(code) - 1);
        if (Py_REFCNT(code) > 0) return;
    }
    finish(code);
}

int otlpfast_watch_codes(void (*ending)(void)) {
    if (PyCode_Type.tp_dealloc != dealloc) {
        if (finish != NULL) { /* another has come before ours, and may call it */
            PyErr_SetString(PyExc_RuntimeError, "the end of code objects is watched by others");
            return -1;
        }
        finish = PyCode_Type.tp_dealloc;
        PyCode_Type.tp_dealloc = dealloc;
    }
    on_end = ending;
    return 0;
}

void otlpfast_unwatch_codes(void) {
    on_end = NULL;
    if (PyCode_Type.tp_dealloc != dealloc) return;
    PyCode_Type.tp_dealloc = finish;
    finish = NULL;
}
#endif
