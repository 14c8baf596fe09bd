// Asks for messages with the `@anthropic-ai/sdk` package, as its users do.
//
// Each line it reads is a question in JSON: {"url", "key", "retries", "how", "request"}, where url is without /v1 and how is
//   "stream"  every event as {"event"};
//   "join"    every event, as {"event"}, of the run whose events are at "path";
//   "whole"   the answer as {"answer"};
//   "helper"  messages.stream: {"text"} and {"thinking"} for each piece, {"input"} for each call, then the message as {"answer"};
//   "abort"   the first piece as {"text"}, then the stream is aborted.
// The last line of each is {"end"}, or {"error": class, "status", "type", "message", "request"}.

import {createInterface} from "node:readline"
import Anthropic from "@anthropic-ai/sdk"

function say(line) {
    process.stdout.write(JSON.stringify(line) + "\n")
}

const ways = {
    async stream(client, request) {
        for await (const event of await client.messages.create({...request, stream: true})) say({event})
    },
    async join(client, request, path) {
        for await (const event of await client.get(path, {stream: true, headers: {accept: "text/event-stream"}})) say({event})
    },
    async whole(client, request) {
        say({answer: await client.messages.create(request)})
    },
    async helper(client, request) {
        const stream = client.messages.stream(request)
        stream.on("text", (text) => say({text}))
        stream.on("thinking", (thinking) => say({thinking}))
        stream.on("contentBlock", (block) => block.type === "tool_use" && say({input: block.input}))
        say({answer: await stream.finalMessage()})
    },
    async abort(client, request) {
        const stream = await client.messages.create({...request, stream: true})
        for await (const event of stream) {
            if (event.type !== "content_block_delta") continue
            say({text: event.delta.text})
            stream.controller.abort()
        }
    },
}

for await (const line of createInterface({input: process.stdin})) {
    const {url, key = "unused", retries = 0, how, request, path} = JSON.parse(line)
    try {
        await ways[how](new Anthropic({baseURL: url, apiKey: key, maxRetries: retries}), request, path)
        say({end: "complete"})
    } catch (error) {
        const {status, type, message, requestID: asked} = error
        say({error: error.constructor.name, status, type, message, request: asked})
    }
}
