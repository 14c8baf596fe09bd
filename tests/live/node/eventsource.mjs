// Reads a stream with the `eventsource` package, which reconnects by itself as the standard says.

import {EventSource} from "eventsource"
import {body, end, headers, heard, method, names, opened, url} from "./report.mjs"

const source = new EventSource(url, {
    fetch: async (input, init) =>
        opened(await fetch(input, {...init, method, body, headers: {...init.headers, ...headers}})),
})

function onEvent(event) {
    if (heard({id: event.lastEventId, type: event.type, data: event.data})) {
        source.close()
        end("told")
    }
}

for (const name of ["message", ...names]) source.addEventListener(name, onEvent)

source.addEventListener("error", (event) => {
    if (source.readyState === EventSource.CLOSED) end("closed", event.message)
})
