import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.datagrams import open_socket
from tests.recorder_webrtc import rig


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rig.make_clip(tmp_path_factory.mktemp("clip") / "camera.mp4")


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two of them, from the first of which the second is sent to."""
    with open_socket("127.0.0.1", None) as sender, open_socket("127.0.0.1", None) as receiver:
        yield sender, receiver
