import pytest
from accelerate.state import AcceleratorState, PartialState

from tests.tiny import face_obj, small_model, small_processor, small_run

from .toy import write_toy_data

__all__ = ["face_obj", "small_model", "small_processor", "small_run"]  # fixtures


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Every run in this process chooses its own precision and device."""
    yield
    AcceleratorState._reset_state(True)
    PartialState._reset_state()


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory):
    """The path of a small, learnable data set."""
    return str(write_toy_data(tmp_path_factory.mktemp("data") / "toy"))
