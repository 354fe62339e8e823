# The classes that isinstance() and users see.
#
# Their methods are looked up on the native types; those that are here serve whoever calls one unbound, also
# with an object of his own.

class Tracer(_SDKTracer):
    """Makes spans for one instrumentation scope. Made by ``TracerProvider.get_tracer()``."""

    def __new__(cls, *args, **options):
        if cls is not Tracer:
            return super().__new__(cls)
        return _NativeTracer(_SDKTracer(*args, **options))

    @staticmethod
    def adopt(stock):
        """A Tracer with all that the SDK's has."""
        return _NativeTracer(stock)

    start_span = either(_NativeTracer, _NativeTracer.start_span, _SDKTracer.start_span)
    start_as_current_span = either(
        _NativeTracer, _NativeTracer.start_as_current_span, _SDKTracer.start_as_current_span
    )


class Span(_SDKSpan):
    """A span that is recorded. Made by a Tracer."""

    def __new__(cls, *args, **options):
        raise TypeError("Span must be instantiated via a tracer.")


for _name, _member in list(vars(_NativeSpan).items()):
    if callable(_member) and hasattr(_SDKSpan, _name) and (
        not _name.startswith("__") or _name in ("__enter__", "__exit__", "__repr__")
    ):
        setattr(Span, _name, either(_NativeSpan, _member, getattr(_SDKSpan, _name)))

cdef object _span_face = Span
cdef object _tracer_face = Tracer
