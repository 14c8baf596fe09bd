// Reads a stream with `@microsoft/fetch-event-source`, used the way its users do: a status other than 200 is final,
// a stream that ends before its terminal event is fetched again. `hide` and `show` on standard input are the tab's.

import {createInterface} from "node:readline"
import {body, end, headers, heard, method, opened, url} from "./report.mjs"

class Tab extends EventTarget {
    hidden = false
}

globalThis.window = globalThis
globalThis.document = new Tab()

const {fetchEventSource} = await import("@microsoft/fetch-event-source")

createInterface({input: process.stdin}).on("line", (line) => {
    document.hidden = line === "hide"
    document.dispatchEvent(new Event("visibilitychange"))
})

class Final extends Error {}

const stop = new AbortController()

fetchEventSource(url, {
    method,
    headers,
    body,
    signal: stop.signal,
    async onopen(response) {
        opened(response)
        const type = response.headers.get("content-type") ?? "nothing"
        if (response.status !== 200) throw new Final(`status ${response.status}`)
        if (!type.startsWith("text/event-stream")) throw new Final(`content type ${type}`)
    },
    onmessage({id, event, data}) {
        if (heard({id, type: event || "message", data})) stop.abort()
    },
    onclose() {
        throw new Error("closed before the terminal event")
    },
    onerror(error) {
        if (error instanceof Final) throw error
    },
}).then(
    () => end("told"),
    (error) => end("closed", error.message),
)
