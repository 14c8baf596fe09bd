/*
 * What has to be done next: a binary heap of things with a time, earliest first.
 *
 * The thing embeds a `struct due` as its first member, so that a pointer to one is a pointer to the other.
 */
#ifndef DUE_H
#define DUE_H

#include <stdint.h>
#include <stdlib.h>

struct due {
    int64_t at;  /* microseconds */
    size_t slot; /* its place in the heap, from 1; 0: not in it */
};

static struct due **heap;
static size_t heap_size, heap_room;

static inline void heap_put(size_t slot, struct due *d)
{
    heap[slot] = d;
    d->slot = slot;
}

/* Moves the thing at `slot` up or down to its place. */
static inline void heap_settle(size_t slot)
{
    struct due *d = heap[slot];
    for (; slot > 1 && heap[slot / 2]->at > d->at; slot /= 2)
        heap_put(slot, heap[slot / 2]);
    for (size_t child; (child = 2 * slot) <= heap_size; slot = child) {
        if (child < heap_size && heap[child + 1]->at < heap[child]->at)
            child++;
        if (heap[child]->at >= d->at)
            break;
        heap_put(slot, heap[child]);
    }
    heap_put(slot, d);
}

static inline struct due *heap_first(void)
{
    return heap_size ? heap[1] : NULL;
}

static inline void heap_add(struct due *d)
{
    if (heap_size + 2 > heap_room) {
        heap_room = heap_room ? heap_room * 2 : 1024;
        heap = realloc(heap, heap_room * sizeof *heap);
        if (!heap)
            abort();
    }
    heap_put(++heap_size, d);
    heap_settle(heap_size);
}

static inline void heap_remove(struct due *d)
{
    size_t slot = d->slot;
    struct due *last = heap[heap_size--];
    d->slot = 0;
    if (last == d)
        return;
    heap_put(slot, last);
    heap_settle(slot);
}

#endif
