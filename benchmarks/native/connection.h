/*
 * One connection of load: it asks for streams one after the other, over HTTP or penstock.v1, and checks what comes.
 */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "http1.h"
#include "marker.h"
#include "options.h"
#include "websocket.h"

#define HEAD_MAX 16384
#define REQUEST_MAX 65536
#define TAIL_MAX 256

enum phase { UNOPENED, CONNECTING, IN_HEAD, IN_BODY, ON_SOCKET, OVER };

struct conn {
    int fd;
    enum phase phase;
    int64_t start; /* when to connect */
    long left;     /* streams still to be had on this connection */
    int64_t asked; /* when the running stream was asked for */
    int first_seen;
    struct check check;
    char *head;
    size_t head_have;
    int closing; /* the server said Connection: close */
    union {
        struct body body;
        struct ws ws;
    };
    const char *ws_outcome; /* "finished", or why the stream or the socket failed; NULL while it runs */
    char tail[TAIL_MAX];    /* the last bytes of the body; for a WebSocket the first of the message */
    size_t tail_have;
};

static int poller;
static int64_t began;
static long next_stream = 1, over;
static struct totals sum;
static struct {
    long started, finished, connect, status, cut, no_end, reads, bytes;
} streams;
static struct samples ages, firsts;
static char first_failure[512];

/* load.c's: a stream has ended, well or not. */
static void stream_ended(void);

/* Keeps the first failure of the run, with a few bytes of what the server said. */
static void failure(long *counter, const char *what, const char *said, size_t n)
{
    ++*counter;
    if (*first_failure)
        return;
    int k = snprintf(first_failure, 100, "%s: ", what);
    for (size_t i = 0; i < n && k < (int)sizeof first_failure - 1; i++)
        first_failure[k++] = said[i] < ' ' || said[i] > '~' || strchr("\"\\", said[i]) ? ' ' : said[i];
    first_failure[k] = 0;
}

static void conn_open(struct conn *c);
static void ask_stream(struct conn *c);

static void send_frame(struct conn *c, enum ws_opcode opcode, const char *p, size_t n)
{
    static char frame[WS_HEADER_MAX + REQUEST_MAX];
    size_t size = ws_write(frame, opcode, p, n);
    if (send(c->fd, frame, size, MSG_NOSIGNAL) != (ssize_t)size && !c->ws_outcome)
        c->ws_outcome = "write failed";
}

static void conn_over(struct conn *c)
{
    if (c->phase == ON_SOCKET)
        send_frame(c, WS_CLOSE, "\x03\xe8", 2); /* 1000: normal, so that the server has nothing to complain of */
    close(c->fd);
    free(c->head);
    free(c->check.seen);
    c->head = NULL;
    c->check.seen = NULL;
    c->phase = OVER;
    over++;
}

/* The stream has ended, well or not; `usable`: the connection can carry another. */
static void next_stream_on(struct conn *c, int usable)
{
    stream_ended();
    if (--c->left <= 0 || (ask.until_ms && now_us() - began > ask.until_ms * 1000)) {
        conn_over(c);
        return;
    }
    if (usable && !c->closing) {
        ask_stream(c);
        return;
    }
    close(c->fd);
    conn_open(c);
}

static void stream_complete(struct conn *c)
{
    check_end(&c->check, &sum);
    if (c->check.distinct < c->check.tokens)
        failure(&streams.no_end, "ended early", c->tail, c->tail_have);
    else if (*ask.end && !c->ws_outcome && !memmem(c->tail, c->tail_have, ask.end, strlen(ask.end)))
        failure(&streams.no_end, "no end mark", c->tail, c->tail_have);
    else
        streams.finished++;
    next_stream_on(c, 1);
}

static void conn_lost(struct conn *c)
{
    if (c->phase == CONNECTING)
        failure(&streams.connect, "no connection", "", 0);
    else
        failure(&streams.cut, c->phase == IN_HEAD ? "cut before the body" : "cut", c->phase == IN_HEAD ? c->head : c->tail,
                c->phase == IN_HEAD ? c->head_have : c->tail_have);
    next_stream_on(c, 0);
}

/* Text the server sent, whatever it was wrapped in. */
static int64_t arrived;

