"""The yardstick: uvicorn with the server's flags, and an application that reads the body and answers a constant.

BENCH_ANSWER_BYTES is the size of the answer, the operation's own.
"""

import os
import sys

import uvicorn

ANSWER = b"x" * int(os.environ["BENCH_ANSWER_BYTES"])
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())],
}


async def app(_scope, receive, send):
    await receive()
    await send(START)
    await send({"type": "http.response.body", "body": ANSWER})


if __name__ == "__main__":
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
