from pathlib import Path

import pytest

from tests.recorder_webrtc import rig


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rig.make_clip(tmp_path_factory.mktemp("clip") / "camera.mp4")
