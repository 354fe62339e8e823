# Where a span keeps what names it, for a profiler that reads the memory of a thread and can't ask the span.

def span_layouts():
    """Of each class of spans: the class, and the offsets in bytes of its ids, of its name and of a flag.

    The ids are three ``uint64_t``: the high and the low half of the trace id, and the span id. The name is a
    pointer to a str. The flag is an ``int``, not 0 where the ids are kept elsewhere. -1: there is none.
    """
    cdef _NativeSpan span = _NativeSpan.__new__(_NativeSpan)
    cdef _NativeNonRecordingSpan other = _NativeNonRecordingSpan.__new__(_NativeNonRecordingSpan)
    cdef char *at = <char *> <PyObject *> span
    cdef Py_ssize_t name = 0
    # Cython gives no address of a field that is an object.
    span.span_name = object()
    while (<void **> at)[name] != <void *> span.span_name:
        name += 1
    name *= sizeof(void *)
    return (
        (_NativeSpan, <char *> &span.ids - at, name, <char *> &span.has_odd_context - at),
        (_NativeNonRecordingSpan, <char *> &other.ids - <char *> <PyObject *> other, -1, -1),
    )
