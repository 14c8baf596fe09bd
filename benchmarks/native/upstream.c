/*
 * upstream: a mock OpenAI-compatible provider, cheap enough not to weigh on what is measured in front of it.
 *
 *     upstream [--port N] [--fault lose|repeat|swap|cross|cut]
 *
 * One thread, epoll, HTTP/1.1 with keep-alive. It says "listening on 127.0.0.1:PORT" once it does (port 0, the
 * default: any free one) and ends with its parent.
 *
 *     POST (any path)   streams chat.completion.chunk events as the order in the request's text says (marker.h):
 *                       head, role chunk, tokens, finish chunk, usage when asked for, [DONE]; one write each, as
 *                       real providers send them
 *     GET /stats        counters as JSON; last_abort_us is when a peer's leaving was last noticed, CLOCK_MONOTONIC
 *
 * With --fault every stream goes wrong at token 7, so that it can be shown that load notices.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "due.h"
#include "http1.h"
#include "marker.h"

#define REQUEST_MAX (64 * 1024)
#define PAD_MAX (64 * 1024)
#define PIECE_MAX (2 * PAD_MAX + 2048) /* the longest write: two padded tokens (a swapped pair) */
#define FAULTY 7

enum phase { IDLE, HEAD, ROLE, TOKENS, FINISH, USAGE, DONE };
enum fault { NONE, LOSE, REPEAT, SWAP, CROSS, CUT };

struct conn {
    struct due due; /* when the next piece is to be written */
    int fd;
    enum phase phase;
    struct order order;
    long number;      /* of the next token */
    int usage, keep_alive;
    char chunk_begin[256]; /* what every event of this stream begins with */
    int chunk_begin_size;
    char *request;
    size_t request_have;
    char *unsent; /* what the socket did not take at once */
    size_t unsent_at, unsent_end;
};

static int poller;
static enum fault fault;
static char piece[PIECE_MAX + 32];
static struct {
    long connections, active, opened, finished, aborted, tokens, blocked;
    int64_t last_abort_us, late_us;
} stats;

/* ---- connections ---- */

static void conn_close(struct conn *c)
{
    if (c->phase != IDLE) {
        stats.active--;
        stats.aborted++;
        stats.last_abort_us = now_us();
    }
    if (c->due.slot)
        heap_remove(&c->due);
    stats.connections--;
    close(c->fd);
    free(c->request);
    free(c->unsent);
    free(c);
}

static void watch(struct conn *c, int op, uint32_t more)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | more, .data.ptr = c};
    epoll_ctl(poller, op, c->fd, &e);
}

enum sent { ALL, PART, GONE };

/* Sends, or keeps what the socket does not take until it is writable. */
static enum sent conn_send(struct conn *c, const char *p, size_t n)
{
    ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);
    if (k == (ssize_t)n)
        return ALL;
    if (k < 0 && errno != EAGAIN)
        return GONE;
    k = k < 0 ? 0 : k;
    if (!c->unsent)
        c->unsent = malloc(sizeof piece);
    memcpy(c->unsent, p + k, n - k);
    c->unsent_at = 0;
    c->unsent_end = n - k;
    stats.blocked++;
    watch(c, EPOLL_CTL_MOD, EPOLLOUT);
    return PART;
}

/* ---- what a stream says ---- */

/* The piece being built: content from `piece + CONTENT` on, so that the chunk's size fits in front. */
#define CONTENT 16
static size_t content_size;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    content_size += vsprintf(piece + CONTENT + content_size, format, args);
    va_end(args);
}

static void say_bytes(const char *p, size_t n)
{
    memcpy(piece + CONTENT + content_size, p, n);
    content_size += n;
}

static void chunk_begin(const struct conn *c)
{
    say_bytes(c->chunk_begin, c->chunk_begin_size);
}

static void say_choice(const struct conn *c, const char *delta, const char *finish)
{
    chunk_begin(c);
    say("{\"index\":0,\"delta\":%s,\"logprobs\":null,\"finish_reason\":%s}]%s}\n\n", delta, finish,
        c->usage ? ",\"usage\":null" : "");
}

/* The only text that is made once per token, so without printf: upstream shares its CPU with load. */
static void say_token(const struct conn *c, long stream, long number)
{
    static const char before[] = "{\"index\":0,\"delta\":{\"content\":\" ";
    static const char after[] = "\"},\"logprobs\":null,\"finish_reason\":null}]";
    static const char no_usage[] = ",\"usage\":null";
    chunk_begin(c);
    say_bytes(before, sizeof before - 1);
    content_size += marker_write(piece + CONTENT + content_size, stream, number, now_us());
    memset(piece + CONTENT + content_size, 'x', c->order.pad);
    content_size += c->order.pad;
    say_bytes(after, sizeof after - 1);
    if (c->usage)
        say_bytes(no_usage, sizeof no_usage - 1);
    say_bytes("}\n\n", 3);
    stats.tokens++;
}

