"""What is behind ``/debug/pprof/``, whoever serves it: ``http.py``, or an application that mounts it."""
