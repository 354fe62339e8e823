#define Py_BUILD_CORE 1
#include "frames.h"
#include "peek.h"

#if PY_VERSION_HEX >= 0x030E0000
#  include "internal/pycore_interpframe.h"
#  include "internal/pycore_code.h"
#elif PY_VERSION_HEX >= 0x030B0000
#  include "internal/pycore_frame.h"
#  include "internal/pycore_code.h"
#else
#  include <frameobject.h>
#endif

#if PY_VERSION_HEX >= 0x030B0000
typedef _PyInterpreterFrame raw_frame;
#else
typedef PyFrameObject raw_frame;
#endif

static inline raw_frame *innermost(PyThreadState *thread) {
#if PY_VERSION_HEX >= 0x030D0000
    return thread->current_frame;
#elif PY_VERSION_HEX >= 0x030B0000
    return thread->cframe->current_frame;
#else
    return thread->frame;
#endif
}

static inline raw_frame *caller(raw_frame *frame) {
#if PY_VERSION_HEX >= 0x030B0000
    return frame->previous;
#else
    return frame->f_back;
#endif
}

/* The interpreter's own, which Python shows nobody. */
static inline int is_hidden(const raw_frame *frame) {
#if PY_VERSION_HEX >= 0x030E0000
    return frame->owner >= FRAME_OWNED_BY_INTERPRETER;
#elif PY_VERSION_HEX >= 0x030C0000
    return frame->owner == FRAME_OWNED_BY_CSTACK;
#else
    (void)frame;
    return 0;
#endif
}

/* Looks at the frame alone, which may be a copy. */
static inline PyCodeObject *code_of(const raw_frame *frame) {
#if PY_VERSION_HEX >= 0x030D0000
    return _PyFrame_GetCode((raw_frame *)frame);
#else
    return frame->f_code;
#endif
}

/* Where in its code a frame is. False for functions that are still being called. Does not look at the code. */
static inline int locate(const raw_frame *frame, PyCodeObject *code, int first_traceable, otlpfast_frame *place) {
    place->code = code;
#if PY_VERSION_HEX >= 0x030B0000
#  if PY_VERSION_HEX >= 0x030D0000
    uintptr_t at = (uintptr_t)frame->instr_ptr;
#  else
    uintptr_t at = (uintptr_t)frame->prev_instr;
#  endif
    intptr_t offset = (intptr_t)(at - (uintptr_t)code - offsetof(PyCodeObject, co_code_adaptive));
    place->instruction = (int32_t)offset;
    return frame->owner == FRAME_OWNED_BY_GENERATOR ||
        offset >= first_traceable * (intptr_t)sizeof(_Py_CODEUNIT);
#else
    (void)first_traceable;
    place->instruction = frame->f_lasti * 2;
    return 1;
#endif
}

static inline int first_traceable(const PyCodeObject *code) {
#if PY_VERSION_HEX >= 0x030B0000
    return code->_co_firsttraceable;
#else
    (void)code;
    return 0;
#endif
}

int otlpfast_walk(PyThreadState *thread, otlpfast_frame *frames, int most) {
    int count = 0;
    for (raw_frame *frame = innermost(thread); frame != NULL && count < most; frame = caller(frame)) {
        if (is_hidden(frame)) continue;
        PyCodeObject *code = code_of(frame);
        count += locate(frame, code, first_traceable(code), &frames[count]);
    }
    return count;
}

/* From here on nothing is taken for granted. */

#if PY_VERSION_HEX >= 0x030B0000
enum {
    FRAME_SIZE = offsetof(raw_frame, localsplus),
    CODE_SIZE = offsetof(PyCodeObject, co_code_adaptive),
};

/* Copies what of a chunk of the data stack lies below `end`, or as much of that as there is room for. */
static void copy_chunk(otlpfast_window *window, uintptr_t chunk, uintptr_t end) {
    _PyStackChunk head;
    window->size = window->previous = 0;
    if (end - chunk > 1 << 30 || end - chunk < sizeof head) return;
    window->from = end - chunk > OTLPFAST_WINDOW ? end - OTLPFAST_WINDOW : chunk;
    if (!otlpfast_peek(window->copy, (void *)window->from, end - window->from)) return;
    if (window->from == chunk)
        memcpy(&head, window->copy, sizeof head);
    else if (!otlpfast_peek(&head, (void *)chunk, sizeof head))
        return;
    window->size = end - window->from;
    window->previous = (uintptr_t)head.previous;
}

