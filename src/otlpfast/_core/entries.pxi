# The calls that applications make most, taken before Cython's parser of arguments sees them. What is not
# handled here goes on to the method that it is, which knows every other way to call it.

ctypedef object (*entry)(PyObject *, PyObject **, Py_ssize_t, PyObject *)

cdef extern from *:
    """
    /* Puts `first` in front of a method. Returns the method, NULL where it is not of the expected kind. */
    static void *otlpfast_put_before(PyTypeObject *type, const char *name, void *first) {
        PyObject *found = PyDict_GetItemString(type->tp_dict, name);
        PyMethodDef *method;
        void *then;
        if (found == NULL || !Py_IS_TYPE(found, &PyMethodDescr_Type)) return NULL;
        method = ((PyMethodDescrObject *)found)->d_method;
        if ((method->ml_flags & ~METH_COEXIST) != (METH_FASTCALL | METH_KEYWORDS)) return NULL;
        then = (void *)(void (*)(void))method->ml_meth;
        method->ml_meth = (PyCFunction)(void (*)(void))first;
        return then;
    }

    /* Borrows the arguments of a call; what was not given stays as it is. 0: let Cython's parser look, for
       more than `most` were given, or a name that is not one of the `known` objects or was given twice. */
    static inline int otlpfast_arguments(
        PyObject **values, Py_ssize_t most, PyObject **known,
        PyObject *const *args, Py_ssize_t nargs, PyObject *names
    ) {
        Py_ssize_t i, k, named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
        if (nargs > most) return 0;
        for (i = 0; i < nargs; i++) values[i] = args[i];
        for (k = 0; k < named; k++) {
            for (i = nargs; i < most && known[i] != PyTuple_GET_ITEM(names, k); i++) {}
            if (i == most) return 0;
            values[i] = args[nargs + k];
        }
        return values[0] != NULL;
    }
    """
    void *put_before "otlpfast_put_before"(PyTypeObject *, const char *name, void *first)
    bint arguments "otlpfast_arguments"(
        PyObject **values, Py_ssize_t most, PyObject **known,
        PyObject **args, Py_ssize_t nargs, PyObject *names
    ) noexcept

cdef enum:
    A_NAME, A_CONTEXT, A_KIND, A_ATTRIBUTES, A_LINKS, A_START_TIME, A_RECORD, A_STATUS, A_END
    START_ARGUMENTS = 8
    CURRENT_ARGUMENTS = 9

cdef object _start_texts = [
    sys.intern(name) for name in (
        "name context kind attributes links start_time record_exception set_status_on_exception end_on_exit"
    ).split()
]
cdef PyObject *_start_names[CURRENT_ARGUMENTS]
for _i in range(CURRENT_ARGUMENTS):
    _start_names[_i] = <PyObject *> _start_texts[_i]


cdef inline bint start_arguments(
    PyObject **values, Py_ssize_t most, PyObject **args, Py_ssize_t nargs, PyObject *names
) noexcept:
    values[A_NAME] = NULL
    values[A_CONTEXT] = values[A_ATTRIBUTES] = values[A_START_TIME] = py_none
    values[A_KIND] = <PyObject *> _internal
    values[A_LINKS] = <PyObject *> _no_arguments
    values[A_RECORD] = values[A_STATUS] = values[A_END] = py_true
    return arguments(values, most, _start_names, args, nargs, names) and (
        is_bool(values[A_RECORD]) and is_bool(values[A_STATUS]) and is_bool(values[A_END])
    )


cdef object enter_start_span(PyObject *self, PyObject **args, Py_ssize_t nargs, PyObject *names):
    cdef PyObject *values[CURRENT_ARGUMENTS]
    cdef Asked asked
    if nargs == 1 and names == NULL:
        asked = Asked(
            args[0], py_none, <PyObject *> _internal, py_none, <PyObject *> _no_arguments, py_none,
            True, True, NULL, NULL, NULL,
        )
        return (<_NativeTracer> self).begin(&asked)
    if not start_arguments(values, START_ARGUMENTS, args, nargs, names):
        return _start_span(self, args, nargs, names)
    asked = Asked(
        values[A_NAME], values[A_CONTEXT], values[A_KIND], values[A_ATTRIBUTES], values[A_LINKS],
        values[A_START_TIME], values[A_RECORD] == py_true, values[A_STATUS] == py_true, NULL, NULL, NULL,
    )
    return (<_NativeTracer> self).begin(&asked)


cdef object enter_start_as_current_span(
    PyObject *self, PyObject **args, Py_ssize_t nargs, PyObject *names
):
    cdef PyObject *values[CURRENT_ARGUMENTS]
    if nargs == 1 and names == NULL:
        return fresh_scope(<_NativeTracer> self, args[0])
    if not start_arguments(values, CURRENT_ARGUMENTS, args, nargs, names):
        return _start_as_current_span(self, args, nargs, names)
    return given_scope(<_NativeTracer> self, values)


cdef object enter_end(PyObject *self, PyObject **args, Py_ssize_t nargs, PyObject *names):
    if nargs or names != NULL:
        return _end(self, args, nargs, names)
    (<_NativeSpan> self).end(None)


cdef object enter_set_attribute(PyObject *self, PyObject **args, Py_ssize_t nargs, PyObject *names):
    # A first value for a short text, where there is room for it.
    if nargs == 2 and names == NULL and (<_NativeSpan> self).add_attribute(args[0], args[1]):
        return None
    return _set_attribute(self, args, nargs, names)


cdef entry _start_span = <entry> put_before(
    <PyTypeObject *> _NativeTracer, "start_span", <void *> enter_start_span
)
cdef entry _start_as_current_span = <entry> put_before(
    <PyTypeObject *> _NativeTracer, "start_as_current_span", <void *> enter_start_as_current_span
)
cdef entry _end = <entry> put_before(<PyTypeObject *> _NativeSpan, "end", <void *> enter_end)
cdef entry _set_attribute = <entry> put_before(
    <PyTypeObject *> _NativeSpan, "set_attribute", <void *> enter_set_attribute
)
