# Stacks, each kept once under a number.

cdef struct Stack:
    uint64_t hash
    uint32_t start  # among the places
    uint32_t depth


cdef inline uint64_t _mixed(uint64_t hash, uint64_t word) noexcept nogil:
    hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL
    return hash ^ (hash >> 32)


@cython.final
cdef class StackTable:
    """Stacks that were seen, each under a number from 1; 0 stands for the stack that had no room.

    Args:
        most: as many different stacks are kept.
    """

    cdef:
        Place *places  # of all stacks, one after the other; a reference to the code of each is kept
        uint32_t places_used, places_room
        Stack *stacks  # number - 1 is the index
        uint32_t stacks_used, most
        uint32_t *slots  # open addressing: numbers of stacks, 0 is free
        uint32_t slot_mask

    def __cinit__(self, uint32_t most=1 << 16):
        cdef uint32_t slots = 64
        if not 0 < most <= 1 << 24:
            raise ValueError(f"most={most}: from 1 to {1 << 24}")
        while slots < 2 * most:
            slots *= 2
        self.most = most
        self.slot_mask = slots - 1
        self.slots = <uint32_t *> calloc(slots, sizeof(uint32_t))
        self.stacks = <Stack *> malloc(most * sizeof(Stack))
        if self.slots == NULL or self.stacks == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.places_used):
            Py_DECREF(<object> self.places[i].code)
        free(self.places)
        free(self.stacks)
        free(self.slots)

    def __len__(self) -> int:
        return self.stacks_used

    cdef uint32_t intern(self, const Place *places, int depth) noexcept:
        # The GIL is held. Makes no Python object: an allocator may call it.
        cdef uint64_t hash = depth
        cdef uint32_t slot, number
        cdef int i
        for i in range(depth):
            hash = _mixed(hash, <uint64_t> <uintptr_t> places[i].code)
            hash = _mixed(hash, <uint32_t> places[i].instruction)
        slot = hash & self.slot_mask
        while self.slots[slot]:
            number = self.slots[slot]
            if self.stacks[number - 1].hash == hash and self.stacks[number - 1].depth == <uint32_t> depth:
                if self._is_same(&self.stacks[number - 1], places):
                    return number
            slot = (slot + 1) & self.slot_mask
        return self._add(slot, hash, places, depth)

    cdef bint _is_same(self, const Stack *stack, const Place *places) noexcept:
        cdef const Place *kept = self.places + stack.start
        cdef uint32_t i
        for i in range(stack.depth):
            if kept[i].code != places[i].code or kept[i].instruction != places[i].instruction:
                return False
        return True

    cdef uint32_t _add(self, uint32_t slot, uint64_t hash, const Place *places, int depth) noexcept:
        cdef Stack *stack
        cdef int i
        if self.stacks_used == self.most or not self._has_room(depth):
            return 0
        for i in range(depth):
            Py_INCREF(<object> places[i].code)
            self.places[self.places_used + i] = places[i]
        stack = &self.stacks[self.stacks_used]
        stack.hash, stack.start, stack.depth = hash, self.places_used, depth
        self.places_used += depth
        self.stacks_used += 1
        self.slots[slot] = self.stacks_used
        return self.stacks_used

    cdef bint _has_room(self, uint32_t more) noexcept:
        cdef uint32_t room = self.places_room or 1024
        cdef void *grown
        while room - self.places_used < more:
            if room >= 1 << 30:
                return False
            room *= 2
        if room != self.places_room:
            grown = realloc(self.places, room * sizeof(Place))
            if grown == NULL:
                return False
            self.places = <Place *> grown
            self.places_room = room
        return True

    def frames(self, uint32_t number) -> tuple:
        """The frames of a stack, the innermost first: (code, line) of each; no frames for 0."""
        cdef Place place
        cdef uint32_t i
        if number == 0:
            return ()
        if number > self.stacks_used:
            raise IndexError(f"no stack has number {number}")
        frames = []
        for i in range(self.stacks[number - 1].depth):
            place = self.places[self.stacks[number - 1].start + i]
            frames.append((<object> place.code, PyCode_Addr2Line(place.code, place.instruction)))
        return tuple(frames)

    def add_current(self) -> int:
        """The number of the caller's own stack."""
        cdef Place places[MOST_FRAMES]
        return self.intern(places, otlpfast_walk(PyThreadState_Get(), places, MOST_FRAMES))
