# What a queue with a tail sampler does with spans: aside to their trace, from there to the batches or away.


cdef int put_aside(SpanQueue queue, object span, bint keep, bint foreign) except -1:
    # SpanQueue.put() from where the span has been counted as ended. From where it is with its trace, it is
    # accounted for with that.
    cdef _Tail tail = queue.tail
    cdef int outcome
    tail.finished = NOWHERE
    try:
        outcome = put_with_trace(queue, tail, span, keep, foreign)
    except Exception:  # no memory, or no stack left
        return queue.dropped(ENCODE_ERROR)
    except BaseException:
        queue.dropped(ENCODE_ERROR)
        raise
    return outcome | decide_pressing(queue, tail)


cdef int put_with_trace(SpanQueue queue, _Tail tail, object span, bint keep, bint foreign) except -1:
    cdef object readable = span
    cdef _Group place = None
    cdef PyObject *subject = <PyObject *> span
    cdef Traits traits
    cdef int32_t rule, number
    cdef Py_ssize_t kept_size = 0
    cdef bint plain = foreign, is_kept = False
    cdef int outcome = BAIL if foreign else read_traits(<PyObject *> span, &traits)
    while True:
        if outcome == BAIL:
            readable = plain_span(span)
            plain = True
            if readable is None or read_traits(<PyObject *> readable, &traits) != OK:
                return queue.dropped(ENCODE_ERROR)
        rule = tail.first_rule(readable, traits.is_root)
        if keep:
            kept_size = queue.measure(span, readable, plain)
            if not kept_size:
                return queue.dropped(ENCODE_ERROR)
        else:
            place = tail.place_of(<PyObject *> readable)
            subject = <PyObject *> place
        if queue.closed:  # while Python code ran, of which there is no more from here on
            return queue.dropped(SHUTDOWN)
        number = tail.traces.find(traits.ids.trace_high, traits.ids.trace_low)
        if tail.is_late(number, &traits, rule, &is_kept):
            if is_kept:
                return queue.admit(span, keep, foreign)
            queue.counters.count(SAMPLED_OUT)
            return 0
        outcome = tail.add(number, &traits, rule, subject, <PyObject *> readable, plain, kept_size)
        if outcome != BAIL or plain:
            return 0 if outcome == OK else queue.dropped(ENCODE_ERROR)


cdef int decide_pressing(SpanQueue queue, _Tail tail) except -1:
    # On the trace of the span that came last, if it is complete, and on those that can't wait any longer.
    cdef int outcome = 0
    cdef int32_t number = tail.finished
    tail.finished = NOWHERE
    if number != NOWHERE:
        outcome = decide_on(queue, tail, number, False, 0)
    number = tail.most_pressing()
    while number != NOWHERE:
        outcome |= decide_on(queue, tail, number, True, 0)
        number = tail.most_pressing()
    return outcome


cdef int decide_on(SpanQueue queue, _Tail tail, int32_t number, bint early, int reason) except -1:
    # Moves the spans of a trace to the batches, or drops them: for that reason, if there is one.
    cdef bint is_kept = False
    cdef Trace *trace = tail.take_out(number, early, &is_kept)
    if not is_kept:
        return drop_spans(queue, tail, trace, SAMPLED_OUT)
    if reason:
        return drop_spans(queue, tail, trace, reason)
    return move_spans(queue, tail, trace)


cdef int drop_spans(SpanQueue queue, _Tail tail, Trace *trace, int reason) noexcept:
    # All that the trace has left, and the trace.
    cdef Py_ssize_t spans = trace.spans
    tail.spans -= spans
    queue.counters.bump(reason, spans)
    drop_trace(trace)
    return DROPPED if spans and reason != SAMPLED_OUT else 0


cdef int move_spans(SpanQueue queue, _Tail tail, Trace *trace) except -1:
    # A trace goes to the batches whole, if there is room when it comes: that its last spans exceed the number
    # of spans that may wait takes no more memory than they have had.
    cdef int reason = ENCODE_ERROR, outcome = 0
    cdef size_t at = 0
    tail.moving += 1
    try:
        reason = queue.refuses(trace.nbytes)
        if reason == 0:
            reason = ENCODE_ERROR  # of what is left where this is cut short
            while at < trace.out.pos:
                outcome |= move_span(queue, tail, trace, &at)
    except Exception:
        if queue.is_over:
            reason = SHUTDOWN
    finally:
        tail.moving -= 1
        outcome |= drop_rest(queue, tail, trace, at, reason)
    return outcome


cdef int drop_rest(SpanQueue queue, _Tail tail, Trace *trace, size_t at, int reason) noexcept:
    # From there on: before that, spans are others'.
    trace.out.pos -= at
    if at and trace.out.pos:
        memmove(trace.out.data, trace.out.data + at, trace.out.pos)
    return drop_spans(queue, tail, trace, reason)


cdef int move_span(SpanQueue queue, _Tail tail, Trace *trace, size_t *at) except -1:
    cdef Record record
    cdef size_t next = next_record(trace, at[0], &record)
    cdef object subject = <object> record.subject
    cdef BatchBuilder batch = None
    cdef Py_ssize_t size = abs(record.size)
    if record.size > 0:
        batch = queue.copy_encoded(<_Group> subject, trace.out.data + next - size, size)
    if batch is None and (record.size > 0 or queue.is_over):
        raise MemoryError
    if batch is None:
        queue.keep_span(subject, size)
    at[0] = next
    trace.spans -= 1
    tail.spans -= 1
    queue.queued += 1
    queue.held += size
    drop(record.subject)
    return queue.close_kept_if_full() if batch is None else queue.close_if_full(batch)


cdef Py_ssize_t drop_undecided(SpanQueue queue, _Tail tail, int reason) except -1:
    # Decides on all; how many spans would have been kept, and are dropped for that reason.
    cdef Py_ssize_t total = 0, before
    cdef int32_t number = tail.traces.waiting.oldest
    while number != NOWHERE:
        before = queue.counters.total(reason)
        decide_on(queue, tail, number, True, reason)
        total += queue.counters.total(reason) - before
        number = tail.traces.waiting.oldest
    return total
