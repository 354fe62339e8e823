# The current OpenTelemetry context and the span in it, without the API's Python code where its own runtime
# context, the one on a contextvar, is in use. Any other is asked through its methods.

cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(object mapping, object key) except? NULL
    int PyContextVar_Get(PyObject *var, PyObject *default_value, PyObject **value) except -1
    object PyContextVar_Set(object var, object value)
    int PyContextVar_Reset(object var, object token) except -1
    int try_reset "PyContextVar_Reset"(object var, object token) noexcept
    void PyErr_Clear()
    object PyObject_GenericGetDict(object, void *)
    int PyDict_Update(object, object) except -1
    int PyDict_SetItem(object, object, object) except -1

cdef object _context_globals = opentelemetry.context.__dict__
cdef object _runtime_name = sys.intern("_RUNTIME_CONTEXT")
cdef object _runtime = None
cdef object _context_var = None
cdef object _span_key = _SPAN_KEY
cdef PyObject *_own_non_recording = <PyObject *> _NativeNonRecordingSpan
cdef PyObject *_api_non_recording = <PyObject *> NonRecordingSpan
cdef PyObject *_span_context_type = <PyObject *> SpanContext
cdef object _context_name = sys.intern("_context")
cdef object _no_arguments = ()
cdef PyTypeObject *_context_type = <PyTypeObject *> OTelContext


cdef extern from *:
    """
    /* Whether a dict may have changed since otlpfast_look() last looked at it; for one dict. */
    #if PY_VERSION_HEX >= 0x030C0000
    static int otlpfast_changed = 1;
    static int otlpfast_watched = -1;
    static int otlpfast_note_change(PyDict_WatchEvent event, PyObject *dict, PyObject *key, PyObject *value) {
        otlpfast_changed = 1;
        return 0;
    }
    static void otlpfast_watch(PyObject *dict) {
        otlpfast_watched = PyDict_AddWatcher(otlpfast_note_change);
        if (otlpfast_watched < 0 || PyDict_Watch(otlpfast_watched, dict) < 0) {
            otlpfast_watched = -1;  /* others have taken all watchers: it is looked up each time */
            PyErr_Clear();
        }
    }
    #  define otlpfast_may_have_changed(dict) otlpfast_changed
    #  define otlpfast_look(dict) (otlpfast_changed = otlpfast_watched < 0)
    #else
    static uint64_t otlpfast_version = 0;
    #  define otlpfast_watch(dict) ((void)(dict))
    #  define otlpfast_may_have_changed(dict) (((PyDictObject *)(dict))->ma_version_tag != otlpfast_version)
    #  define otlpfast_look(dict) (otlpfast_version = ((PyDictObject *)(dict))->ma_version_tag)
    #endif
    """
    void watch "otlpfast_watch"(object mapping)
    bint may_have_changed "otlpfast_may_have_changed"(object mapping) noexcept
    void look "otlpfast_look"(object mapping) noexcept

watch(_context_globals)


cdef int learn_runtime() except -1:
    # Tests and frameworks put another runtime context in place.
    global _runtime, _context_var
    cdef PyObject *runtime = PyDict_GetItemWithError(_context_globals, _runtime_name)
    look(_context_globals)
    if runtime != <PyObject *> _runtime:
        _context_var = None
        _runtime = <object> runtime if runtime != NULL else None
        if type(_runtime) is ContextVarsRuntimeContext:
            _context_var = _runtime._current_context
    return 0


cdef inline object current_context():
    cdef PyObject *found = NULL
    if may_have_changed(_context_globals):
        learn_runtime()
    if _context_var is None:
        return opentelemetry.context.get_current()
    PyContextVar_Get(<PyObject *> _context_var, NULL, &found)
    context = <object> found
    drop(found)
    return context


cdef inline object empty_context():
    cdef PyObject *made = _context_type.tp_new(_context_type, <PyObject *> _no_arguments, NULL)
    context = <object> made
    drop(made)
    return context


