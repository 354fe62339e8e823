/* For make coverage: os._exit(), with which forked children end, keeps what this library has counted. */
#include <Python.h>

void __gcov_dump(void);

#define UNCOUNTED __attribute__((no_profile_instrument_function)) /* both libraries have this file */

UNCOUNTED static PyObject *leave(PyObject *leaving, PyObject *arguments) {
    __gcov_dump();
    return PyObject_CallObject(leaving, arguments);
}

static PyMethodDef method = {"_exit", leave, METH_VARARGS, NULL};

UNCOUNTED __attribute__((constructor)) static void stand_in(void) {
    PyObject *os = PyImport_ImportModule("os");
    PyObject *leaving = PyObject_GetAttrString(os, "_exit");
    PyObject_SetAttrString(os, "_exit", PyCFunction_New(&method, leaving));
    Py_DECREF(leaving);
    Py_DECREF(os);
}
