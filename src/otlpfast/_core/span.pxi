# A span that is recorded. What the application sets goes into C memory. What it, or a processor, asks to see
# as the SDK's objects (BoundedAttributes, BoundedList, Event, SpanContext) is made then, and is from then on
# where the span keeps it, so that both sides see every change.

cdef enum:
    MANY = 256  # attributes are looked for one after the other; more of them go into a dict

cdef object _stock_record_exception = _SDKSpan.record_exception

_sdk_logger = getLogger("opentelemetry.sdk.trace")
_attributes_logger = getLogger("opentelemetry.attributes")


cdef object warn_full():
    if warnings_of_full_attributes.holds_back():
        return  # before a record is made, which takes longer than all else
    warn(_attributes_logger, "Attributes dict is full. Dropping the oldest key-value pair from attributes "
         "to make space for the new key-value pair.")


cdef object warn_ended(name):
    warn(_sdk_logger, "Tried calling %s on an ended span.", name)


_status_codes = (StatusCode.UNSET, StatusCode.OK, StatusCode.ERROR)
_bare_statuses = {code: Status(code) for code in _status_codes}


cdef struct Spare:  # a Context to use again, if any, and the retired span in it, borrowed, if any
    PyObject *context
    PyObject *span


@cython.final
@cython.no_gc_clear  # the containers that a cycle goes through can be cleared; a span is never half empty
cdef class _NativeSpan:
    """A recorded span; ``otlpfast.Span`` is what it says it is."""

    cdef object __weakref__
    cdef PyObject *own  # __dict__, see idle.pxi
    cdef _Origin origin
    cdef object span_name, span_kind, span_status, trace_state
    cdef object own_context, parent_context  # SpanContext, once asked for
    cdef object begun_object, ended_object  # times that are no plain nanoseconds
    cdef object attributes_object, events_object, links_object, end_metrics
    cdef Spare spare  # for the next child
    cdef PyObject *active  # the Context in which it is current, borrowed from the scope that made it so
    cdef Context ids, parent_ids
    cdef Slots slots
    cdef Rows events, links
    cdef int64_t begun_at, ended_at
    cdef bint has_begun, has_ended, has_parent, records_exceptions, sets_status
    cdef bint is_odd, has_odd_context  # something was put here that C can't read

    def __init__(self):
        raise TypeError("Span must be instantiated via a tracer.")

    def __dealloc__(self):
        cdef PyObject *own = self.own
        cdef PyObject *spare = self.spare.context
        self.own = self.spare.context = NULL
        drop(own)
        drop(spare)
        empty_slots(&self.slots)
        empty_rows(&self.events)
        empty_rows(&self.links)

    @property
    def __class__(self):
        return _span_face

    @property
    def __dict__(self):
        return PyObject_GenericGetDict(self, NULL)

    def __dir__(self):
        return sorted({*object.__dir__(self), *vars(_NativeSpan)})

    def __repr__(self):
        return f'Span(name="{self.span_name}", context={self._context})'

    # --- recording

    def set_attribute(self, key, value):
        """Sets an attribute; the value is copied now.

        None, str, bool, int, float and bytes are kept, sequences and mappings become tuples and dicts, NumPy
        arrays tuples of numbers, other objects text (specification: common/README.md, "AnyValue").
        """
        cdef int outcome
        if self.has_ended:
            warn(_sdk_logger, "Setting attribute on ended span.")
            return
        if type_of(<PyObject *> key) != py_str_type or (
            text_length(<PyObject *> key) == 0 or self.origin.max_attributes == 0
        ):
            pass  # the SDK's own code knows what to do with it
        elif self.attributes_object is None and self.slots.count < MANY:
            if not is_simple(<PyObject *> value, self.origin.max_span_length):
                value = clean(value, self.origin.max_span_length)
            if self.attributes_object is None and not self.has_ended:
                outcome = set_slot(
                    &self.slots, <PyObject *> key, <PyObject *> value, self.origin.max_attributes
                )
                if outcome == EVICTED:
                    warn_full()
                elif outcome == NO_ROOM:
                    raise MemoryError
                return
        self.attributes_now()
        self.set_in_object(key, value)

    cdef inline bint add_attribute(self, PyObject *key, PyObject *value) noexcept:
        # The usual case of set_attribute(). False, and nothing, in any other.
        return (
            type_of(key) == py_str_type and text_length(key) != 0 and not self.has_ended
            and self.attributes_object is None and self.slots.count < MANY
            and is_simple(value, self.origin.max_span_length)
            and add_slot(&self.slots, key, value, self.origin.max_attributes)
        )

    cdef object set_in_object(self, key, value):
        try:
            try:
                self.attributes_object[key] = given_value(value)
            except Exception:
                self.attributes_object[key] = frozen_value(value)
        except Exception as error:
            ignored("attribute", "the attribute %r was ignored: %s", key, type(error).__name__)

    def set_attributes(self, attributes):
        """Sets all attributes of a mapping; see ``set_attribute()``."""
        cdef Slots fresh
        if self.has_ended:
            warn(_sdk_logger, "Setting attribute on ended span.")
            return
        if self.attributes_object is not None or self.origin.max_attributes == 0:
            self.set_all_in_object(attributes)
            return
        memset(&fresh, 0, sizeof(Slots))
        try:
            if collect(&fresh, attributes, self.origin.max_span_length):
                self.move_in(&fresh)
            else:
                self.set_all_in_object(attributes)
        finally:
            empty_slots(&fresh)

    cdef object set_all_in_object(self, attributes):
        attributes = given_dict(attributes)
        try:
            try:
                self.attributes_now()._set_items(attributes)
            except Exception:
                self.attributes_now()._set_items(safe_mapping(attributes))
        except Exception as error:
            ignored("attributes", "attributes were ignored: %s", type(error).__name__)

    cdef int move_in(self, Slots *fresh) except -1:
        # Dropping a replaced value may run code that ends the span or has its attributes made objects.
        cdef Py_ssize_t i
        cdef int outcome
        cdef Slot slot
        cdef Slots empty
        if not self.slots.count and self.attributes_object is None and not self.has_ended and (
            self.origin.max_attributes < 0 or fresh.count <= self.origin.max_attributes
        ):
            fresh.dropped += self.slots.dropped
            empty = self.slots
            self.slots = fresh[0]
            fresh[0] = empty
            return 0
        if self.slots.count + fresh.count > MANY:
            self.attributes_now()
        self.slots.dropped += fresh.dropped
        for i in range(fresh.count):
            if self.has_ended:
                return 0
            slot = fresh.at[i]
            if self.attributes_object is not None:
                self.set_in_object(<object> slot.key, boxed(&slot))
                continue
            fresh.at[i].key = NULL  # from here on it is the span's
            fresh.at[i].kind = IN_INT
            outcome = place_slot(&self.slots, slot, self.origin.max_attributes)
            if outcome == EVICTED:
                warn_full()
            elif outcome == NO_ROOM:
                raise MemoryError
        return 0

    def add_event(self, name, attributes=None, timestamp=None):
        """Adds an event, now or at ``timestamp`` (nanoseconds since the epoch)."""
        cdef Row row
        memset(&row, 0, sizeof(Row))
        if attributes is not None and not (is_exact_dict(<PyObject *> attributes) and collect_bounded(
            &row.attributes, attributes, self.origin.max_event_attributes, self.origin.max_length
        )):
            self.add_event_as_object(name, given_dict(attributes), timestamp)
            return
        if timestamp is None:
            row.nanoseconds = now_ns()
        elif type(timestamp) is not int or not otlpfast_nanoseconds(<PyObject *> timestamp, &row.nanoseconds):
            keep(<PyObject *> timestamp)
            row.timestamp = <PyObject *> timestamp
        keep(<PyObject *> name)
        row.subject = <PyObject *> name
        self.add_row(&row, False)

    cdef object add_event_as_object(self, name, attributes, timestamp):
        # Of attributes that slots can't hold: the SDK's way.
        try:
            _SDKSpan.add_event(self, name, attributes, timestamp)
        except Exception:
            _SDKSpan.add_event(self, name, safe_mapping(attributes), timestamp)

    cdef int add_row(self, Row *row, bint is_link) except -1:
        # Takes over what the row holds.
        cdef Rows *rows = &self.links if is_link else &self.events
        cdef Py_ssize_t most = self.origin.max_links if is_link else self.origin.max_events
        cdef object made = self.links_object if is_link else self.events_object
        if made is None and not self.has_ended and most != 0 and place_row(rows, row, most):
            return 0
        try:
            if is_link:
                self._add_link(link_object(row, self.origin))
            else:
                self._add_event(event_object(row, self.origin))
        finally:
            release_row(row)
        return 0

    def _add_event(self, event):
        if self.has_ended:
            warn_ended("_add_event")
        else:
            self.events_now().append(event)

    def add_link(self, context, attributes=None):
        """Adds a link to another span; one with an invalid context, no attributes and no state is ignored."""
        cdef Row row
        if context is None:
            return
        if not isinstance(context, SpanContext):
            ignored("link", "a link to %s was ignored: a SpanContext is allowed", type(context))
            return
        if attributes is not None and not is_exact_dict(<PyObject *> attributes):
            attributes = given_dict(attributes)
        if not (context.is_valid or attributes or context.trace_state):
            return
        memset(&row, 0, sizeof(Row))
        if attributes is not None and not collect_bounded(
            &row.attributes, attributes, self.origin.max_link_attributes, self.origin.max_length
        ):
            self.add_link_as_object(context, given_dict(attributes))
            return
        keep(<PyObject *> context)
        row.subject = <PyObject *> context
        self.add_row(&row, True)

    cdef object add_link_as_object(self, context, attributes):
        try:
            _SDKSpan.add_link(self, context, attributes)
        except Exception:
            _SDKSpan.add_link(self, context, safe_mapping(attributes))

    def _add_link(self, link):
        if self.has_ended:
            warn_ended("_add_link")
        else:
            self.links_now().append(link)

    def update_name(self, name):
        """Replaces the span's name."""
        if self.has_ended:
            warn_ended("update_name")
        else:
            self.span_name = name

    def set_status(self, status, description=None):
        """Sets the status: OK is final, UNSET is ignored (specification: trace/api.md, "Set Status")."""
        if self.has_ended:
            warn_ended("set_status")
            return
        if type(status) is StatusCode:
            if status is _status_codes[0] or self.is_ok():
                return
            if description is None:
                self.span_status = _bare_statuses[status]
            else:
                self.span_status = Status(status, description)
        elif isinstance(status, Status):
            if status.status_code is _status_codes[0] or self.is_ok():
                return
            if description is not None:
                text = "Description %s ignored. Use either `Status` or `(StatusCode, Description)`"
                warn(_sdk_logger, text, description)
            self.span_status = status

    cdef bint is_ok(self) except -1:
        if self.span_status is _unset:
            return False
        return bool(self.span_status) and self.span_status.status_code is _status_codes[1]

    def record_exception(self, exception, attributes=None, timestamp=None, bint escaped=False):
        """Adds the exception as an event with its type, message and stack trace."""
        if _SDKSpan.record_exception is not _stock_record_exception:  # somebody has put his own there
            _SDKSpan.record_exception(self, exception, attributes, timestamp, escaped)
            return
        recorded = exception_attributes(exception, escaped)
        if recorded is None:
            ignored("exception", "record_exception(%s) was ignored: an exception is allowed", type(exception))
            return
        if attributes is not None:
            recorded.update(given_dict(attributes))
        (<object> self).add_event("exception", recorded, timestamp)

    # --- life

    def start(self, start_time=None, parent_context=None):
        """Starts the span; a tracer's ``start_span()`` has done that."""
        if self.has_begun:
            warn(_sdk_logger, "Calling start() on a started span.")
            return
        self.begin(start_time)
        announce(self, parent_context)

    cdef inline int begin(self, start_time) except -1:
        self.has_begun = True
        if start_time is None:
            self.begun_at = now_ns()
        else:
            self._start_time = start_time
        return 0

    cpdef end(self, end_time=None):
        """Ends the span, now or at ``end_time`` (nanoseconds since the epoch); later calls only warn."""
        if not self.has_begun:
            raise RuntimeError("Calling end() on a not started span.")
        if self.has_ended:
            warn(_sdk_logger, "Calling end() on an ended span.")
            return
        self.has_ended = True
        if end_time is None:
            self.ended_at = now_ns()
        else:
            self._end_time = end_time
        if self.attributes_object is not None:
            freeze(self.attributes_object)
        deliver(self)

    def is_recording(self):
        """Whether it has not ended."""
        return not self.has_ended

    def get_span_context(self):
        """The span's SpanContext."""
        return self.context_now()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            note_error(self, error, self.records_exceptions, self.sets_status, True)
        self.end_as_seen()

    cdef inline int end_as_seen(self) except -1:
        # Somebody may have put an end() of their own on this very span.
        if is_changed(self):
            (<object> self).end()
        else:
            self.end()
        return 0

    def _readable_span(self):
        return ReadableSpan(
            name=self.span_name, context=self.context_now(), parent=self._parent,
            resource=self.origin.resource, attributes=self.attributes_now(), events=self.events_now(),
            links=self.links_now(), kind=self.span_kind, instrumentation_info=self.origin.info,
            status=self.span_status, start_time=self._start_time, end_time=self._end_time,
            instrumentation_scope=self.origin.scope,
        )

    def __copy__(self):
        return self.twin(self.attributes_now(), self.events_now(), self.links_now())

    def __deepcopy__(self, memo):
        attributes, events = deepcopy(self.attributes_now(), memo), deepcopy(self.events_now(), memo)
        return self.twin(attributes, events, deepcopy(self.links_now(), memo))

    cdef object twin(self, attributes, events, links):
        cdef _NativeSpan twin = fresh_span()
        twin.origin, twin.span_name, twin.span_kind = self.origin, self.span_name, self.span_kind
        twin.span_status, twin.trace_state, twin.ids = self.span_status, self.trace_state, self.ids
        twin.own_context, twin.parent_context = self.own_context, self.parent_context
        twin.has_parent, twin.parent_ids = self.has_parent, self.parent_ids
        twin.begun_object, twin.ended_object = self.begun_object, self.ended_object
        twin.begun_at, twin.ended_at, twin.end_metrics = self.begun_at, self.ended_at, self.end_metrics
        twin.has_begun, twin.has_ended, twin.is_odd = self.has_begun, self.has_ended, self.is_odd
        twin.has_odd_context = self.has_odd_context
        twin.records_exceptions, twin.sets_status = self.records_exceptions, self.sets_status
        twin.attributes_object, twin.events_object, twin.links_object = attributes, events, links
        if is_changed(self):
            PyObject_GenericGetDict(twin, NULL).update(<object> self.own)
        return twin

    # --- what is kept, as the SDK's objects

    # Making an object can run Python code, which can change the span. So the empty objects are made first;
    # then they are filled and put in place, where nothing can come between.

    cdef object context_now(self):
        if self.own_context is None and not self.has_odd_context:
            made = context_object(&self.ids, self.trace_state)
            if self.own_context is None:
                self.own_context = made
        return self.own_context

    cdef object attributes_now(self):
        cdef dict pairs
        if self.attributes_object is None:
            made = empty_attributes(self.origin.max_attributes, self.origin.max_span_length, self.has_ended)
            pairs = made._dict
            if self.attributes_object is None:
                fill_dict(pairs, &self.slots)
                made.dropped = self.slots.dropped
                self.attributes_object = made
                empty_slots(&self.slots)
        return self.attributes_object

    cdef object events_now(self):
        cdef list shells
        if self.events_object is None:
            made = empty_list(self.origin.limits.max_events)
            append = made._dq.append
            shells = []
            while len(shells) < self.events.count:
                shells.append(empty_event(self.origin))
            if self.events_object is None:
                fill_shells(&self.events, shells, append, False)
                made.dropped = self.events.dropped
                self.events_object = made
                empty_rows(&self.events)
        return self.events_object

    cdef object links_now(self):
        cdef list shells
        if self.links_object is None:
            made = empty_list(self.origin.limits.max_links)
            append = made._dq.append
            shells = []
            while len(shells) < self.links.count:
                shells.append(empty_link(self.origin))
            if self.links_object is None:
                fill_shells(&self.links, shells, append, True)
                made.dropped = self.links.dropped
                self.links_object = made
                empty_rows(&self.links)
        return self.links_object

    def _new_events(self):
        return empty_list(self.origin.limits.max_events)

    def _new_links(self, links):
        return _SDKSpan._new_links(self, links)

    @property
    def attributes(self):
        """A read-only view of the attributes, which follows their changes."""
        return MappingProxyType(self.attributes_now() or {})

    @property
    def events(self):
        """The events, a tuple."""
        return tuple(self.events_now())

    @property
    def links(self):
        """The links, a tuple."""
        return tuple(self.links_now())

    @property
    def dropped_attributes(self):
        """How many attributes were dropped for the limit."""
        return getattr(self.attributes_now(), "dropped", 0)

    @property
    def dropped_events(self):
        """How many events were dropped for the limit."""
        return getattr(self.events_now(), "dropped", 0)

    @property
    def dropped_links(self):
        """How many links were dropped for the limit."""
        return getattr(self.links_now(), "dropped", 0)

    @property
    def name(self):
        """The span's name."""
        return self.span_name

    @property
    def context(self):
        """The span's SpanContext."""
        return self.context_now()

    @property
    def kind(self):
        """The span's SpanKind."""
        return self.span_kind

    @property
    def parent(self):
        """The parent's SpanContext, or None."""
        return self._parent

    @property
    def start_time(self):
        """Nanoseconds since the epoch."""
        return self._start_time

    @property
    def end_time(self):
        """Nanoseconds since the epoch; None while it has not ended."""
        return self._end_time

    @property
    def status(self):
        """The span's Status."""
        return self.span_status

    @property
    def resource(self):
        """The Resource of the provider."""
        return self.origin.resource

    @property
    def instrumentation_scope(self):
        """The InstrumentationScope of the tracer."""
        return self.origin.scope

    @property
    def instrumentation_info(self):
        """Deprecated: the InstrumentationInfo of the tracer."""
        return ReadableSpan.instrumentation_info.__get__(self, type(self))

    to_json = ReadableSpan.to_json
    _format_context = staticmethod(ReadableSpan._format_context)
    _format_attributes = staticmethod(ReadableSpan._format_attributes)
    _format_events = staticmethod(ReadableSpan._format_events)
    _format_links = staticmethod(ReadableSpan._format_links)
    _trace_config = None

    # --- the fields that others reach for

    @property
    def _name(self):
        return self.span_name

    @_name.setter
    def _name(self, value):
        self.span_name = value

    @property
    def _kind(self):
        return self.span_kind

    @_kind.setter
    def _kind(self, value):
        self.span_kind = value

    @property
    def _status(self):
        return self.span_status

    @_status.setter
    def _status(self, value):
        self.span_status = value

    @property
    def _context(self):
        return self.context_now()

    @_context.setter
    def _context(self, value):
        cdef Context ids
        self.own_context = value
        if read_context(<PyObject *> value, &ids) == OK:
            self.ids = ids
            self.trace_state = <object> ids.trace_state
            self.has_odd_context = False
        else:
            self.is_odd = self.has_odd_context = True

    @property
    def _parent(self):
        if self.parent_context is None and self.has_parent:
            made = context_object(&self.parent_ids, self.trace_state)
            if self.parent_context is None:
                self.parent_context = made
        return self.parent_context

    @_parent.setter
    def _parent(self, value):
        cdef Context ids
        self.has_parent = False
        self.parent_context = value
        if value is None:
            return
        if read_context(<PyObject *> value, &ids) == OK:
            self.parent_ids = ids
            self.has_parent = True
        else:
            self.is_odd = True

    @property
    def _start_time(self):
        if not self.has_begun:
            return None
        return self.begun_at if self.begun_object is None else self.begun_object

    @_start_time.setter
    def _start_time(self, value):
        self.has_begun = value is not None
        self.begun_object = None
        if value is not None and not (
            type(value) is int and otlpfast_nanoseconds(<PyObject *> value, &self.begun_at)
        ):
            self.begun_object = value
            self.is_odd = True

    @property
    def _end_time(self):
        if not self.has_ended:
            return None
        return self.ended_at if self.ended_object is None else self.ended_object

    @_end_time.setter
    def _end_time(self, value):
        self.has_ended = value is not None
        self.ended_object = None
        if value is not None and not (
            type(value) is int and otlpfast_nanoseconds(<PyObject *> value, &self.ended_at)
        ):
            self.ended_object = value
            self.is_odd = True

    @property
    def _attributes(self):
        return self.attributes_now()

    @_attributes.setter
    def _attributes(self, value):
        self.attributes_object = {} if value is None else value
        empty_slots(&self.slots)

    @property
    def _events(self):
        return self.events_now()

    @_events.setter
    def _events(self, value):
        self.events_object = () if value is None else value
        empty_rows(&self.events)

    @property
    def _links(self):
        return self.links_now()

    @_links.setter
    def _links(self, value):
        self.links_object = () if value is None else value
        empty_rows(&self.links)

    @property
    def _lock(self):
        return PyObject_GenericGetDict(self, NULL).setdefault("_lock", Lock())

    @_lock.setter
    def _lock(self, value):
        PyObject_GenericGetDict(self, NULL)["_lock"] = value

    @property
    def _resource(self):
        return self.origin.resource

    @_resource.setter
    def _resource(self, value):
        self.origin = self.origin.copy()
        self.origin.resource = value

    @property
    def _instrumentation_scope(self):
        return self.origin.scope

    @_instrumentation_scope.setter
    def _instrumentation_scope(self, value):
        self.origin = self.origin.copy()
        self.origin.scope = value

    @property
    def _instrumentation_info(self):
        return self.origin.info

    @_instrumentation_info.setter
    def _instrumentation_info(self, value):
        self.origin = self.origin.copy()
        self.origin.info = value

    @property
    def _sampler(self):
        return self.origin.sampler

    @_sampler.setter
    def _sampler(self, value):
        self.origin = self.origin.copy()
        self.origin.sampler = value

    @property
    def _limits(self):
        return self.origin.limits

    @_limits.setter
    def _limits(self, value):
        self.attributes_now()
        self.events_now()
        self.links_now()
        self.origin = self.origin.copy()
        self.origin.set_limits(value)

    @property
    def _span_processor(self):
        return self.origin.processors

    @_span_processor.setter
    def _span_processor(self, value):
        self.origin = self.origin.copy()
        self.origin.set_processors(value)

    @property
    def _record_exception(self):
        return self.records_exceptions

    @_record_exception.setter
    def _record_exception(self, value):
        self.records_exceptions = value

    @property
    def _set_status_on_exception(self):
        return self.sets_status

    @_set_status_on_exception.setter
    def _set_status_on_exception(self, value):
        self.sets_status = value

    @property
    def _record_end_metrics(self):
        return self.end_metrics

    @_record_end_metrics.setter
    def _record_end_metrics(self, value):
        self.end_metrics = value
