"""Runs one ASGI application in this process until told to stop, with structured logs and no access log."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import resource
import signal
import socket
import sys

import structlog
import uvicorn
from starlette.types import ASGIApp

from api.processes.supervisor import SUPERVISOR
from api.settings import Settings

_PR_SET_DUMPABLE = 4
PR_SET_PDEATHSIG = 1


def harden() -> None:
    """No core dumps, no tracing by other processes of this user, no file that others may read: clear media and keys
    are in this memory, and what is written concerns nobody else on the machine.

    The limit goes on to programs that this process starts, which are dumpable again. It is one byte, not none: none is
    no limit for a core that the kernel pipes to a program (core_pattern), one byte keeps both from being made.
    """
    os.umask(0o077)
    greatest = resource.getrlimit(resource.RLIMIT_CORE)[1]
    one = 1 if greatest == resource.RLIM_INFINITY else min(1, greatest)
    resource.setrlimit(resource.RLIMIT_CORE, (one, one))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def die_with_parent() -> None:
    """SIGTERM when the supervisor is gone: no process of ours outlives it unnoticed.

    The kernel tells only of a death that is still to come. A supervisor that was gone before this call is known by its
    number, which is not our parent's: then the signal comes at once.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    supervisor = os.environ.get(SUPERVISOR)
    if supervisor is not None and supervisor != str(os.getppid()):
        signal.raise_signal(signal.SIGTERM)


def take_precedence(rank: int) -> None:
    """Real-time scheduling (SCHED_RR, sched(7)) of this thread and all that it starts: before everything ordinary on
    the machine, and before real-time processes of a lower `rank`.

    Pictures that wait for a processor, not for work, are what a viewer sees late: without it the slowest hundredth
    takes five times as long. Logged where the system refuses it. With one processor it is not asked for, since a
    process that never rests would leave the others what the kernel keeps for them, a twentieth.
    """
    if len(os.sched_getaffinity(0)) < 2:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(rank))
    except OSError as error:
        structlog.get_logger(__name__).warning(
            "real_time_refused", errno=error.errno, remedy=f"LimitRTPRIO={rank}, or CAP_SYS_NICE"
        )


def configure_logs() -> None:
    """JSON lines on standard error. Nothing here or elsewhere logs names, case numbers or secrets."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, format='{"event": "%(name)s", "level": "%(levelname)s"}')


class Server(uvicorn.Server):
    """uvicorn, whose signals are ours: `stop()` ends it from within."""

    def install_signal_handlers(self) -> None:
        """Ours are installed by `serve`."""

    def stop(self) -> None:
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError where the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(128)
    listener.setblocking(False)
    return listener


async def serve(app: ASGIApp, listener: socket.socket, settings: Settings | None = None) -> None:
    """Until SIGTERM or SIGINT. `settings` where TLS may be wanted."""
    tls = settings is not None and settings.tls
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        ssl_certfile=str(settings.tls_certificate) if settings is not None and tls else None,
        ssl_keyfile=str(settings.tls_key) if settings is not None and tls else None,
    )
    server = Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve(sockets=[listener])
