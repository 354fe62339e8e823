# Objects that wait to be used again, whole: their fields are as in a new one, so that neither death nor birth
# has to go through all of them. A type's tp_dealloc retires its objects here; where enough wait, Cython's own
# frees them.
#
# And the __dict__ of an instance, which is made when something is put into it. On CPython 3.11 it has to be
# there for the interpreter's fast method calls: an empty one stays with the object while that waits.

ctypedef void (*destructor)(PyObject *) noexcept
ctypedef int (*visitproc)(PyObject *, void *) noexcept
ctypedef int (*traverseproc)(PyObject *, visitproc, void *) noexcept

cdef extern from *:
    """
    #define OTLPFAST_IDLE 256
    typedef struct {
        PyTypeObject *type;
        destructor free;
        int count;
        PyObject *at[OTLPFAST_IDLE];
    } otlpfast_idle;

    /* From here on the type's objects are retired by `retire`, whose last step is otlpfast_retire(). */
    static void otlpfast_recycle(otlpfast_idle *idle, PyTypeObject *type, destructor retire) {
        idle->type = type;
        idle->free = type->tp_dealloc;
        type->tp_dealloc = retire;
    }

    OTLPFAST_COLD static PyObject *otlpfast_new(otlpfast_idle *idle) {
        PyObject *nothing = PyTuple_New(0), *made;
        if (nothing == NULL) return NULL;
        made = idle->type->tp_new(idle->type, nothing, NULL);
        Py_DECREF(nothing);
        return made;
    }

    static inline PyObject *otlpfast_take(otlpfast_idle *idle) {
        PyObject *found;
        if (idle->count == 0) return otlpfast_new(idle);
        found = idle->at[--idle->count];
        _Py_NewReference(found);
        PyObject_GC_Track(found);
        return found;
    }

    static void otlpfast_free(otlpfast_idle *idle, PyObject *object) { idle->free(object); }

    static inline void otlpfast_retire(otlpfast_idle *idle, PyObject *object) {
        if (idle->count < OTLPFAST_IDLE) idle->at[idle->count++] = object;
        else idle->free(object);
    }

    static inline int otlpfast_has_weak(PyObject *object) {
        return *(PyObject **)((char *)object + Py_TYPE(object)->tp_weaklistoffset) != NULL;
    }

    /* The first step of retiring: from here on neither the collector nor a weak reference finds it. */
    static inline void otlpfast_part(PyObject *object) {
        PyObject_GC_UnTrack(object);
        if (otlpfast_has_weak(object)) PyObject_ClearWeakRefs(object);
    }

    /* What a field holds, which is then empty. */
    static inline PyObject *otlpfast_move(PyObject **field) {
        PyObject *found = *field;
        if (found == NULL) return Py_NewRef(Py_None);
        *field = NULL;
        return found;
    }

    static inline PyObject **otlpfast_dict(PyObject *object) {
        return (PyObject **)((char *)object + Py_TYPE(object)->tp_dictoffset);
    }

    /* Whether somebody has put something onto this very object. */
    static inline int otlpfast_is_changed(PyObject *object) {
        PyObject *own = *otlpfast_dict(object);
        return own != NULL && ((PyDictObject *)own)->ma_used != 0;
    }

    #if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030C0000
    static PyDictKeysObject *otlpfast_no_keys = NULL;  /* those of every new dict */
    static inline void otlpfast_open_dict(PyObject *object) {
        PyObject **own = otlpfast_dict(object);
        if (*own != NULL) return;
        *own = PyDict_New();
        if (*own == NULL) PyErr_Clear();
        else otlpfast_no_keys = ((PyDictObject *)*own)->ma_keys;
    }
    static inline void otlpfast_close_dict(PyObject *object) {
        PyObject **at = otlpfast_dict(object), *own = *at;
        if (own == NULL) return;
        if (Py_REFCNT(own) == 1 && ((PyDictObject *)own)->ma_keys == otlpfast_no_keys) return;
        *at = NULL;
        Py_DECREF(own);
    }
    #else
    #  define otlpfast_open_dict(object) ((void)(object))
    static inline void otlpfast_close_dict(PyObject *object) {
        PyObject **at = otlpfast_dict(object), *own = *at;
        if (own == NULL) return;
        *at = NULL;
        Py_DECREF(own);
    }
    #endif

    /* From here on the garbage collector asks `traverse`, which also asks what is returned: Cython's. */
    static traverseproc otlpfast_traverse(PyTypeObject *type, traverseproc traverse) {
        traverseproc fields = type->tp_traverse;
        type->tp_traverse = traverse;
        return fields;
    }

    /* Cython would make the __dict__ of each span with it. */
    static traverseproc otlpfast_open(PyTypeObject *type, Py_ssize_t dict_offset, traverseproc traverse) {
        type->tp_dictoffset = dict_offset;
        PyType_Modified(type);
        return otlpfast_traverse(type, traverse);
    }
    """
    ctypedef struct Idle "otlpfast_idle":
        pass
    void recycle "otlpfast_recycle"(Idle *, PyTypeObject *, destructor retire)
    void PyObject_GC_Track(PyObject *) noexcept
    object take "otlpfast_take"(Idle *)
    void retire "otlpfast_retire"(Idle *, PyObject *) noexcept
    void PyObject_GC_UnTrack(PyObject *) noexcept
    bint has_weak_references "otlpfast_has_weak"(PyObject *) noexcept
    void part "otlpfast_part"(PyObject *) noexcept
    void free_idle "otlpfast_free"(Idle *, PyObject *) noexcept
    object moved "otlpfast_move"(PyObject **)
    bint is_changed "otlpfast_is_changed"(object) noexcept
    void open_dict "otlpfast_open_dict"(object) noexcept
    void close_dict "otlpfast_close_dict"(PyObject *) noexcept
    traverseproc traverse_by "otlpfast_traverse"(PyTypeObject *, traverseproc)
    traverseproc open_type "otlpfast_open"(PyTypeObject *, Py_ssize_t, traverseproc)