static void scan_text(struct conn *c, const char *p, size_t n)
{
    const char *end = p + n;
    while (marker_next(&c->check.scan, &p, end)) {
        int64_t *v = c->check.scan.value;
        if (!check_token(&c->check, &sum, v[0], v[1]))
            continue;
        if (!c->first_seen) {
            c->first_seen = 1;
            sample(&firsts, arrived - c->asked);
        }
        if (arrived - began >= ask.settle_ms * 1000)
            sample(&ages, arrived - v[2]);
    }
}

static void body_text(void *owner, const char *p, size_t n)
{
    struct conn *c = owner;
    scan_text(c, p, n);
    size_t keep = n >= TAIL_MAX ? 0 : c->tail_have + n > TAIL_MAX ? TAIL_MAX - n : c->tail_have;
    memmove(c->tail, c->tail + c->tail_have - keep, keep);
    size_t add = n > TAIL_MAX ? TAIL_MAX : n;
    memcpy(c->tail + keep, p + n - add, add);
    c->tail_have = keep + add;
}

/* ---- penstock.v1 ---- */

static void message_text(void *owner, const char *p, size_t n)
{
    struct conn *c = owner;
    scan_text(c, p, n);
    size_t add = n < TAIL_MAX - c->tail_have ? n : TAIL_MAX - c->tail_have;
    memcpy(c->tail + c->tail_have, p, add);
    c->tail_have += add;
}

static void message_end(void *owner)
{
    static const char *last[] = {"finished", "failed", "cancelled", "error", "goaway"};
    struct conn *c = owner;
    char type[32];
    for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
        int n = snprintf(type, sizeof type, "\"type\":\"%s\"", last[i]);
        /* `type` is a message's first field, so that a text that speaks of types does not end the stream */
        if (!c->ws_outcome && c->tail_have > (size_t)n && !memcmp(c->tail + 1, type, n))
            c->ws_outcome = last[i];
    }
    if (!c->ws_outcome)
        c->tail_have = 0;
}

static void control(void *owner, enum ws_opcode opcode, const char *p, size_t n)
{
    struct conn *c = owner;
    if (opcode == WS_PING)
        send_frame(c, WS_PONG, p, n);
    else if (opcode == WS_CLOSE && !c->ws_outcome) {
        c->ws_outcome = "closed by the server";
        c->tail_have = 0;
        if (n > 2)
            message_text(c, p + 2, n - 2);
    }
}

static const struct ws_events on_frame = {message_text, message_end, control};

static void on_socket_data(struct conn *c, const char *p, size_t n)
{
    if (ws_feed(&c->ws, p, n, &on_frame, c) == MALFORMED)
        c->ws_outcome = "malformed frame";
    if (!c->ws_outcome)
        return;
    if (!strcmp(c->ws_outcome, "finished")) {
        stream_complete(c);
        return;
    }
    failure(&streams.cut, c->ws_outcome, c->tail, c->tail_have);
    next_stream_on(c, 0);
}

/* ---- requests and responses ---- */

/* Fills the template in; a template without {order} and {ref} is sent as it is. */
static size_t fill(char *out, size_t size, const char *template, const struct order *order)
{
    size_t n = 0;
    for (const char *p = template; *p && n + 1 < size;) {
        if (!strncmp(p, "{order}", 7)) {
            n += order_write(out + n, size - n, order);
            p += 7;
        } else if (!strncmp(p, "{ref}", 5)) {
            n += snprintf(out + n, size - n, "%ld", order->stream);
            p += 5;
        } else
            out[n++] = *p++;
    }
    if (n + 1 >= size) {
        fprintf(stderr, "load: the body is longer than %zu bytes\n", size);
        exit(2);
    }
    out[n] = 0;
    return n;
}

static void send_request(struct conn *c, const char *p, size_t n)
{
    if (send(c->fd, p, n, MSG_NOSIGNAL) != (ssize_t)n)
        conn_lost(c);
}

static void shake_hands(struct conn *c)
{
    char request[8192];
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %08lx%08lx%06lx==\r\n"
                     "Sec-WebSocket-Protocol: penstock.v1\r\n%s\r\n",
                     ask.path, ask.host, random(), random(), random() & 0xffffff, ask.headers);
    c->phase = IN_HEAD;
    c->head_have = 0;
    send_request(c, request, n);
}

