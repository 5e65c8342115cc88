"""What `curl -N` does with a stream, where there is no curl: send the request, write out what comes."""

import os
import socket
import sys

port, body = int(sys.argv[1]), sys.argv[2].encode()
with socket.create_connection(("127.0.0.1", port)) as connection:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    tail = b""
    while not tail.endswith(b"0\r\n\r\n") and (data := connection.recv(65536)):
        os.write(1, data)
        tail = (tail + data)[-5:]
