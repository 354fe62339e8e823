#define Py_BUILD_CORE 1
#include "labels.h"

#include "internal/pycore_context.h"

enum { MANY = 1024 }; /* variables make the root of a context an array */

static PyHamtObject *map_of(PyObject *context) { return ((PyContext *)context)->ctx_vars; }

static PyObject *add_variable(Py_hash_t hash) {
    PyObject *token, *variable = PyContextVar_New("otlpfast.profiling", NULL);
    if (variable == NULL) return NULL;
    if (hash != -1) ((PyContextVar *)variable)->var_hash = hash;
    token = PyContextVar_Set(variable, Py_None);
    if (token == NULL) Py_CLEAR(variable);
    Py_XDECREF(token);
    return variable; /* the context keeps it as well */
}

/* In a context of our own: first two variables whose hashes are the same, then many. */
static int fill(PyObject *context, otlpfast_map_types *types) {
    PyObject *first = add_variable(-1), *second;
    PyTypeObject *root;
    if (first == NULL) return -1;
    types->map = Py_TYPE(map_of(context));
    types->bitmap = Py_TYPE(map_of(context)->h_root);
    second = add_variable(((PyContextVar *)first)->var_hash);
    Py_DECREF(first);
    if (second == NULL) return -1;
    Py_DECREF(second);
    /* A node with both of them is all that the root has: behind NULL, where there would be a key. */
    PyObject *const *pair = (PyObject *const *)((char *)map_of(context)->h_root + sizeof(PyVarObject)) + 1;
    types->collision = pair[0] == NULL ? Py_TYPE(pair[1]) : NULL;
    for (int i = 0; i < MANY; i++) {
        PyObject *variable = add_variable(-1);
        if (variable == NULL) return -1;
        Py_DECREF(variable);
        root = Py_TYPE(map_of(context)->h_root);
        if (root != types->bitmap) {
            types->array = root;
            return 0;
        }
    }
    PyErr_SetString(PyExc_RuntimeError, "this Python keeps the variables of a context in another way");
    return -1;
}

int otlpfast_learn_maps(otlpfast_map_types *types) {
    PyObject *context = PyContext_New();
    int outcome;
    if (context == NULL) return -1;
    if (PyContext_Enter(context) < 0) {
        Py_DECREF(context);
        return -1;
    }
    outcome = fill(context, types);
    if (PyContext_Exit(context) < 0) outcome = -1;
    Py_DECREF(context);
    return outcome;
}

Py_ssize_t otlpfast_find_field(PyObject *object, const PyObject *value) {
    PyObject *const *words = (PyObject *const *)object;
    Py_ssize_t count = Py_TYPE(object)->tp_basicsize / (Py_ssize_t)sizeof *words;
    for (Py_ssize_t i = sizeof(PyObject) / sizeof *words; i < count; i++)
        if (words[i] == value) return i * (Py_ssize_t)sizeof *words;
    return -1;
}