static void ask_stream(struct conn *c)
{
    static char body[REQUEST_MAX], request[REQUEST_MAX + 8192];
    struct order order = ask.order;
    if (!order.stream)
        order.stream = next_stream++;
    size_t size = fill(body, sizeof body, ask.body, &order);
    check_begin(&c->check, order.stream, order.tokens);
    streams.started++;
    c->first_seen = 0;
    c->tail_have = 0;
    c->ws_outcome = NULL;
    c->asked = now_us();
    if (ask.websocket) {
        c->phase = ON_SOCKET;
        send_frame(c, WS_TEXT, body, size);
        if (c->ws_outcome)
            conn_lost(c);
        return;
    }
    c->phase = IN_HEAD;
    c->head_have = 0;
    int n;
    if (size)
        n = snprintf(request, sizeof request,
                     "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s",
                     ask.path, ask.host, ask.headers, size, body);
    else
        n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", ask.path, ask.host, ask.headers);
    send_request(c, request, n);
}

static void conn_open(struct conn *c)
{
    int on = 1;
    c->closing = 0;
    c->phase = CONNECTING;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        perror("load: socket");
        exit(2);
    }
    if (!c->head)
        c->head = malloc(HEAD_MAX + 1);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* A refusal that comes at once is seen by epoll like one that comes later. */
    connect(c->fd, (void *)&ask.address, sizeof ask.address);
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
}

static void on_connected(struct conn *c)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        conn_lost(c);
        return;
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
    if (ask.websocket)
        shake_hands(c);
    else
        ask_stream(c);
}

/* Takes what belongs to the head; the number of bytes taken. The phase has changed when the head was complete. */
static size_t take_head(struct conn *c, const char *p, size_t n)
{
    size_t before = c->head_have, add = n < HEAD_MAX - before ? n : HEAD_MAX - before;
    memcpy(c->head + before, p, add);
    c->head_have += add;
    c->head[c->head_have] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end)
        return add;
    c->head_have = end + 4 - c->head;
    c->head[c->head_have] = 0;
    c->closing = header_says(c->head, "connection", "close");
    if (ask.websocket)
        c->ws = (struct ws){0};
    else
        c->body = body_begin(c->head);
    c->phase = IN_BODY;
    return c->head_have - before;
}

static void on_readable(struct conn *c)
{
    static char in[256 * 1024];
    ssize_t got = recv(c->fd, in, sizeof in, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    arrived = now_us();
    if (got <= 0) {
        if (got == 0 && c->phase == IN_BODY && c->body.kind == BODY_UNTIL_CLOSE) {
            c->closing = 1;
            stream_complete(c);
        } else
            conn_lost(c);
        return;
    }
    streams.reads++;
    streams.bytes += got;
    const char *p = in;
    size_t n = got;
    if (c->phase == IN_HEAD) {
        size_t taken = take_head(c, p, n);
        if (c->phase == IN_HEAD) {
            if (c->head_have == HEAD_MAX)
                conn_lost(c);
            return;
        }
        p += taken;
        n -= taken;
        if (atoi(c->head + strcspn(c->head, " ")) != (ask.websocket ? 101 : 200)) {
            memcpy(c->head + c->head_have, p, n < HEAD_MAX - c->head_have ? n : HEAD_MAX - c->head_have);
            failure(&streams.status, "refused", c->head, c->head_have + (n < 200 ? n : 200));
            next_stream_on(c, 0);
            return;
        }
        if (ask.websocket)
            ask_stream(c);
    }
    if (c->phase == ON_SOCKET) {
        if (n)
            on_socket_data(c, p, n);
        return;
    }
    if (c->phase != IN_BODY || (!n && !(c->body.kind == BODY_SIZED && !c->body.left)))
        return;
    enum progress progress = body_feed(&c->body, p, n, body_text, c);
    if (progress == COMPLETE)
        stream_complete(c);
    else if (progress == MALFORMED) {
        failure(&streams.cut, "malformed chunk", c->tail, c->tail_have);
        next_stream_on(c, 0);
    }
}

#endif