cdef inline object with_value(object base, object key, object value):
    # A copy of the context with one more entry.
    if type(base) is not OTelContext:
        return set_value(key, value, base)
    context = empty_context()
    if dict_length(<PyObject *> base):
        PyDict_Update(context, base)
    PyDict_SetItem(context, key, value)
    return context


cdef object with_span(object base, object span):
    return with_value(base, _span_key, span)


# The copy of a context that a `with` made and nobody else kept is used again by the next one in the same
# context: by the parent's next child, or the next root. It is valid while that context lives, which is as
# long as the parent's own `with`. Where nobody kept the span either, it stays in there, retired.

cdef Spare _root_spare


cdef inline bint is_plain_context(PyObject *context) noexcept:
    return type_of(context) == <PyObject *> _context_type


cdef inline Spare *place_of_spare(PyObject *base, PyObject *above) noexcept:
    # Where there is one for this context, NULL where none is kept.
    if above != NULL:
        return &(<_NativeSpan> above).spare if (<_NativeSpan> above).active == base else NULL
    return &_root_spare if is_plain_context(base) and not dict_length(base) else NULL


cdef inline object spare_context(PyObject *base, object span, PyObject *above):
    cdef Spare *place = place_of_spare(base, above)
    if place == NULL or place.context == NULL:
        return with_span(<object> base, span)
    context = moved(&place.context)
    PyDict_SetItem(context, _span_key, span)
    return context


cdef inline bint is_spare(PyObject *base, PyObject *context, PyObject *above) noexcept:
    # Whether it can serve the next `with`.
    return reference_count(context) == 1 and is_plain_context(context) and is_plain_context(base) and (
        above != NULL or dict_length(context) == 1
    ) and place_of_spare(base, above) != NULL


cdef inline int give_back_context(PyObject *base, object context, object span, PyObject *above) except -1:
    # What dies with the span can run anything, and find neither; the place is looked for after that.
    cdef Spare *place
    cdef PyObject *old
    cdef PyObject *retired = NULL
    if not is_spare(base, <PyObject *> context, above):
        return 0
    if type(span) is _NativeSpan and not has_weak_references(<PyObject *> span) and (
        reference_count(<PyObject *> span) == 2  # the context's and the caller's
    ):
        retired = <PyObject *> span
        PyObject_GC_UnTrack(retired)
        reset_span(retired)
    else:
        PyDict_SetItem(context, _span_key, None)
    place = place_of_spare(base, above)
    if place == NULL:
        return 0
    old = place.context
    keep(<PyObject *> context)
    place.context, place.span = <PyObject *> context, retired
    drop(old)
    return 0


cdef inline int detach(object token) except -1:
    if _context_var is not None and try_reset(_context_var, token) == 0:
        return 0
    return detach_otherwise(token)


cdef int detach_otherwise(object token) except -1:
    PyErr_Clear()
    if _context_var is not None:
        try:
            PyContextVar_Reset(_context_var, token)
            return 0
        except ValueError:
            return 0  # left in another context than entered, as generators are: nothing to be undone here
        except (RuntimeError, TypeError):
            pass  # the API's own detach() tries again, and logs
    opentelemetry.context.detach(token)
    return 0


cdef object find_parent(object context, Context *ids):
    # The current span's context, if it is a valid one; ids are undefined where there is none. Returns whose
    # it is, who also holds the trace state: one of our own spans, a SpanContext, or None. Never raises.
    cdef PyObject *found
    cdef PyObject *kind
    cdef PyObject *span_context = NULL
    if context is None:
        context = current_context()
    if not is_plain_context(<PyObject *> context):
        return find_foreign(context, ids)
    if not dict_length(<PyObject *> context):
        return None
    found = PyDict_GetItemWithError(context, _span_key)
    if found == NULL:
        return None
    kind = type_of(found)
    if kind == _own_span and not (<_NativeSpan> found).has_odd_context:
        ids[0] = (<_NativeSpan> found).ids
        span = <object> found
    elif kind == _own_non_recording:
        ids[0] = (<_NativeNonRecordingSpan> found).ids
        span = <object> found
    elif kind == _api_non_recording and remote_context(found, &span_context, ids):
        span = <object> span_context
        drop(span_context)
    else:
        return find_foreign(context, ids)
    return span if ids.span and (ids.trace_low or ids.trace_high) else None


