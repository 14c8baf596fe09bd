/*
 * What load and upstream tell each other through the server under test.
 *
 * An order travels in the text of the user's message, a marker in the text of every token. Both are made of
 * characters that no JSON encoder escapes, so a server that forwards text unchanged forwards them unchanged.
 *
 *     order    bench(tokens=350 rate=50 first_ms=0 pad=0 stream=17)
 *     marker   ^17.42.123456789;     stream, token number from 0, CLOCK_MONOTONIC microseconds when it was sent
 */
#ifndef MARKER_H
#define MARKER_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct order {
    long tokens;
    double rate; /* tokens per second; 0: as fast as the reader takes them */
    long first_ms;
    long pad; /* further characters in each token */
    long stream;
};

#define ORDER_FORMAT "bench(tokens=%ld rate=%lf first_ms=%ld pad=%ld stream=%ld"

static inline int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline int order_write(char *out, size_t size, const struct order *o)
{
    return snprintf(out, size, ORDER_FORMAT ")", o->tokens, o->rate, o->first_ms, o->pad, o->stream);
}

/* 1 when `text` holds an order. */
static inline int order_read(const char *text, struct order *o)
{
    const char *p = strstr(text, "bench(");
    return p && sscanf(p, ORDER_FORMAT, &o->tokens, &o->rate, &o->first_ms, &o->pad, &o->stream) == 5;
}

static inline char *write_number(char *out, uint64_t n)
{
    char digits[20], *p = digits + sizeof digits;
    do
        *--p = '0' + n % 10;
    while (n /= 10);
    size_t size = digits + sizeof digits - p;
    memcpy(out, p, size);
    return out + size;
}

/* Returns the marker's size; no end is written. */
static inline size_t marker_write(char *out, long stream, long number, int64_t sent)
{
    char *p = out;
    *p++ = '^';
    p = write_number(p, stream);
    *p++ = '.';
    p = write_number(p, number);
    *p++ = '.';
    p = write_number(p, sent);
    *p++ = ';';
    return p - out;
}

/* Finds markers in text that arrives in pieces cut anywhere. Zeroed is the initial state. */
struct marker_scan {
    int field; /* 0: outside a marker, else which of the three numbers is being read */
    int64_t value[3];
};

/* Reads on from *p; 1 when a marker is complete (its numbers are in `value`, *p is behind it), 0 at `end`. */
static inline int marker_next(struct marker_scan *s, const char **p, const char *end)
{
    while (*p < end) {
        if (!s->field) {
            const char *start = memchr(*p, '^', end - *p);
            if (!start) {
                *p = end;
                return 0;
            }
            *p = start + 1;
            *s = (struct marker_scan){.field = 1};
            continue;
        }
        char c = *(*p)++;
        if (c >= '0' && c <= '9')
            s->value[s->field - 1] = s->value[s->field - 1] * 10 + (c - '0');
        else if (c == '.' && s->field < 3)
            s->field++;
        else {
            int complete = c == ';' && s->field == 3;
            s->field = c == '^'; /* anything else was no marker after all */
            if (c == '^')
                *s = (struct marker_scan){.field = 1};
            if (complete)
                return 1;
        }
    }
    return 0;
}

#endif
