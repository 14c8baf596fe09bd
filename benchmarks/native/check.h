/*
 * The check on one stream's tokens, and the samples of which percentiles are printed.
 *
 * Of every stream each token number 0 … tokens-1 has to arrive exactly once and in order, on the connection that asked
 * for it. What is not so is counted by kind, so that a failing run says what the server did.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "marker.h"

struct samples {
    uint32_t *us;
    size_t count, room;
};

static inline void sample(struct samples *s, int64_t us)
{
    if (s->count == s->room) {
        s->room = s->room ? s->room * 2 : 65536;
        s->us = realloc(s->us, s->room * sizeof *s->us);
        if (!s->us)
            abort();
    }
    s->us[s->count++] = us < 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : us;
}

static inline int compare_us(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Prints `"name":{...}` (nulls without samples) and leaves the samples sorted. */
static inline void samples_print(const char *name, struct samples *s)
{
    static const struct {
        const char *name;
        double share;
    } ranks[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1.0}};
    if (s->count)
        qsort(s->us, s->count, sizeof *s->us, compare_us);
    printf("\"%s\":{\"count\":%zu", name, s->count);
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++)
        if (s->count)
            printf(",\"%s\":%u", ranks[i].name, s->us[(size_t)(ranks[i].share * (s->count - 1) + 0.5)]);
        else
            printf(",\"%s\":null", ranks[i].name);
    printf("}");
}

struct totals {
    long tokens, lost, repeated, reordered, crossed;
};

struct check {
    long stream, tokens;  /* what is expected */
    long next, distinct;  /* the number due now; how many different ones came */
    unsigned char *seen;  /* one bit per number */
    struct marker_scan scan;
};

static inline void check_begin(struct check *k, long stream, long tokens)
{
    size_t bytes = (size_t)tokens / 8 + 1;
    unsigned char *seen = k->seen ? k->seen : malloc(bytes);
    memset(seen, 0, bytes);
    *k = (struct check){.stream = stream, .tokens = tokens, .seen = seen};
}

/* 1 when the token is one of this stream's and new. */
static inline int check_token(struct check *k, struct totals *sum, long stream, long number)
{
    sum->tokens++;
    if (stream != k->stream || number < 0 || number >= k->tokens) {
        sum->crossed++;
        return 0;
    }
    unsigned char bit = 1 << (number & 7), *byte = &k->seen[number >> 3];
    if (*byte & bit) {
        sum->repeated++;
        return 0;
    }
    *byte |= bit;
    k->distinct++;
    if (number < k->next)
        sum->reordered++;
    else
        k->next = number + 1;
    return 1;
}

static inline void check_end(struct check *k, struct totals *sum)
{
    sum->lost += k->tokens - k->distinct;
}

#endif
