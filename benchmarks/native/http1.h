/*
 * The little HTTP/1.1 that both programs read: a header's value, and the body of a response.
 */
#ifndef HTTP1_H
#define HTTP1_H

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The value of a header in a NUL-terminated head, up to its line's end; NULL when the header is absent. */
static inline const char *header_value(const char *head, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, name, n) && line[n] == ':')
            return line + n + 1 + strspn(line + n + 1, " \t");
    }
    return NULL;
}

static inline int header_says(const char *head, const char *name, const char *word)
{
    const char *value = header_value(head, name);
    size_t n = strlen(word);
    for (const char *p = value; p && *p && *p != '\r'; p++)
        if (!strncasecmp(p, word, n))
            return 1;
    return 0;
}

enum body_kind { BODY_SIZED, BODY_CHUNKED, BODY_UNTIL_CLOSE };

/* RFC 9112, section 7.1. */
enum chunk_part { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER };

struct body {
    enum body_kind kind;
    enum chunk_part part;
    size_t left;        /* bytes of the body, or of this chunk, still to come */
    size_t line_length; /* of the trailer line being read */
};

enum progress { GO_ON, COMPLETE, MALFORMED };

/* What to do with each piece of content. */
typedef void take_fn(void *owner, const char *p, size_t n);

static inline struct body body_begin(const char *head)
{
    struct body b = {.kind = BODY_UNTIL_CLOSE};
    const char *length = header_value(head, "content-length");
    if (header_says(head, "transfer-encoding", "chunked"))
        b.kind = BODY_CHUNKED;
    else if (length) {
        b.kind = BODY_SIZED;
        b.left = strtoul(length, NULL, 10);
    }
    return b;
}

static inline int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static inline enum progress body_feed(struct body *b, const char *p, size_t n, take_fn *take, void *owner)
{
    const char *end = p + n;
    if (b->kind == BODY_UNTIL_CLOSE) {
        take(owner, p, n);
        return GO_ON;
    }
    if (b->kind == BODY_SIZED) {
        n = n < b->left ? n : b->left;
        take(owner, p, n);
        b->left -= n;
        return b->left ? GO_ON : COMPLETE;
    }
    while (p < end) {
        if (b->part == CHUNK_DATA) {
            size_t k = (size_t)(end - p) < b->left ? (size_t)(end - p) : b->left;
            take(owner, p, k);
            p += k;
            b->left -= k;
            if (!b->left)
                b->part = CHUNK_DATA_END;
            continue;
        }
        char c = *p++;
        switch (b->part) {
        case CHUNK_SIZE:
            if (hex_digit(c) >= 0)
                b->left = b->left * 16 + hex_digit(c);
            else if (c == ';')
                b->part = CHUNK_EXTENSION;
            else if (c != '\r' && c != '\n')
                return MALFORMED;
            /* fall through */
        case CHUNK_EXTENSION:
            if (c == '\n') {
                b->part = b->left ? CHUNK_DATA : CHUNK_TRAILER;
                b->line_length = 0;
            }
            break;
        case CHUNK_DATA_END:
            if (c == '\n')
                b->part = CHUNK_SIZE;
            else if (c != '\r')
                return MALFORMED;
            break;
        case CHUNK_TRAILER:
            if (c == '\n' && !b->line_length)
                return COMPLETE;
            b->line_length = c == '\n' ? 0 : b->line_length + (c != '\r');
            break;
        case CHUNK_DATA:
            break;
        }
    }
    return GO_ON;
}

#endif
