# Rules of a RuleBasedSampler without their Python code. What a rule wants of a span's name and kind is looked
# up once for each of them; what it wants of attributes is looked at for each span.
#
# Whatever is not of a plain type, in a rule or a span, is left to the sampler's own should_sample().

cdef extern from *:
    """
    /* Whether a glob of * and ? is that of the whole text. Both are exact strings whose storage is known. */
    static int otlpfast_glob(PyObject *glob, PyObject *text) {
        const int glob_kind = PyUnicode_KIND(glob), kind = PyUnicode_KIND(text);
        const void *glob_data = PyUnicode_DATA(glob), *data = PyUnicode_DATA(text);
        const Py_ssize_t glob_length = PyUnicode_GET_LENGTH(glob), length = PyUnicode_GET_LENGTH(text);
        Py_ssize_t at = 0, i = 0, star = -1, from = 0;
        while (i < length) {
            Py_UCS4 wanted = at < glob_length ? PyUnicode_READ(glob_kind, glob_data, at) : 0;
            if (at < glob_length && wanted == '*') {
                star = at++;
                from = i;
                if (at == glob_length) return 1;
            } else if (at < glob_length && (wanted == '?' || wanted == PyUnicode_READ(kind, data, i))) {
                at++;
                i++;
            } else if (star >= 0) {
                at = star + 1;
                i = ++from;
            } else {
                return 0;
            }
        }
        while (at < glob_length && PyUnicode_READ(glob_kind, glob_data, at) == '*') at++;
        return at == glob_length;
    }
    """
    bint is_of_glob "otlpfast_glob"(PyObject *glob, PyObject *text) noexcept

cdef enum:
    LITERAL, GLOB, PATTERN, EQUAL, ODD  # what is wanted

cdef enum:
    NO, YES, UNSURE  # UNSURE: Python has to look

cdef enum:  # what is remembered
    MAX_KNOWN_NAMES = 256  # of each kind
    MAX_KNOWN_NAME = 256  # characters


cdef int kind_index(PyObject *kind) noexcept:
    # Of _kinds; -1 for what is none.
    cdef int i
    if kind == py_none:
        kind = <PyObject *> _internal
    for i in range(5):
        if _kinds[i] == kind:
            return i
    return -1


@cython.final
cdef class _Condition:
    # What a name, or the value of an attribute, has to be like.
    cdef object key, wanted
    cdef int how

    @staticmethod
    cdef _Condition of(object key, object wanted, object match):
        # `match`: the method of a compiled pattern, where a text is wanted.
        cdef _Condition made = _Condition.__new__(_Condition)
        made.key, made.wanted = key, wanted
        if type(wanted) in (bool, int, float):
            made.how = EQUAL
        elif type(wanted) is str and "[" not in wanted and otlpfast_ready(<PyObject *> wanted):
            made.how = GLOB if "*" in wanted or "?" in wanted else LITERAL
        elif match is not None:
            made.how, made.wanted = PATTERN, match
        else:
            made.how = ODD
        return made

    cdef int fits(self, object value) except -1:
        if self.how == EQUAL:
            return type(value) is type(self.wanted) and value == self.wanted
        if self.how == ODD:
            return UNSURE
        if type(value) is not str:
            if type(value) not in (int, bool, float, type(None)):
                return UNSURE
            value = str(value)
        if not otlpfast_ready(<PyObject *> value):
            return UNSURE
        if self.how == LITERAL:
            return otlpfast_same_text(<PyObject *> self.wanted, <PyObject *> value)
        if self.how == GLOB:
            return is_of_glob(<PyObject *> self.wanted, <PyObject *> value)
        return self.wanted(value) is not None


@cython.final
cdef class _Choice:
    # A rule, or what holds where none matches.
    cdef int kind  # of _kinds; -1: any
    cdef _Condition name  # None: any
    cdef list conditions
    cdef Rule rule

    cdef int fits(self, object attributes) except -1:
        cdef PyObject *found
        cdef int fit
        for condition in self.conditions:
            if attributes is None:
                return NO
            found = PyDict_GetItemWithError(attributes, (<_Condition> condition).key)
            if found == NULL:
                return NO
            fit = (<_Condition> condition).fits(<object> found)
            if fit != YES:
                return fit
        return YES


@cython.final
cdef class _RuleTable:
    # The rules of a sampler for spans with one sort of parent.
    cdef list choices, tables
    cdef tuple known  # for each kind, a dict of names and what may be chosen for them
    cdef bint asks  # some rule has a sampler of others

    cdef Rule rule_for(self, PyObject *name, PyObject *kind, PyObject *attributes) except *:
        # ASK: the sampler itself.
        cdef Rule asking = Rule(ASK, 0, NULL)
        cdef int index = kind_index(kind)
        cdef _Choice choice
        cdef int fit
        if type_of(name) != py_str_type or index < 0:
            return asking
        for found in self.choices_for(<object> name, index):
            choice = <_Choice> found
            if choice.conditions is not None:
                if attributes != py_none and not is_exact_dict(attributes):
                    return asking
                fit = choice.fits(<object> attributes)
                if fit == UNSURE:
                    return asking
                if fit == NO:
                    continue
            if choice.rule.kind == BY_RULES:
                return (<_RuleTable> choice.rule.state).rule_for(name, kind, attributes)
            return choice.rule
        return asking

    cdef list choices_for(self, object name, int index):
        cdef dict known = <dict> tuple_item(<PyObject *> self.known, index)
        cdef PyObject *present = PyDict_GetItemWithError(known, name)
        cdef list found
        if present != NULL:
            return <list> present
        found = self.looked_up(name, index)
        if text_length(<PyObject *> name) <= MAX_KNOWN_NAME:
            if dict_length(<PyObject *> known) >= MAX_KNOWN_NAMES:
                known.clear()
            PyDict_SetItem(known, name, found)
        return found

    cdef list looked_up(self, object name, int index):
        # The rules that the span may match by its attributes, and the first that it matches anyhow.
        cdef list found = []
        cdef _Choice choice
        for each in self.choices:
            choice = <_Choice> each
            if choice.kind not in (-1, index) or choice.name is not None and choice.name.fits(name) != YES:
                continue
            found.append(choice)
            if choice.conditions is None:
                break
        return found


cdef Rule chosen(Rule *rule, PyObject *name, PyObject *kind, PyObject *attributes):
    # Of a rule that is BY_RULES, for a span that is about to start.
    cdef _RuleTable table = <_RuleTable> rule.state
    try:
        return table.rule_for(name, kind, attributes)
    except Exception:
        return Rule(ASK, 0, NULL)  # which raises it again, where it is told


cdef _RuleTable rule_table(object plan, int which):
    cdef _RuleTable table = _RuleTable.__new__(_RuleTable)
    cdef _Choice choice
    table.choices, table.tables = [], []
    table.known = tuple([{} for _ in _kind_members])
    for sampler, kind, name, attributes in plan:
        choice = _Choice.__new__(_Choice)
        choice.kind = -1 if kind is None else kind_index(<PyObject *> kind)
        choice.name = None if name is None else _Condition.of(None, name[0], name[1])
        if attributes:
            choice.conditions = [_Condition.of(key, wanted, match) for key, wanted, match in attributes]
        choice.rule = rule_of(sampler, which, table.tables)
        table.asks = table.asks or asks(&choice.rule)
        table.choices.append(choice)
    return table


cdef bint asks(Rule *rule) noexcept:
    # Whether a sampler of others may be asked.
    return rule.kind == ASK or rule.kind == BY_RULES and (<_RuleTable> rule.state).asks
