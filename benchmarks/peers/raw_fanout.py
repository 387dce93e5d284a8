"""The floor: plain ASGI on uvicorn. Sockets under /ws/listen/ receive every frame that comes in under /ws/send/; what
comes in under /ws/echo/ goes back."""

listeners: set = set()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] != "websocket":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        return await send({"type": "http.response.body", "body": b""})
    await receive()
    await send({"type": "websocket.accept"})
    if scope["path"].startswith("/ws/listen/"):
        listeners.add(send)
    if scope["path"].startswith("/ws/echo/"):
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})
        return None
    while (event := await receive())["type"] == "websocket.receive":
        message = {"type": "websocket.send", "text": event["text"]}
        for listener in tuple(listeners):
            await listener(message)
    listeners.discard(send)


async def lifespan(receive, send):
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})
