#!/bin/sh
# The whole life of a thread with curl. Needs a running server (`make run`).
set -eu

url="${THREADKEEP_URL:-http://127.0.0.1:8000/v1}"

call() {
    curl --silent --show-error --fail --globoff -H "Authorization: Bearer ${THREADKEEP_KEY:-not-needed}" "$@"
    echo
}

thread=$(call "$url/threads" -d '{"metadata": {"user": "ada"}}' | sed 's/.*"id":"\(thread_[^"]*\)".*/\1/')
echo "created $thread"

call "$url/threads/$thread/messages" -d '{"role": "user", "content": "Where were we?"}'
call "$url/threads/$thread/messages?order=asc"
call "$url/threads?metadata[user]=ada&limit=5"
call "$url/threads/$thread" -d '{"metadata": {"archived": "yes"}}'
call -X DELETE "$url/threads/$thread"
