# What a `with` asks a scope for: __enter__ and __exit__, bound to it. Before 3.14 the interpreter has them
# bound for each `with`, which makes two built-in method objects: 900 instructions. Here it gets the scope
# itself in their place; what it calls that for is told by the number of arguments, once it has asked.

cdef extern from *:
    """
    static ternaryfunc otlpfast_call_by(PyTypeObject *type, Py_ssize_t offset) {
        type->tp_vectorcall_offset = offset;
        type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
        return type->tp_call;
    }

    static int otlpfast_replace(PyTypeObject *type, const char *name, PyObject *member) {
        int outcome = PyDict_SetItemString(type->tp_dict, name, member);
        PyType_Modified(type);
        return outcome;
    }
    """
    ctypedef object (*ternaryfunc)(object, object, PyObject *)
    ternaryfunc call_by "otlpfast_call_by"(PyTypeObject *, Py_ssize_t offset)
    int replace "otlpfast_replace"(PyTypeObject *, const char *name, object member) except -1

cdef extern from "Python.h":
    Py_ssize_t PyVectorcall_NARGS(size_t) noexcept


@cython.final
cdef class _Binder:
    # Stands in the scope's class for a method that a `with` looks up.
    cdef object method
    cdef bint enters

    def __get__(self, scope, owner):
        if type(scope) is not _SpanScope:
            return self.method
        if self.enters:
            (<_SpanScope> scope).asked_to_enter = True
        else:
            (<_SpanScope> scope).asked_to_leave = True
        return scope


cdef object call_scope(PyObject *self, PyObject **args, size_t nargsf, PyObject *names):
    cdef Py_ssize_t count = PyVectorcall_NARGS(nargsf)
    if names == NULL and count == 3 and (<_SpanScope> self).asked_to_leave:
        return (<_SpanScope> self).exit(<object> args[0], <object> args[1])
    if names == NULL and count == 0 and (<_SpanScope> self).asked_to_enter:
        return (<_SpanScope> self).enter()
    return call_otherwise(<object> self, args, count, names)


cdef object call_otherwise(object scope, PyObject **args, Py_ssize_t count, PyObject *names):
    # To decorate a function.
    cdef Py_ssize_t i
    cdef dict options = {}
    given = tuple([<object> args[i] for i in range(count)])
    for i in range(tuple_length(names) if names != NULL else 0):
        options[<object> tuple_item(names, i)] = <object> args[count + i]
    return _call_scope(scope, given, <PyObject *> options)


cdef int bind(const char *name, object method, bint enters) except -1:
    cdef _Binder binder = _Binder.__new__(_Binder)
    binder.method, binder.enters = method, enters
    return replace(<PyTypeObject *> _SpanScope, name, binder)


cdef _SpanScope _some_scope = _SpanScope.__new__(_SpanScope)
cdef ternaryfunc _call_scope = call_by(
    <PyTypeObject *> _SpanScope, <char *> &_some_scope.call - <char *> <PyObject *> _some_scope
)
_some_scope = None
if sys.version_info < (3, 14):
    bind("__enter__", _SpanScope.__enter__, True)
    bind("__exit__", _SpanScope.__exit__, False)
