import pytest

from .toy import write_toy_data


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory):
    """The path of a small, learnable data set."""
    return str(write_toy_data(tmp_path_factory.mktemp("data") / "toy"))
