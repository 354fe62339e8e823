# What a `with` asks a scope for: __enter__ and __exit__, bound to it. Before 3.14 the interpreter binds them
# anew each time; these two are recycled, which the built-in method objects that would serve are not.

ctypedef object (*vectorcall)(PyObject *, PyObject **, size_t, PyObject *)

cdef extern from *:
    """
    static void otlpfast_call_by(PyTypeObject *type, Py_ssize_t offset) {
        type->tp_vectorcall_offset = offset;
        type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
        PyType_Modified(type);
    }

    static int otlpfast_replace(PyTypeObject *type, const char *name, PyObject *member) {
        int outcome = PyDict_SetItemString(type->tp_dict, name, member);
        PyType_Modified(type);
        return outcome;
    }
    """
    void call_by "otlpfast_call_by"(PyTypeObject *, Py_ssize_t offset)
    int replace "otlpfast_replace"(PyTypeObject *, const char *name, object member) except -1

cdef extern from "Python.h":
    Py_ssize_t PyVectorcall_NARGS(size_t) noexcept
    object PyObject_Vectorcall(object, PyObject **, size_t, PyObject *)


@cython.final
@cython.no_gc_clear
cdef class _Bound:
    # A method of a scope.
    cdef object __weakref__
    cdef vectorcall call
    cdef _SpanScope scope

    cdef object method(self):
        return _methods[self.call == exit_scope].__get__(self.scope)

    def __call__(self, *arguments, **options):
        return self.method()(*arguments, **options)

    def __getattr__(self, name):
        return getattr(self.method(), name)

    def __repr__(self):
        return repr(self.method())

    def __hash__(self):
        return hash(self.method())

    def __eq__(self, other):
        return self.method() == ((<_Bound> other).method() if type(other) is _Bound else other)


cdef Idle _idle_bound


cdef void retire_bound(PyObject *self) noexcept:
    part(self)
    (<_Bound> self).scope = None
    retire(&_idle_bound, self)


recycle(&_idle_bound, <PyTypeObject *> _Bound, retire_bound)


cdef object enter_scope(PyObject *self, PyObject **args, size_t nargsf, PyObject *names):
    cdef _SpanScope scope = (<_Bound> self).scope
    if PyVectorcall_NARGS(nargsf) or names != NULL:
        return PyObject_Vectorcall((<_Bound> self).method(), args, nargsf, names)
    return scope.enter()


cdef object exit_scope(PyObject *self, PyObject **args, size_t nargsf, PyObject *names):
    cdef _SpanScope scope = (<_Bound> self).scope
    if PyVectorcall_NARGS(nargsf) != 3 or names != NULL or (
        args[0] != py_none or args[1] != py_none
    ):
        return PyObject_Vectorcall((<_Bound> self).method(), args, nargsf, names)
    if scope.token != NULL:
        scope.leave(None)
    return False


@cython.final
cdef class _Binder:
    # Stands in the scope's class for a method, and binds it.
    cdef object method
    cdef vectorcall call

    def __get__(self, scope, owner):
        cdef _Bound bound
        if type(scope) is not _SpanScope:
            return self.method
        bound = <_Bound> take(&_idle_bound)
        bound.scope = <_SpanScope> scope
        bound.call = self.call
        return bound


cdef tuple _methods = (_SpanScope.__enter__, _SpanScope.__exit__)


cdef int bind(const char *name, object method, vectorcall call) except -1:
    cdef _Binder binder = _Binder.__new__(_Binder)
    binder.method, binder.call = method, call
    return replace(<PyTypeObject *> _SpanScope, name, binder)


cdef _Bound _some_bound = _Bound.__new__(_Bound)
call_by(<PyTypeObject *> _Bound, <char *> &_some_bound.call - <char *> <PyObject *> _some_bound)
_some_bound = None
if sys.version_info < (3, 14):
    bind("__enter__", _methods[0], enter_scope)
    bind("__exit__", _methods[1], exit_scope)
