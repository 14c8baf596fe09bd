/*
 * The client's side of RFC 6455, as far as `penstock.v1` needs it: masked frames out, unmasked frames in.
 */
#ifndef WEBSOCKET_H
#define WEBSOCKET_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http1.h"

enum ws_opcode { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

#define WS_HEADER_MAX 14

/* Writes one whole masked frame (section 5.3: every client frame, with a fresh key); returns its size. `out` has
 * room for WS_HEADER_MAX + n. */
static inline size_t ws_write(char *out, enum ws_opcode opcode, const char *p, size_t n)
{
    unsigned char *o = (unsigned char *)out, key[4];
    size_t k = 0;
    uint32_t r = (uint32_t)random();
    memcpy(key, &r, 4);
    o[k++] = 0x80 | opcode;
    if (n < 126)
        o[k++] = 0x80 | n;
    else if (n < 65536) {
        o[k++] = 0x80 | 126;
        o[k++] = n >> 8;
        o[k++] = n;
    } else {
        o[k++] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            o[k++] = (uint64_t)n >> shift;
    }
    memcpy(o + k, key, 4);
    k += 4;
    for (size_t i = 0; i < n; i++)
        o[k + i] = (unsigned char)p[i] ^ key[i & 3];
    return k + n;
}

/* The frames of one socket, cut anywhere. Zeroed is the initial state. */
struct ws {
    unsigned char header[WS_HEADER_MAX];
    size_t header_have;
    uint64_t left; /* payload bytes of this frame still to come, once `in_payload` */
    int in_payload;
    char control[126]; /* payload of a control frame: 125 bytes at most (section 5.5) */
    size_t control_have;
};

struct ws_events {
    take_fn *text;                                                          /* a piece of a data frame */
    void (*message_end)(void *owner);                                       /* the last frame of a message is complete */
    void (*control)(void *owner, enum ws_opcode op, const char *p, size_t n); /* a whole control frame */
};

/* 0 while more header bytes are needed, -1 for a frame no server may send, else the header's size. */
static inline int ws_header_size(const struct ws *w)
{
    if (w->header_have < 2)
        return 0;
    if (w->header[0] & 0x70 || w->header[1] & 0x80)
        return -1; /* no extension was agreed; servers do not mask */
    int length = w->header[1] & 0x7f;
    int size = length == 127 ? 10 : length == 126 ? 4 : 2;
    if (w->header[0] & 0x08 && length > 125)
        return -1;
    return w->header_have < (size_t)size ? 0 : size;
}

static inline enum progress ws_feed(struct ws *w, const char *p, size_t n, const struct ws_events *on, void *owner)
{
    const char *end = p + n;
    while (p < end || (w->in_payload && !w->left)) {
        if (!w->in_payload) {
            w->header[w->header_have++] = *p++;
            int size = ws_header_size(w);
            if (size < 0)
                return MALFORMED;
            if (!size)
                continue;
            w->left = 0;
            for (int i = size == 2 ? 1 : 2; i < size; i++)
                w->left = w->left << 8 | (size == 2 ? w->header[i] & 0x7f : w->header[i]);
            w->in_payload = 1;
            w->control_have = 0;
            continue;
        }
        size_t k = (size_t)(end - p) < w->left ? (size_t)(end - p) : w->left;
        int is_control = w->header[0] & 0x08;
        if (is_control) {
            memcpy(w->control + w->control_have, p, k);
            w->control_have += k;
        } else if (k)
            on->text(owner, p, k);
        p += k;
        w->left -= k;
        if (w->left)
            continue;
        w->in_payload = 0;
        w->header_have = 0;
        if (is_control)
            on->control(owner, w->header[0] & 0x0f, w->control, w->control_have);
        else if (w->header[0] & 0x80)
            on->message_end(owner);
    }
    return GO_ON;
}

#endif