static void say_tokens(struct conn *c)
{
    long stream = c->order.stream, n = c->number++;
    if (fault == NONE || n != FAULTY) {
        say_token(c, stream, n);
        return;
    }
    if (fault == CROSS)
        say_token(c, stream + 1, n);
    if (fault == SWAP)
        say_token(c, stream, c->number++);
    if (fault == SWAP || fault == REPEAT)
        say_token(c, stream, n);
    if (fault == REPEAT)
        say_token(c, stream, n);
}

/* Writes the next piece and moves on. */
static enum sent advance(struct conn *c)
{
    content_size = 0;
    switch (c->phase) {
    case HEAD:
        say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
            "Transfer-Encoding: chunked\r\n%s\r\n",
            c->keep_alive ? "" : "Connection: close\r\n");
        c->phase = ROLE;
        c->due.at += c->order.first_ms * 1000;
        return conn_send(c, piece + CONTENT, content_size);
    case ROLE:
        say_choice(c, "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}", "null");
        c->phase = c->order.tokens ? TOKENS : FINISH;
        break;
    case TOKENS:
        if (fault == CUT && c->number == FAULTY)
            return GONE;
        say_tokens(c);
        if (c->number >= c->order.tokens)
            c->phase = FINISH;
        else
            c->due.at = c->order.rate ? c->due.at + (int64_t)(1e6 / c->order.rate) : now_us();
        if (!content_size)
            return ALL;
        break;
    case FINISH:
        say_choice(c, "{}", "\"stop\"");
        c->phase = c->usage ? USAGE : DONE;
        break;
    case USAGE:
        chunk_begin(c);
        say("],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":%ld,\"total_tokens\":%ld}}\n\n", c->order.tokens,
            c->order.tokens + 8);
        c->phase = DONE;
        break;
    case DONE:
        say("data: [DONE]\n\n");
        c->phase = IDLE;
        break;
    case IDLE:
        return ALL;
    }
    char size[CONTENT];
    int n = sprintf(size, "%zx\r\n", content_size);
    char *start = piece + CONTENT - n;
    memcpy(start, size, n);
    say("\r\n%s", c->phase == IDLE ? "0\r\n\r\n" : "");
    if (c->phase == IDLE) {
        stats.active--;
        stats.finished++;
    }
    return conn_send(c, start, n + content_size);
}

/* ---- requests ---- */

static int json_says_true(const char *body, const char *quoted_key)
{
    const char *p = strstr(body, quoted_key);
    if (!p)
        return 0;
    p += strlen(quoted_key);
    p += strspn(p, " :");
    return !strncmp(p, "true", 4);
}

static enum sent answer(struct conn *c, const char *status, const char *json)
{
    char out[1024];
    int n = snprintf(out, sizeof out, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n%s",
                     status, strlen(json), c->keep_alive ? "" : "Connection: close\r\n", json);
    return conn_send(c, out, n);
}

static enum sent answer_stats(struct conn *c)
{
    char json[512];
    snprintf(json, sizeof json,
             "{\"connections\":%ld,\"active\":%ld,\"opened\":%ld,\"finished\":%ld,\"aborted\":%ld,\"last_abort_us\":%lld,"
             "\"tokens\":%ld,\"blocked\":%ld,\"late_us\":%lld}",
             stats.connections, stats.active, stats.opened, stats.finished, stats.aborted, (long long)stats.last_abort_us,
             stats.tokens, stats.blocked, (long long)stats.late_us);
    return answer(c, "200 OK", json);
}

/* Takes one request off the buffer when it is whole. */
static enum sent take_request(struct conn *c)
{
    if (!c->request_have)
        return ALL;
    c->request[c->request_have] = 0;
    char *body = strstr(c->request, "\r\n\r\n");
    if (!body)
        return c->request_have < REQUEST_MAX ? ALL : GONE;
    body += 4;
    char first = *body;
    *body = 0; /* the head alone, for the header searches */
    const char *length = header_value(c->request, "content-length");
    int chunked = header_says(c->request, "transfer-encoding", "chunked");
    size_t total = body - c->request + (length ? strtoul(length, NULL, 10) : 0);
    c->keep_alive = !header_says(c->request, "connection", "close");
    *body = first;
    if (chunked)
        return answer(c, "411 Length Required", "{\"error\":{\"message\":\"send a Content-Length\"}}");
    if (total > REQUEST_MAX)
        return GONE;
    if (c->request_have < total)
        return ALL;
    char next = c->request[total];
    c->request[total] = 0;
    enum sent sent = ALL;
    if (!strncmp(c->request, "GET /stats ", 11))
        sent = answer_stats(c);
    else if (!json_says_true(body, "\"stream\"") || !order_read(body, &c->order) || c->order.tokens < 0 ||
             c->order.pad < 0 || c->order.pad > PAD_MAX)
        sent = answer(c, "400 Bad Request", "{\"error\":{\"message\":\"want stream: true and an order, see marker.h\"}}");
    else {
        c->usage = json_says_true(body, "\"include_usage\"");
        c->chunk_begin_size = sprintf(
            c->chunk_begin,
            "data: {\"id\":\"chatcmpl-mock%08ld\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
            "\"model\":\"mock\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\",\"choices\":[",
            c->order.stream);
        c->phase = HEAD;
        c->number = 0;
        c->due.at = now_us();
        heap_add(&c->due);
        stats.active++;
        stats.opened++;
    }
    c->request[total] = next;
    memmove(c->request, c->request + total, c->request_have - total);
    c->request_have -= total;
    return sent;
}

