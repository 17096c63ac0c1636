"""The yardstick: uvicorn with the server's flags, and an application that reads the body and answers a constant.

python -m bench.contestants.yardstick PORT

`PUT /<n>` makes the answers n bytes long from then on: an operation is compared with an answer of its own size.
"""

import sys

import uvicorn

answer = b""
start = {}


def _set_size(size):
    global answer, start  # noqa: PLW0603 - anything else would cost time in each request
    answer = b"x" * size
    headers = [(b"content-type", b"application/json"), (b"content-length", str(size).encode())]
    start = {"type": "http.response.start", "status": 200, "headers": headers}


async def app(scope, receive, send):
    await receive()
    if scope["method"] == "PUT":
        _set_size(int(scope["path"][1:]))
    await send(start)
    await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    _set_size(0)
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        backlog=2048,
    )
