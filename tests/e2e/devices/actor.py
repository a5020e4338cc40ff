"""A process that does what a test tells it: a line of its socket is Python, the answer is what that comes to.

Started with the socket's path; what forks, or another thread, connects anew and is told by itself.
"""

import ctypes
import fcntl
import json
import os
import resource
import socket
import sys
import threading
import time

# NV_ESC_RM_CONTROL, whose parameters have 32 bytes.
RM_CONTROL = 0xC020462A
libc = ctypes.CDLL(None, use_errno=True)
# Of this process.
connections = []


def serve():
    """Does what comes on a connection of its own, until that is closed."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        connections.append(connection.fileno())
        lines = connection.makefile("rw")
        answer(lines, os.getpid())
        for line in lines:
            answer(lines, run(json.loads(line)))


def answer(lines, value):
    lines.write(json.dumps(value) + "\n")
    lines.flush()


def run(text):
    try:
        return {"is": eval(text, globals())}
    except SyntaxError:
        pass
    try:
        exec(text, globals())
        return {"is": None}
    except BaseException as error:
        return {"error": repr(error)}


def fork():
    if os.fork() == 0:
        while connections:
            os.close(connections.pop())
        serve()
        os._exit(0)


def become(program):
    """Becomes another program of the same kind."""
    os.execv(program, [sys.executable, "-c", SOURCE, *sys.argv[1:]])


def leave_to_a_thread():
    """Ends the main thread; another goes on."""
    threading.Thread(target=lambda: (serve(), os._exit(0))).start()
    libc.pthread_exit(None)


def errno_of(act, *arguments):
    """The error number with which it fails; 0 where it does not."""
    try:
        act(*arguments)
    except OSError as error:
        return error.errno
    return 0


def ask(file, times=1):
    """Calls the driver that often; returns how often it failed, and how."""
    failures = [errno_of(fcntl.ioctl, file, RM_CONTROL, bytes(32)) for _ in range(times)]
    return [len(failures), failures[-1]]


def open_and_close(path, times):
    for _ in range(times):
        os.close(os.open(path, os.O_RDONLY))


def in_children(act, count):
    for _ in range(count):
        child = os.fork()
        if child == 0:
            act()
            os._exit(0)
        os.waitpid(child, 0)


def hold_in_children(count):
    """Forks children that stay until what this returns is closed, by those forked later too."""
    wait, release = os.pipe()
    for _ in range(count):
        if os.fork() == 0:
            os.close(release)
            os.read(wait, 1)
            os._exit(0)
    return release


def pass_on(file, path):
    """Passes a file to who listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect(path)
        socket.send_fds(out, [b"x"], [file])


def take(inbox):
    return socket.recv_fds(inbox, 1, 1)[1][0]


SOURCE = open(sys.argv[2]).read()
serve()
os._exit(0)