static enum sent on_readable(struct conn *c)
{
    if (!c->request)
        c->request = malloc(REQUEST_MAX + 1);
    for (;;) {
        if (c->request_have == REQUEST_MAX)
            return GONE;
        ssize_t k = recv(c->fd, c->request + c->request_have, REQUEST_MAX - c->request_have, 0);
        if (k < 0 && errno == EAGAIN)
            break;
        if (k <= 0)
            return GONE;
        c->request_have += k;
    }
    return c->phase == IDLE && !c->unsent_end ? take_request(c) : ALL;
}

/* After a piece has left whole: wait for the next one's time, or for the next request. */
static enum sent after_piece(struct conn *c)
{
    if (c->phase != IDLE) {
        heap_add(&c->due);
        return ALL;
    }
    return c->keep_alive ? take_request(c) : GONE;
}

static enum sent on_writable(struct conn *c)
{
    ssize_t k = send(c->fd, c->unsent + c->unsent_at, c->unsent_end - c->unsent_at, MSG_NOSIGNAL);
    if (k < 0)
        return errno == EAGAIN ? PART : GONE;
    c->unsent_at += k;
    if (c->unsent_at < c->unsent_end)
        return PART;
    c->unsent_at = c->unsent_end = 0;
    watch(c, EPOLL_CTL_MOD, 0);
    return after_piece(c);
}

static void on_due(struct conn *c, int64_t now)
{
    heap_remove(&c->due);
    if (c->phase == TOKENS && c->order.rate)
        stats.late_us += now - c->due.at;
    enum sent sent = advance(c);
    if (sent == ALL)
        sent = after_piece(c);
    if (sent == GONE)
        conn_close(c);
}

static void accept_all(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct conn *c = calloc(1, sizeof *c);
        c->fd = fd;
        stats.connections++;
        watch(c, EPOLL_CTL_ADD, 0);
    }
}

static int listen_on(int port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (void *)&a, n) || listen(fd, 8192) || getsockname(fd, (void *)&a, &n)) {
        perror("upstream: listen");
        exit(1);
    }
    printf("listening on 127.0.0.1:%d\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

static enum fault fault_named(const char *name)
{
    static const char *names[] = {"none", "lose", "repeat", "swap", "cross", "cut"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i]))
            return i;
    fprintf(stderr, "upstream: no fault %s\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    int port = 0;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && !strcmp(argv[i], "--port"))
            port = atoi(argv[i + 1]);
        else if (i + 1 < argc && !strcmp(argv[i], "--fault"))
            fault = fault_named(argv[i + 1]);
        else {
            fprintf(stderr, "usage: upstream [--port N] [--fault lose|repeat|swap|cross|cut]\n");
            return 2;
        }
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int listener = listen_on(port);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN}, ready[512];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        struct timespec wait, *until = NULL;
        if (heap_first()) {
            int64_t us = heap_first()->at - now_us();
            us = us < 0 ? 0 : us;
            wait = (struct timespec){us / 1000000, us % 1000000 * 1000};
            until = &wait;
        }
        int n = epoll_pwait2(poller, ready, 512, until, NULL);
        for (int i = 0; i < n; i++) {
            struct conn *c = ready[i].data.ptr;
            if (!c) {
                accept_all(listener);
                continue;
            }
            enum sent sent = ALL;
            if (ready[i].events & ~EPOLLOUT)
                sent = on_readable(c);
            if (sent != GONE && ready[i].events & EPOLLOUT && c->unsent_end)
                sent = on_writable(c);
            if (sent == GONE)
                conn_close(c);
        }
        /* One turn's time for all: an unpaced stream is due again only in the next turn, after the others. */
        for (int64_t now = now_us(); heap_first() && heap_first()->at <= now;)
            on_due((struct conn *)heap_first(), now);
    }
}
