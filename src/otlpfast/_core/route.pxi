# What the processors get of a span.


cdef inline int announce(_NativeSpan span, object parent_context) except -1:
    if span.origin.route is None or span.origin.route.starting:
        announce_to_others(span, parent_context)
    return 0


cdef int announce_to_others(_NativeSpan span, object parent_context) except -1:
    cdef Route route = span.origin.route
    if route is None:
        guarded(getattr(span.origin.processors, "on_start", nothing), span, parent_context=parent_context)
        return 0
    for processor in route.starting:
        if type(processor) is SpanQueue:
            (<SpanQueue> processor).watch(<PyObject *> span)
        else:
            guarded(processor.on_start, span, parent_context=parent_context)
    return 0


cdef inline int deliver(_NativeSpan span) except -1:
    # Of a span that has ended.
    cdef Route route = span.origin.route
    if route is None or route.only_queue is None or span.end_metrics is not None:
        return deliver_to_all(span, route)
    cdef int outcome = route.only_queue.put_own(span)
    if outcome or not route.only_queue.attended:
        route.own[0]._react(outcome)
    return 0


cdef int deliver_to_all(_NativeSpan span, Route route) except -1:
    # Others may change what they get, so that otlpfast's own come after them.
    cdef tuple own, queues
    cdef Py_ssize_t i
    cdef object readable = None
    if span.end_metrics is not None:
        guarded(span.end_metrics)
    if route is None:
        guarded(getattr(span.origin.processors, "_on_ending", nothing), span)
        guarded(getattr(span.origin.processors, "on_end", nothing), span._readable_span())
        return 0
    if route.ending:
        for processor in route.ending:
            guarded(processor._on_ending, span)
    if route.ended:
        readable = span._readable_span()
        for processor in route.ended:
            guarded(processor.on_end, readable)
    own, queues = route.own, route.queues
    for i in range(len(own)):
        if queues[i] is None:
            if readable is None and not own[i].encodes_at_once:
                readable = span._readable_span()
            guarded(own[i].take, span if readable is None else readable)
        else:
            enqueue(own[i], queues[i], span if readable is None else readable)
    return 0


cdef int enqueue(object processor, SpanQueue queue, object span) except -1:
    cdef int outcome = queue.put_own(<_NativeSpan> span) if type(span) is _NativeSpan else queue.put(span)
    if outcome or not queue.attended:
        processor._react(outcome)
    return 0
