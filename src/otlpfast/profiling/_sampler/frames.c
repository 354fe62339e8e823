#define Py_BUILD_CORE 1
#include "frames.h"

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

/* False for what Python shows nobody: the interpreter's own frames, and functions that are still being called. */
static inline int locate(raw_frame *frame, otlpfast_frame *place) {
#if PY_VERSION_HEX >= 0x030B0000
#  if PY_VERSION_HEX >= 0x030E0000
    if (frame->owner >= FRAME_OWNED_BY_INTERPRETER) return 0;
#  elif PY_VERSION_HEX >= 0x030C0000
    if (frame->owner == FRAME_OWNED_BY_CSTACK) return 0;
#  endif
#  if PY_VERSION_HEX >= 0x030D0000
    PyCodeObject *code = _PyFrame_GetCode(frame);
    _Py_CODEUNIT *at = frame->instr_ptr;
#  else
    PyCodeObject *code = frame->f_code;
    _Py_CODEUNIT *at = frame->prev_instr;
#  endif
    _Py_CODEUNIT *first = (_Py_CODEUNIT *)code->co_code_adaptive;
    if (frame->owner != FRAME_OWNED_BY_GENERATOR && at < first + code->_co_firsttraceable) return 0;
    place->code = code;
    place->instruction = (int32_t)((at - first) * (ptrdiff_t)sizeof(_Py_CODEUNIT));
#else
    place->code = frame->f_code;
    place->instruction = frame->f_lasti * 2;
#endif
    return 1;
}

int otlpfast_walk(PyThreadState *thread, otlpfast_frame *frames, int most) {
    int count = 0;
    for (raw_frame *frame = innermost(thread); frame != NULL && count < most; frame = caller(frame))
        count += locate(frame, &frames[count]);
    return count;
}
