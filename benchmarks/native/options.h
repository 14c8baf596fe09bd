/*
 * load's options; load.c says what each is for.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "marker.h"

#define PIDS_MAX 64

static struct {
    struct sockaddr_in address;
    char host[64], path[512], headers[4096];
    const char *body, *end;
    int websocket;
    struct order order;
    long streams, each, until_ms, limit_ms, ramp_ms, settle_ms;
    clockid_t cpu[PIDS_MAX];
    int cpus;
} ask = {
    .end = "[DONE]",
    .order = {.tokens = 100, .rate = 50},
    .streams = 1,
    .each = 1,
    .limit_ms = 20000,
};

static void take_url(const char *url)
{
    int port;
    char address[32];
    ask.websocket = !strncmp(url, "ws:", 3);
    if (sscanf(url, "%*[a-z]://%31[0-9.]:%d%511s", address, &port, ask.path) != 3 ||
        !inet_aton(address, &ask.address.sin_addr)) {
        fprintf(stderr, "load: --url must be http://ADDRESS:PORT/PATH or ws://ADDRESS:PORT/PATH\n");
        exit(2);
    }
    ask.address.sin_family = AF_INET;
    ask.address.sin_port = htons(port);
    snprintf(ask.host, sizeof ask.host, "%s:%d", address, port);
}

static void take_pid(const char *pid)
{
    if (ask.cpus == PIDS_MAX || clock_getcpuclockid(atoi(pid), &ask.cpu[ask.cpus++])) {
        fprintf(stderr, "load: --cpu-of %s: no such process, or too many\n", pid);
        exit(2);
    }
}

static void take_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        const struct {
            const char *name;
            long *to;
        } numbers[] = {
            {"--streams", &ask.streams},     {"--tokens", &ask.order.tokens}, {"--first-ms", &ask.order.first_ms},
            {"--pad", &ask.order.pad},       {"--each", &ask.each},           {"--until-ms", &ask.until_ms},
            {"--limit-ms", &ask.limit_ms},   {"--ramp-ms", &ask.ramp_ms},     {"--settle-ms", &ask.settle_ms},
            {"--stream", &ask.order.stream},
        };
        size_t k = 0, count = sizeof numbers / sizeof *numbers;
        while (k < count && strcmp(numbers[k].name, name))
            k++;
        if (k < count)
            *numbers[k].to = atol(value);
        else if (!strcmp(name, "--rate"))
            ask.order.rate = atof(value);
        else if (!strcmp(name, "--url"))
            take_url(value);
        else if (!strcmp(name, "--body"))
            ask.body = value;
        else if (!strcmp(name, "--end"))
            ask.end = value;
        else if (!strcmp(name, "--cpu-of"))
            take_pid(value);
        else if (!strcmp(name, "--header") && strlen(ask.headers) + strlen(value) + 3 < sizeof ask.headers) {
            strcat(ask.headers, value);
            strcat(ask.headers, "\r\n");
        } else {
            fprintf(stderr, "load: unknown option %s\n", name);
            exit(2);
        }
    }
    if (!*ask.host || !ask.body) {
        fprintf(stderr, "load: --url and --body are needed\n");
        exit(2);
    }
}

#endif