static inline int is_inside(const otlpfast_window *window, uintptr_t frame) {
    return window->size >= FRAME_SIZE && frame - window->from <= window->size - FRAME_SIZE;
}

static void move_down(otlpfast_window *window, uintptr_t frame) {
    _PyStackChunk head;
    const uintptr_t chunk = window->previous;
    if (chunk == 0 || frame - chunk > 1 << 30) return;
    if (!otlpfast_peek(&head, (void *)chunk, sizeof head) || frame - chunk >= head.size) return;
    copy_chunk(window, chunk, chunk + offsetof(_PyStackChunk, data) + head.top * sizeof(PyObject *));
}

static int see_frame(otlpfast_window *window, uintptr_t frame, raw_frame *copy) {
    if (frame % sizeof(void *)) return 0;
    if (!is_inside(window, frame)) move_down(window, frame);
    /* Those of generators lie elsewhere, and some on the C stack. */
    if (!is_inside(window, frame)) return otlpfast_peek(copy, (void *)frame, FRAME_SIZE);
    memcpy(copy, window->copy + (frame - window->from), FRAME_SIZE);
    return 1;
}

static int begin(const PyThreadState *state, otlpfast_window *window, uintptr_t *frame) {
#  if PY_VERSION_HEX >= 0x030D0000
    *frame = (uintptr_t)state->current_frame;
#  else
    _PyCFrame entry;
    if (!otlpfast_peek(&entry, state->cframe, sizeof entry)) return 0;
    *frame = (uintptr_t)entry.current_frame;
#  endif
    copy_chunk(window, (uintptr_t)state->datastack_chunk, (uintptr_t)state->datastack_top);
    return 1;
}

static inline int makes_sense(const PyCodeObject *code, int32_t instruction) {
    /* One before the first is where a function begins. */
    return instruction >= -(int32_t)sizeof(_Py_CODEUNIT) &&
        instruction < Py_SIZE(code) * (Py_ssize_t)sizeof(_Py_CODEUNIT);
}
#else
enum { FRAME_SIZE = offsetof(raw_frame, f_lineno), CODE_SIZE = sizeof(PyCodeObject) };

static int see_frame(otlpfast_window *window, uintptr_t frame, raw_frame *copy) {
    (void)window;
    return frame % sizeof(void *) == 0 && otlpfast_peek(copy, (void *)frame, FRAME_SIZE) &&
        Py_TYPE(copy) == &PyFrame_Type;
}

static int begin(const PyThreadState *state, otlpfast_window *window, uintptr_t *frame) {
    (void)window;
    *frame = (uintptr_t)state->frame;
    return 1;
}

static inline int makes_sense(const PyCodeObject *code, int32_t instruction) {
    (void)code;
    return instruction >= -2 && instruction < 1 << 28; /* PyCode_Addr2Line keeps to its table */
}
#endif

/* Adds the place of a frame, if it is one for others to see; -1 where there is no such place. */
static int add_unsure(const raw_frame *frame, const otlpfast_codes *known, otlpfast_frame *place) {
    PyCodeObject copy;
    PyCodeObject *code = code_of(frame);
    const PyCodeObject *seen = code;
    if (code == NULL || (uintptr_t)code % sizeof(void *)) return -1;
    if (!otlpfast_codes_have(known, code)) {
        if (!otlpfast_peek(&copy, code, CODE_SIZE) || Py_TYPE(&copy) != &PyCode_Type) return -1;
        seen = &copy;
    }
    int is_shown = locate(frame, code, first_traceable(seen), place);
    return makes_sense(seen, place->instruction) ? is_shown : -1;
}

int otlpfast_walk_unsure(
    PyThreadState *thread, PyInterpreterState *interpreter, const otlpfast_codes *known, otlpfast_window *window,
    otlpfast_frame *frames, int most
) {
    PyThreadState state;
    raw_frame frame;
    uintptr_t at;
    int count = 0;
    if (!otlpfast_peek(&state, thread, sizeof state)) return -1;
    if (state.interp != interpreter) return 0;
    if (!begin(&state, window, &at)) return -1;
    /* A chain that ends nowhere ends here. */
    for (int steps = 2 * most; at != 0 && count < most; at = (uintptr_t)caller(&frame)) {
        if (steps-- == 0 || !see_frame(window, at, &frame)) return -1;
        int added = is_hidden(&frame) ? 0 : add_unsure(&frame, known, &frames[count]);
        if (added < 0) return -1;
        count += added;
    }
    return count;
}
