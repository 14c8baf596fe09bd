// Asks for chat completions and responses with the `openai` package, as its users do.
//
// Each line it reads is a question in JSON: {"url", "key", "retries", "how", "request"}, where how is
//   "stream"  every chunk as {"chunk"};
//   "whole"   the answer as {"answer"};
//   "helper"  the stream helper: {"text"} for each piece it tells of, then what it put together as {"answer"};
//   "tools"   runTools with a tool called `weather`: each call as {"called"}, the last words as {"text"};
//   "responses"  the helper of the Responses API: {"text"} for each piece, then the response as {"answer"};
//   "abort"   the first piece as {"text"}, then the stream is aborted.
// The last line of each is {"end"}, or {"error": class, "status", "code", "type", "param", "message", "request", "retry_after"}.

import {createInterface} from "node:readline"
import OpenAI from "openai"

function say(line) {
    process.stdout.write(JSON.stringify(line) + "\n")
}

const weather = {
    type: "function",
    function: {
        name: "weather",
        description: "The weather of a city.",
        parameters: {type: "object", properties: {city: {type: "string"}}, required: ["city"]},
        parse: JSON.parse,
        function: ({city}) => {
            say({called: city})
            return `Sunny in ${city}`
        },
    },
}

const ways = {
    async stream(client, request) {
        for await (const chunk of await client.chat.completions.create({...request, stream: true})) say({chunk})
    },
    async whole(client, request) {
        say({answer: await client.chat.completions.create(request)})
    },
    async helper(client, request) {
        const stream = client.chat.completions.stream(request)
        stream.on("content", (text) => say({text}))
        say({answer: await stream.finalChatCompletion()})
    },
    async tools(client, request) {
        say({text: await client.chat.completions.runTools({...request, stream: true, tools: [weather]}).finalContent()})
    },
    async responses(client, {messages, ...request}) {
        const stream = client.responses.stream({...request, input: messages})
        stream.on("response.output_text.delta", ({delta}) => say({text: delta}))
        say({answer: await stream.finalResponse()})
    },
    async abort(client, request) {
        const stream = await client.chat.completions.create({...request, stream: true})
        for await (const chunk of stream) {
            const text = chunk.choices[0].delta.content
            if (!text) continue
            say({text})
            stream.controller.abort()
        }
    },
}

for await (const line of createInterface({input: process.stdin})) {
    const {url, key = "unused", retries = 0, how, request} = JSON.parse(line)
    try {
        await ways[how](new OpenAI({baseURL: url, apiKey: key, maxRetries: retries}), request)
        say({end: "complete"})
    } catch (error) {
        const {status, code, type, param, message, requestID: asked, headers} = error
        const found = {status, code, type, param, message, request: asked, retry_after: headers?.get?.("retry-after")}
        say({error: error.constructor.name, ...found})
    }
}
