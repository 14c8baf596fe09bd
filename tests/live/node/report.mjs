// What both client scripts share: their one argument, the lines they print, and when they are content.
//
// Argument: {"url", "method", "headers", "body", "names": [...], "stopOn": [...]}, all but url optional.
// Lines: {"open": status} per connection, {"id", "type", "data"} per event, last {"end": "told" | "closed", "status"}.
// An event whose name, JSON type or whole data is in stopOn ends the script; with [] only the server can.
// At the latest it ends with its standard input.

const options = JSON.parse(process.argv[2])

export const url = options.url
export const method = options.method ?? "GET"
export const headers = options.headers ?? {}
export const body = options.body === undefined ? undefined : JSON.stringify(options.body)
export const names = options.names ?? []
const stopOn = options.stopOn ?? ["finished", "failed", "cancelled", "[DONE]"]

let status = 0

process.stdin.on("end", () => process.exit(0)).resume()

function print(line, then) {
    process.stdout.write(JSON.stringify(line) + "\n", then)
}

export function opened(response) {
    status = response.status
    print({open: status})
    return response
}

/** Print the event; true when it is the last one wanted. */
export function heard({id, type, data}) {
    print({id, type, data})
    return stopOn.includes(type) || stopOn.includes(data) || stopOn.includes(typeOf(data))
}

export function end(reason, message) {
    print({end: reason, status, ...(message && {message})}, () => process.exit(0))
}

function typeOf(data) {
    try {
        return JSON.parse(data)?.type
    } catch {
        return undefined
    }
}
