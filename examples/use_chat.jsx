// A chat with useChat of the AI SDK (ai 6, @ai-sdk/react 3) that survives a reload and can be stopped.
// Bundle it with `esbuild examples/use_chat.jsx --bundle --jsx=automatic --outfile=chat.js`.
import {Chat, useChat} from "@ai-sdk/react"
import {DefaultChatTransport} from "ai"
import {useEffect, useState} from "react"
import {createRoot} from "react-dom/client"

const api = "/v1/chat/ui"
const id = location.hash.slice(1) || "chat-1"
const kept = `messages of ${id}`
const messages = JSON.parse(localStorage.getItem(kept) ?? "[]")
// A Chat of one's own knows that a resumed stream begins anew. A transport that is given to useChat does not pass that on
// (@ai-sdk/react 3.0.326): a page that keeps half a tool call then shows it twice.
const own = new Chat({id, messages, transport: new DefaultChatTransport({api})})

function Page() {
    const chat = useChat({chat: own, resume: true})
    const [text, setText] = useState("")

    useEffect(() => localStorage.setItem(kept, JSON.stringify(chat.messages)), [chat.messages])

    // Leaving does not end an answer, so that a reload can resume it. Stopping has to say so.
    const stop = () => {
        chat.stop()
        fetch(`${api}/${encodeURIComponent(id)}/stream`, {method: "DELETE"})
    }

    const ask = event => {
        event.preventDefault()
        chat.sendMessage({text})
        setText("")
    }

    return <main>
        {chat.messages.map(message => <article key={message.id} className={message.role}>
            {message.parts.map((part, index) => <Part key={index} part={part}/>)}
        </article>)}
        {chat.error && <p role="alert">{chat.error.message}</p>}
        <form onSubmit={ask}>
            <input aria-label="question" value={text} onChange={event => setText(event.target.value)}/>
            <button type="submit">Ask</button>
            <button type="button" onClick={stop}>Stop</button>
            <output>{chat.status}</output>
        </form>
    </main>
}

function Part({part}) {
    if (part.type === "text") return <p className="text">{part.text}</p>
    if (part.type === "reasoning") return <details open><summary>thinking</summary>{part.text}</details>
    if (part.type === "file") return <img src={part.url} alt=""/>
    if (part.type === "source-url") return <a href={part.url}>{part.title ?? part.url}</a>
    if (part.type.startsWith("tool-"))
        return <pre>{[part.type.slice(5), part.state, part.input, part.output ?? part.errorText]
            .filter(value => value !== undefined)
            .map(value => typeof value === "string" ? value : JSON.stringify(value)).join(" ")}</pre>
    return null
}

createRoot(document.getElementById("chat")).render(<Page/>)
