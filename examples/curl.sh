#!/bin/sh
# Everything a shell can do with a running server, one step after the other.
#
#     make serve                                     # in another terminal
#     sh examples/curl.sh [http://127.0.0.1:8420]
set -eu
server=${1:-http://127.0.0.1:8420}

echo '--- bare text, word by word; -N is what makes curl show it at once'
curl -sSN "$server/v1/chat/chunked" -d '{"prompt": "Hello"}'

echo; echo '--- the same as one JSON object a line'
curl -sSN "$server/v1/chat/chunked" -H 'Accept: application/x-ndjson' -d '{"prompt": "Hello"}'

echo '--- begin a run without reading it'
started=$(curl -sS "$server/v1/streams" -H 'Accept: application/json' -d '{"prompt": "Hello"}')
stream=$(expr "$started" : '.*"id":"\(st_[a-z2-7]*\)"')
echo "$stream"

echo '--- read it over SSE, and again in the words of OpenAI'
curl -sSN "$server/v1/streams/$stream/events"
curl -sSN "$server/v1/streams/$stream/events?dialect=openai-chat"

echo '--- take it up again where a reader was cut: here after the second event'
curl -sSN "$server/v1/streams/$stream/events" -H "Last-Event-ID: $stream:a1:2" -H 'Accept: application/x-ndjson'

echo '--- cancel one in mid-answer; curl says 18, since bare text cannot say "not complete" in words'
started=$(curl -sS "$server/v1/streams" -H 'Accept: application/json' -d '{"prompt": "Hello", "demo": {"rate": 20}}')
stream=$(expr "$started" : '.*"id":"\(st_[a-z2-7]*\)"')
curl -sSN "$server/v1/streams/$stream/events" -H 'Accept: text/plain' &
reader=$!
curl -sS -X DELETE "$server/v1/streams/$stream"
echo
wait "$reader" || echo "curl left with $?"
