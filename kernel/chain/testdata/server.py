"""Servers that serve requests in the usual ways, for the test of the causal chain.

usage: server.py thread|pool|prefork|lazy|epoll [next address:port]

Each passes the request on, and for /run starts a command whose last arguments are the request's true identifier and the way of serving.
Commands that no request caused are started all the time.
"""
import http.client, os, queue, select, socket, subprocess, sys, threading, time

mode, following = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
label = os.environ.get("LABEL", mode)
own = threading.local()


def command(*args):
    subprocess.run(["/bin/sh", "-c", "exit 0", *args])


def work(path, truth):
    if path.startswith("/run"):
        command(truth, label)
    if following:
        if not hasattr(own, "conn"):
            own.conn = http.client.HTTPConnection(following)
        # The identifiers of the edge are not passed on: the sockets have to do.
        own.conn.request("GET", path, headers={"X-Truth": truth})
        own.conn.getresponse().read()


def parse(head):
    lines = head.decode("latin-1").split("\r\n")
    fields = dict((k.lower(), v.strip()) for k, _, v in (l.partition(":") for l in lines[1:]))
    return lines[0].split(" ")[1], fields.get("x-truth") or fields.get("x-request-id", "")


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def serve(conn, once=False):
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            more = conn.recv(65536)
            if not more:
                conn.close()
                return
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        if mode == "lazy":
            fork_workers()
        work(*parse(head))
        conn.sendall(ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") if once else ANSWER)
        if once:
            conn.close()
            return


def noise():
    while True:
        command("background", label)
        time.sleep(0.05)


workers = []


def fork_workers():
    # In the midst of a request, as servers do that make processes when they are needed. One takes connections, too; the other does jobs only.
    while len(workers) < 2:
        workers.append(True)
        if os.fork() == 0:
            workers.extend([True, True])
            threading.Thread(target=noise, daemon=len(workers) == 3).start()
            while len(workers) == 3:
                serve(listener.accept()[0])
            threading.Event().wait()


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((os.environ.get("LISTEN", "127.0.0.1"), int(os.environ.get("PORT", "0"))))
listener.listen(256)
print(listener.getsockname()[1], flush=True)

if mode in ("thread", "lazy"):
    threading.Thread(target=noise, daemon=True).start()
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
elif mode == "pool":
    # Workers do requests, and what nobody asked for, in turn. They read the connection themselves.
    jobs = queue.Queue()

    def worker():
        while True:
            job = jobs.get()
            job()

    def tick():
        while True:
            jobs.put(lambda: command("background", label))
            time.sleep(0.05)

    for _ in range(16):
        threading.Thread(target=worker, daemon=True).start()
    threading.Thread(target=tick, daemon=True).start()
    while True:
        conn = listener.accept()[0]
        jobs.put(lambda conn=conn: serve(conn, True))
elif mode == "prefork":
    for _ in range(8):
        if os.fork() == 0:
            while True:
                serve(listener.accept()[0], True)
    noise()
elif mode == "epoll":
    # One thread for all connections. Every other command is started at once; the others after a wait, when the thread does something else.
    poll, conns, later, count = select.epoll(), {}, [], 0
    poll.register(listener.fileno(), select.EPOLLIN)
    tick = time.monotonic()
    while True:
        for fd, event in poll.poll(0.005):
            if fd == listener.fileno():
                conn = listener.accept()[0]
                conn.setblocking(False)
                conns[conn.fileno()] = [conn, b""]
                poll.register(conn.fileno(), select.EPOLLIN)
                continue
            conn, data = conns[fd]
            more = conn.recv(65536)
            if not more:
                poll.unregister(fd)
                del conns[fd]
                conn.close()
                continue
            data += more
            if b"\r\n\r\n" not in data:
                conns[fd][1] = data
                continue
            conns[fd][1] = b""
            path, truth = parse(data.partition(b"\r\n\r\n")[0])
            count += path.startswith("/run")
            if path.startswith("/run") and count % 2:
                later.append((time.monotonic() + 0.01, conn, truth))
                continue
            if path.startswith("/run"):
                subprocess.Popen(["/bin/sh", "-c", "exit 0", truth, label])
            conn.sendall(ANSWER)
        now = time.monotonic()
        while later and later[0][0] < now:
            _, conn, truth = later.pop(0)
            subprocess.Popen(["/bin/sh", "-c", "exit 0", truth, label])
            conn.sendall(ANSWER)
        if now - tick > 0.05:
            tick = now
            subprocess.Popen(["/bin/sh", "-c", "exit 0", "background", label])
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
