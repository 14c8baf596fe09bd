// The AI SDK under Node. Standard input has one command per line, {"do": NAME, ...}; each is answered by lines of JSON, the last
// of which has "end". At the latest the script ends with its standard input.

import {readFile} from "node:fs/promises"
import {createInterface} from "node:readline"
import {createAnthropic} from "@ai-sdk/anthropic"
import {createOpenAICompatible} from "@ai-sdk/openai-compatible"
import {Chat} from "@ai-sdk/react"
import {
    convertToModelMessages,
    DefaultChatTransport,
    generateObject,
    generateText,
    lastAssistantMessageIsCompleteWithToolCalls,
    readUIMessageStream,
    stepCountIs,
    streamText,
    tool,
} from "ai"
import {z} from "zod"

globalThis.AI_SDK_LOG_WARNINGS = false // they would stand among the lines

const tell = line => process.stdout.write(JSON.stringify(line) + "\n")
const plain = error => ({name: error?.name, message: error?.message ?? String(error), status: error?.statusCode})

function model({provider, url, name = "oracle"}) {
    if (provider === "anthropic") return createAnthropic({baseURL: `${url}/v1`, apiKey: "none"})(name)
    return createOpenAICompatible({name: "penstock", baseURL: `${url}/v1`, supportsStructuredOutputs: true, includeUsage: true})(name)
}

const weather = tool({
    description: "The weather in a city.",
    inputSchema: z.object({city: z.string()}),
    execute: async ({city}) => ({city, celsius: 17}),
})

const commands = {
    /** What readers of a UI message stream make of stored ones; each chunk is held against the SDK's schema by its transport. */
    async read({files}) {
        const found = {}
        for (const file of files) {
            const body = await readFile(file)
            const transport = new DefaultChatTransport({fetch: async () => new Response(body)})
            found[file] = await message(await transport.reconnectToStream({chatId: "x"}))
        }
        return found
    },

    /** What a chat of the page gets, by its transport. */
    async chat({url, body}) {
        const transport = new DefaultChatTransport({api: `${url}/v1/chat/ui`, body: {model: "oracle"}})
        try {
            return await message(await transport.sendMessages({chatId: "chat-1", trigger: "submit-message", ...body}))
        } catch (error) {
            return {errors: [plain(error)]}
        }
    },

    /** The chat of a page that runs its tools itself, without the page: all its messages when it has come to rest. */
    async page({url, text, tools}) {
        const transport = new DefaultChatTransport({api: `${url}/v1/chat/ui`, body: {model: "oracle", tools}})
        const errors = []
        const chat = new Chat({
            id: "chat-1",
            transport,
            sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
            onToolCall({toolCall: {toolName, toolCallId}}) {
                tell({called: toolName})
                chat.addToolOutput({tool: toolName, toolCallId, output: {celsius: 17}})
            },
            onError: error => errors.push(plain(error)),
        })
        await chat.sendMessage({text})
        return {messages: chat.messages, status: chat.status, errors}
    },

    /** The messages of a page that was loaded again with what it had, when the answer has ended. */
    async resume({url, messages}) {
        const chat = new Chat({id: "chat-1", messages, transport: new DefaultChatTransport({api: `${url}/v1/chat/ui`})})
        await chat.resumeStream()
        return {messages: chat.messages, status: chat.status}
    },

    async convert({messages}) {
        return await convertToModelMessages(messages)
    },

    async text({prompt, ...how}) {
        try {
            const {text, usage, finishReason} = await generateText({model: model(how), prompt, maxRetries: 0})
            return {text, usage, finishReason}
        } catch (error) {
            return {errors: [plain(error)]}
        }
    },

    async stream({prompt, tools, ...how}) {
        const errors = []
        const result = streamText({
            model: model(how),
            prompt,
            maxRetries: 0,
            tools: tools && {weather},
            stopWhen: stepCountIs(3),
            onError: () => {},
        })
        let text = "", reasoning = "", finishReason, usage
        const steps = []
        try {
            for await (const part of result.fullStream) {
                if (part.type === "text-delta") {
                    text += part.text
                    tell({delta: part.text})
                } else if (part.type === "reasoning-delta") reasoning += part.text
                else if (part.type === "tool-call") steps.push({call: part.toolName, input: part.input})
                else if (part.type === "tool-result") steps.push({result: part.output})
                else if (part.type === "error") errors.push(plain(part.error))
                else if (part.type === "finish") ({finishReason, totalUsage: usage} = part)
            }
        } catch (error) {
            errors.push(plain(error)) // the connection was cut: the SDK throws
        }
        return {text, reasoning, steps, finishReason, usage, errors}
    },

    async object({prompt, ...how}) {
        const schema = z.object({city: z.string(), celsius: z.number()})
        const {object} = await generateObject({model: model(how), schema, prompt, maxRetries: 0})
        return object
    },
}

/** The last state of a message, and what went wrong. */
async function message(chunks) {
    const errors = [], types = []
    const watched = chunks.pipeThrough(new TransformStream({
        transform(chunk, controller) {
            types.push(chunk.type)
            controller.enqueue(chunk)
        },
    }))
    let last = null
    try {
        for await (const state of readUIMessageStream({stream: watched, onError: error => errors.push(plain(error)), terminateOnError: true}))
            last = state
    } catch {
        // it was told to onError
    }
    return {message: last, errors, types}
}

for await (const line of createInterface({input: process.stdin})) {
    const {do: name, ...options} = JSON.parse(line)
    tell({end: await commands[name](options)})
}
process.exit(0) // connections that are kept alive would keep the script, too
