/*
 * load: opens many streams at once through a server, checks every token of each (check.h) and prints one JSON object.
 *
 *     load --url http://127.0.0.1:8420/v1/chat/completions --body '{"stream":true,…"{order}"…}'
 *
 *     --url URL         http://ADDRESS:PORT/PATH, or ws://… for the penstock.v1 protocol
 *     --body TEMPLATE   what is posted, or sent as the WebSocket command; {order} becomes the order for upstream
 *                       (marker.h), {ref} the stream's number; empty: GET
 *     --header LINE     a further request header; may be repeated
 *     --end TEXT        what the body's last bytes must hold ("[DONE]"; "" when the clean end of the body is all)
 *     --streams N       connections, each with one stream at a time (1)
 *     --tokens N --rate R --first-ms N --pad N     the order (100 tokens at 50/s)
 *     --stream N        every connection reads stream N, which somebody else has begun (each one its own)
 *     --each N          streams on each connection, one after the other (1)
 *     --until-ms N      begin no stream after that
 *     --limit-ms N      give up after that (20000)
 *     --ramp-ms N       spread the connections' starts over that time
 *     --settle-ms N     leave what arrives before out of the ages and of "steady"
 *     --cpu-of PID      a process whose CPU time is counted; may be repeated
 *
 * A token's age is the time since upstream sent it. "steady" covers the time when everything is under way: from
 * --settle-ms to --until-ms or, without it, to the first stream's end. CPU time is the kernel's own sum for each process,
 * threads that have ended included (clock_getcpuclockid), read here so that tokens and CPU are of the same instant.
 *
 * Ends with 0 when every stream came whole and in order, else with 1.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

#include "connection.h"
#include "options.h"

static struct conn *conns;

/* ---- the steady part ---- */

struct instant {
    int64_t at;
    long tokens, finished;
    double cpu; /* seconds; negative when a process has gone */
};

static struct instant steady_from, steady_to;

static struct instant observe(void)
{
    struct instant i = {.at = now_us(), .tokens = sum.tokens, .finished = streams.finished};
    for (int k = 0; k < ask.cpus; k++) {
        struct timespec t;
        if (clock_gettime(ask.cpu[k], &t)) {
            i.cpu = -1;
            return i;
        }
        i.cpu += t.tv_sec + t.tv_nsec / 1e9;
    }
    return i;
}

static void steady_ends(void)
{
    if (steady_from.at && !steady_to.at)
        steady_to = observe();
}

static void stream_ended(void)
{
    if (!ask.until_ms)
        steady_ends();
}

/* ---- the run ---- */

/* Milliseconds until something has to be done without an event. */
static int idle_ms(int64_t now, long opened)
{
    int64_t limit = began + ask.limit_ms * 1000;
    const int64_t times[] = {
        opened < ask.streams ? conns[opened].start : limit,
        began + ask.settle_ms * 1000,
        began + ask.until_ms * 1000,
    };
    int64_t next = limit;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        if (times[i] > now && times[i] < next)
            next = times[i];
    return (next - now) / 1000 + 1;
}

static void run(void)
{
    struct epoll_event ready[512];
    long opened = 0;
    while (over < ask.streams) {
        int64_t now = now_us();
        if (now - began >= ask.limit_ms * 1000)
            break;
        while (opened < ask.streams && conns[opened].start <= now)
            conn_open(&conns[opened++]);
        if (!steady_from.at && (ask.until_ms || !streams.finished) && now - began >= ask.settle_ms * 1000)
            steady_from = observe();
        if (ask.until_ms && now - began >= ask.until_ms * 1000)
            steady_ends();
        int n = epoll_wait(poller, ready, 512, idle_ms(now, opened));
        for (int i = 0; i < n; i++) {
            struct conn *c = ready[i].data.ptr;
            if (c->phase == CONNECTING)
                on_connected(c);
            else
                on_readable(c);
        }
    }
}

static void print_cost(const char *name, const struct instant *a, const struct instant *b)
{
    if (!a->at || !b->at) {
        printf(",\"%s\":null", name);
        return;
    }
    printf(",\"%s\":{\"seconds\":%.6f,\"tokens\":%ld,\"finished\":%ld,\"cpu_seconds\":", name, (b->at - a->at) / 1e6,
           b->tokens - a->tokens, b->finished - a->finished);
    if (!ask.cpus || a->cpu < 0 || b->cpu < 0)
        printf("null}");
    else
        printf("%.6f}", b->cpu - a->cpu);
}

static int report(const struct instant *from, const struct instant *to)
{
    long unfinished = 0;
    for (long i = 0; i < ask.streams; i++)
        unfinished += conns[i].phase != OVER;
    printf("{\"started\":%ld,\"finished\":%ld,\"unfinished\":%ld,\"failed_connect\":%ld,\"failed_status\":%ld,"
           "\"failed_cut\":%ld,\"failed_end\":%ld,\"first_failure\":\"%s\",\"tokens\":%ld,\"lost\":%ld,"
           "\"repeated\":%ld,\"reordered\":%ld,\"crossed\":%ld,\"reads\":%ld,\"bytes\":%ld,",
           streams.started, streams.finished, unfinished, streams.connect, streams.status, streams.cut, streams.no_end,
           first_failure, sum.tokens, sum.lost, sum.repeated, sum.reordered, sum.crossed,
           streams.reads, streams.bytes);
    samples_print("age_us", &ages);
    printf(",");
    samples_print("first_us", &firsts);
    print_cost("steady", &steady_from, &steady_to);
    print_cost("whole", from, to);
    printf("}\n");
    return unfinished || streams.finished < streams.started || streams.connect || sum.lost || sum.repeated ||
           sum.reordered || sum.crossed;
}

int main(int argc, char **argv)
{
    take_options(argc, argv);
    poller = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc(ask.streams, sizeof *conns);
    struct instant from = observe();
    began = from.at;
    for (long i = 0; i < ask.streams; i++) {
        /* Each starts at random within its share of the ramp: even steps would line the streams' timers up, and a server
         * that gets many tokens at one instant looks cheaper than it is. */
        double share = random() / (RAND_MAX + 1.0);
        conns[i].start = began + (int64_t)(ask.ramp_ms * 1000.0 * (i + share) / ask.streams) * (ask.streams > 1);
        conns[i].left = ask.each;
    }
    run();
    struct instant to = observe();
    return report(&from, &to);
}