cdef bint remote_context(PyObject *span, PyObject **span_context, Context *ids) noexcept:
    # Of the API's NonRecordingSpan, as propagators make it of a request's headers: its SpanContext, a new
    # reference.
    cdef PyObject *found = otlpfast_attribute(span, <PyObject *> _context_name)
    if found != NULL and type_of(found) == _span_context_type and read_context(found, ids) == OK:
        span_context[0] = found
        return True
    drop(found)
    return False


cdef object find_foreign(object context, Context *ids):
    parent = given_parent(context)
    if parent is None or not parent.is_valid:
        return None
    if read_context(<PyObject *> parent, ids) != OK:
        parent = plain_context(parent)
        read_context(<PyObject *> parent, ids)
    return parent


@cython.final
cdef class _NativeNonRecordingSpan:
    """A span that is not recorded: it has a context and does nothing."""

    cdef object __weakref__
    cdef PyObject *own  # __dict__, as in _NativeSpan
    cdef object own_context, trace_state
    cdef Context ids

    def __init__(self):
        raise TypeError("made by a tracer")

    def __dealloc__(self):
        cdef PyObject *own = self.own
        self.own = NULL
        drop(own)

    @property
    def __dict__(self):
        return PyObject_GenericGetDict(self, NULL)

    @property
    def __class__(self):
        return NonRecordingSpan

    @property
    def _context(self):
        if self.own_context is None:
            made = context_object(&self.ids, self.trace_state)
            if self.own_context is None:
                self.own_context = made
        return self.own_context

    @_context.setter
    def _context(self, value):
        if read_context(<PyObject *> value, &self.ids) != OK:
            memset(&self.ids, 0, sizeof(Context))
            self.ids.trace_state = <PyObject *> self.trace_state
        else:
            self.trace_state = <object> self.ids.trace_state
        self.own_context = value

    def get_span_context(self):
        return self._context

    def is_recording(self):
        return False

    def end(self, end_time=None):
        pass

    def set_attributes(self, attributes):
        pass

    def set_attribute(self, key, value):
        pass

    def add_event(self, name, attributes=None, timestamp=None):
        pass

    def add_link(self, context, attributes=None):
        pass

    def update_name(self, name):
        pass

    def set_status(self, status, description=None):
        pass

    def record_exception(self, exception, attributes=None, timestamp=None, escaped=False):
        pass

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        pass

    def __repr__(self):
        return f"NonRecordingSpan({self._context!r})"

    def __reduce__(self):
        return NonRecordingSpan, (self._context,), PyObject_GenericGetDict(self, NULL)


cdef traverseproc _traverse_non_recording


cdef int traverse_non_recording(PyObject *self, visitproc visit, void *arg) noexcept:
    cdef PyObject *own = (<_NativeNonRecordingSpan> self).own
    cdef int outcome = _traverse_non_recording(self, visit, arg)
    return visit(own, arg) if outcome == 0 and own != NULL else outcome


cdef _NativeNonRecordingSpan _unrecorded = _NativeNonRecordingSpan.__new__(_NativeNonRecordingSpan)
_traverse_non_recording = open_type(
    <PyTypeObject *> _NativeNonRecordingSpan, <char *> &_unrecorded.own - <char *> <PyObject *> _unrecorded,
    traverse_non_recording
)
_unrecorded = None

cdef Idle _idle_unrecorded


cdef void retire_unrecorded(PyObject *self) noexcept:
    part(self)
    close_dict(self)
    if (<_NativeNonRecordingSpan> self).own_context is not None:
        (<_NativeNonRecordingSpan> self).own_context = None
    if <PyObject *> (<_NativeNonRecordingSpan> self).trace_state != _default_trace_state:
        (<_NativeNonRecordingSpan> self).trace_state = None
    retire(&_idle_unrecorded, self)


recycle(&_idle_unrecorded, <PyTypeObject *> _NativeNonRecordingSpan, retire_unrecorded)
